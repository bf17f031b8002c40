"""Our one message on the bar of QGIS."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import Qgis
from qgis.gui import QgsMessageBar, QgsMessageBarItem
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QTimer

from ..about import LOG_TAG
from ..core.contract.foreign_text import without_tags

# What stands beside the text: signs, our name, the button that closes; "Show more" for a long
# text, and a count where there are messages of others.
_OTHER_PIXELS, _MORE_PIXELS, _COUNT_PIXELS = 240, 100, 80
_LEAST_PIXELS, _MOST_PIXELS = 180, 600
_SECONDS = 15


class OwnMessage:
    """Shows one message at a time; those of others are left alone."""

    def __init__(self, bar: Callable[[], QgsMessageBar]) -> None:
        self._bar = bar
        self._item: QgsMessageBarItem | None = None

    def push(self, text: str, level: Qgis.MessageLevel) -> None:
        """Show a text in the place of the last one; a long one behind "Show more"."""
        self.clear()
        bar = self._bar()
        short = beginning(text, bar)
        # An empty text would still get a "Show more" button.
        texts = (short,) if short == text else (short, text)
        # The bar shows HTML and "Show more" does not; an error may quote names of strangers.
        bar.pushMessage(LOG_TAG, *map(without_tags, texts), level, _SECONDS)
        self._item = bar.currentItem()

    def clear(self) -> None:
        """Take our last message off the bar: it is about an earlier run."""
        item, self._item = self._item, None
        if item is not None and not sip.isdeleted(item):
            self._bar().popWidget(item)

    def hush(self, notice: str) -> None:
        """Take off the bar what QGIS before 3.26 is about to say of a task: we say more."""
        QTimer.singleShot(0, lambda: self._take_off(notice))

    def _take_off(self, notice: str) -> None:
        bar = self._bar()
        for item in [item for item in bar.items() if item.text() == notice]:
            bar.popWidget(item)


def beginning(text: str, bar: QgsMessageBar) -> str:
    """Return the first words: the message bar breaks longer texts, and hides the second line."""
    line, width = text.splitlines()[0], bar.fontMetrics().horizontalAdvance
    # A bar that is hidden has not the width that it is going to have.
    place = bar if bar.isVisible() or bar.parentWidget() is None else bar.parentWidget()
    other = _OTHER_PIXELS + (_COUNT_PIXELS if bar.items() else 0)
    room = min(max(place.width() - other, _LEAST_PIXELS), _MOST_PIXELS)
    if width(line) <= room and line == text:
        return line
    room -= _MORE_PIXELS
    words = line.split(" ")
    if width(line) <= room:
        return line
    while len(words) > 1 and width(" ".join(words) + " ...") > room:
        words.pop()
    return " ".join(words) + " ..."
