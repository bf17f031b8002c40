"""Our one message on the bar of QGIS."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import Qgis
from qgis.gui import QgsMessageBar, QgsMessageBarItem
from qgis.PyQt import sip

from ..about import LOG_TAG

_LENGTH = 50
_SECONDS = 15


class OwnMessage:
    """Shows one message at a time; those of others are left alone."""

    def __init__(self, bar: Callable[[], QgsMessageBar]) -> None:
        self._bar = bar
        self._item: QgsMessageBarItem | None = None

    def push(self, text: str, level: Qgis.MessageLevel) -> None:
        """Show a text in the place of the last one; a long one behind "Show more"."""
        self.clear()
        short = beginning(text)
        # An empty text would still get a "Show more" button.
        texts = (short,) if short == text else (short, text)
        bar = self._bar()
        bar.pushMessage(LOG_TAG, *texts, level, _SECONDS)
        self._item = bar.currentItem()

    def clear(self) -> None:
        """Take our last message off the bar: it is about an earlier run."""
        item, self._item = self._item, None
        if item is not None and not sip.isdeleted(item):
            self._bar().popWidget(item)


def beginning(text: str) -> str:
    """Return the first words: the message bar cuts longer texts off without a sign."""
    line = text.splitlines()[0]
    return line if len(line) <= _LENGTH else line[:_LENGTH].rsplit(" ", 1)[0] + " ..."
