"""Which band of which file each channel is, and what said so; folded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from qgis.gui import QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QResizeEvent
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

from ..about import tr
from ..report import BandFact
from ..report_text import pixel_size_text
from .widgets import SLIM, set_tip

_MOST_ROWS_IN_VIEW = 16
_FOUND_BY, _FILE = 3, 4
_LEAST_FILE = 20


class BandTable(QgsCollapsibleGroupBox):
    """Hidden while no band is known."""

    def __init__(self) -> None:
        super().__init__()
        self.table = _Table(0, 5)
        self.table.setObjectName("multimodal_band_table")
        self.table.setHorizontalHeaderLabels(
            [tr("Channel"), tr("Band"), tr("Pixel"), tr("By"), tr("File")]
        )
        self.table.verticalHeader().setVisible(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setMinimumWidth(1)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_FOUND_BY, QHeaderView.ResizeMode.Fixed)
        # The rest of the width, however little; the tooltip has the whole path.
        header.setSectionResizeMode(_FILE, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(1)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.setWordWrap(False)
        self.table.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 6)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(*SLIM)
        layout.addWidget(self.table)
        self.setSaveCollapsedState(False)
        self.setCollapsed(True)
        self.setVisible(False)

    def show_all(self, bands: Sequence[BandFact]) -> None:
        """Show these bands, and no others."""
        self.setTitle(tr("Bands ({})").format(len(bands)))
        self.table.setRowCount(len(bands))
        for row, band in enumerate(bands):
            for column, text in enumerate(_cells(band)):
                item = QTableWidgetItem(text)
                set_tip(item, band.path if column == _FILE else text)
                self.table.setItem(row, column, item)
        self.table.setColumnHidden(_FOUND_BY, not any(band.found_by for band in bands))
        self.table.fit_columns()
        self._fit(len(bands))
        self.setVisible(bool(bands))

    def _fit(self, count: int) -> None:
        rows = min(count, _MOST_ROWS_IN_VIEW)
        height = self.table.verticalHeader().defaultSectionSize() * rows
        head = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(height + head + 2 * self.table.frameWidth())


class _Table(QTableWidget):
    """Never wider than its place: what said so gives way to the file, and both are elided."""

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Called by Qt."""
        super().resizeEvent(event)
        self.fit_columns()

    def fit_columns(self) -> None:
        """Give each column what it needs, as far as there is room."""
        header = self.horizontalHeader()
        wanted = max(self.sizeHintForColumn(_FOUND_BY), header.sectionSizeHint(_FOUND_BY))
        taken = sum(header.sectionSize(column) for column in range(_FOUND_BY))
        room = self.viewport().width() - taken - _LEAST_FILE
        header.resizeSection(_FOUND_BY, max(1, min(wanted, room)))


def _cells(band: BandFact) -> tuple[str, str, str, str, str]:
    number = "" if band.band is None else str(band.band)
    size = pixel_size_text(band.pixel_size_m)
    return band.channel, number, size, band.found_by, PurePath(band.path).name
