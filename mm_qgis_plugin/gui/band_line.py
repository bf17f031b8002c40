"""A field for a band map."""

from __future__ import annotations

from qgis.PyQt.QtGui import QFocusEvent
from qgis.PyQt.QtWidgets import QLineEdit

from ..about import tr
from .widgets import set_tip


class BandLine(QLineEdit):
    """Shows the start of a long map while nobody writes in it, and all of it as its tooltip."""

    def __init__(self, example: str) -> None:
        super().__init__()
        self._use = tr(
            "Only where the names of bands do not tell: channel=band number, as in {}"
        ).format(example)
        self.setPlaceholderText(tr("by their names"))
        self.setToolTip(self._use)
        self.textChanged.connect(self._describe)

    def setText(self, text: str) -> None:
        """Show another text, from its start."""
        super().setText(text)
        self.setCursorPosition(0)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Called by Qt."""
        super().focusOutEvent(event)
        self.setCursorPosition(0)

    def _describe(self, text: str) -> None:
        set_tip(self, f"{text}\n{self._use}" if text else self._use)
