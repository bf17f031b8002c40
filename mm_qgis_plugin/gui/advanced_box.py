"""What is rarely touched: tiling, batch, precision, and the worker's Python."""

from __future__ import annotations

from qgis.gui import QgsCollapsibleGroupBox, QgsFileWidget
from qgis.PyQt.QtWidgets import QCheckBox, QPushButton

from .. import journals, settings
from ..about import tr
from ..core.contract.job import MAX_BATCH
from .widgets import choice, form, name_children, number_box

_MEGABYTE = 1024**2


class AdvancedBox(QgsCollapsibleGroupBox):
    """A group that is folded until somebody wants it."""

    def __init__(self) -> None:
        super().__init__(tr("Advanced"))
        self.stride = number_box(0, 100_000, tr("tile size"), tr("px"))
        self.stride.setToolTip(tr("Distance of tiles; smaller than a tile makes them overlap"))
        self.batch_size = number_box(0, MAX_BATCH, tr("automatic"))
        self.batch_size.setToolTip(tr("Tiles computed at once; smaller needs less memory"))
        self.min_valid = number_box(0, 100, "", "%")
        self.min_valid.setPrefix(tr("at least "))
        self.min_valid.setToolTip(tr("Tiles with a smaller share of valid pixels are skipped"))
        self.precision = choice(((tr("Automatic"), "auto"), (tr("Exact"), "exact")))
        self.precision.setToolTip(tr("Automatic is faster on a GPU, with tiny differences"))
        self.overwrite = QCheckBox(tr("Start over: replace an existing file"))
        self.overwrite.setToolTip(tr("Otherwise the same run goes on where it was stopped"))
        self.python = QgsFileWidget()
        self.python.setToolTip(
            tr("Interpreter that has torch, transformers and rasterio. Empty: the environment "
               "made by the button below, else the Python of QGIS.")
        )  # fmt: skip
        self.set_up = QPushButton(tr("Set up worker environment"))
        self.show_log = QPushButton(tr("Show worker log"))
        self.show_log.setToolTip(
            tr("For a report of a defect: without logins, and without the name of your home folder")
        )
        self.clear = QPushButton()
        self.clear.setToolTip(tr("Delete the tiles of unfinished and temporary runs"))
        self._lay_out()
        self._restore()
        self.clear.clicked.connect(self._clear_journals)
        self.collapsedStateChanged.connect(self._show_size)
        self.setSaveCollapsedState(False)
        self.setCollapsed(True)

    def remember(self) -> None:
        """Keep the values for the next session."""
        settings.remember(settings.STRIDE, self.stride.value())
        settings.remember(settings.BATCH_SIZE, self.batch_size.value())
        settings.remember(settings.MIN_VALID, self.min_valid.value())
        settings.remember(settings.PRECISION, self.precision.currentData())
        self.remember_python()

    def remember_python(self) -> None:
        """Keep the interpreter alone."""
        settings.remember(settings.WORKER_PYTHON, self.python.filePath().strip())

    def _restore(self) -> None:
        self.stride.setValue(settings.value(settings.STRIDE, 0))
        self.batch_size.setValue(settings.value(settings.BATCH_SIZE, 0))
        self.min_valid.setValue(settings.value(settings.MIN_VALID, 75))
        precision = self.precision.findData(settings.value(settings.PRECISION, "auto"))
        self.precision.setCurrentIndex(max(0, precision))
        self.python.setFilePath(settings.value(settings.WORKER_PYTHON, ""))

    def _lay_out(self) -> None:
        layout = form(self)
        layout.addRow(tr("Stride"), self.stride)
        layout.addRow(tr("Batch size"), self.batch_size)
        layout.addRow(tr("Valid pixels"), self.min_valid)
        layout.addRow(tr("Precision"), self.precision)
        layout.addRow(self.overwrite)
        layout.addRow(tr("Worker Python"), self.python)
        layout.addRow(self.set_up)
        layout.addRow(self.show_log)
        layout.addRow(self.clear)
        name_children(
            self, "multimodal_advanced", stride=self.stride, batch_size=self.batch_size,
            min_valid=self.min_valid, precision=self.precision, overwrite=self.overwrite,
            python=self.python, set_up=self.set_up, show_log=self.show_log,
            clear=self.clear,
        )  # fmt: skip

    def _show_size(self) -> None:
        size = journals.total_bytes() / _MEGABYTE
        self.clear.setText(tr("Clear unfinished runs ({:.1f} MB)").format(size))

    def _clear_journals(self) -> None:
        journals.clear()
        self._show_size()
