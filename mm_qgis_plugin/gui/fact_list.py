"""Topics and what is known of each, in two columns."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QGridLayout, QLabel, QWidget

from .widgets import breakable, note


class FactList(QWidget):
    """Hidden while nothing is known."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, str]] = []
        self._labels: list[QLabel] = []
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setColumnStretch(1, 1)
        self.setVisible(False)

    def show_all(self, rows: Sequence[tuple[str, str]]) -> None:
        """Show these (topic, text), and no others."""
        self.rows = list(rows)
        for label in self._labels:
            self._layout.removeWidget(label)
            label.hide()
            label.deleteLater()
        self._labels = []
        for number, (topic, text) in enumerate(rows):
            for column, label in enumerate((QLabel(topic), note(breakable(text)))):
                label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
                self._layout.addWidget(label, number, column)
                self._labels.append(label)
        self.setVisible(bool(rows))
