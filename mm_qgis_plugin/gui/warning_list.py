"""Warnings, one below the other, each with its sign."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.PyQt.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from .signs import WARNING, SignLabel
from .widgets import breakable, note


class WarningList(QWidget):
    """Hidden while there is nothing to warn of."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._rows: list[QWidget] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self.setVisible(False)

    def show_all(self, texts: Sequence[str]) -> None:
        """Show these, in this order, and no others."""
        self.texts = list(texts)
        for row in self._rows:
            self._layout.removeWidget(row)
            row.hide()
            row.deleteLater()
        self._rows = [_row(text) for text in texts]
        for row in self._rows:
            self._layout.addWidget(row)
        self.setVisible(bool(texts))


def _row(text: str) -> QWidget:
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    sign = SignLabel()
    sign.show_kind(WARNING)
    row.addWidget(sign)
    row.addWidget(note(breakable(text)), 1)
    return holder
