"""Several rasters for one sensor: layers to tick, files and folders to add."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..about import tr
from .picks import Pick
from .widgets import name_children, note, set_tip

_PICK = Qt.ItemDataRole.UserRole
_FILES = "*.tif *.tiff *.jp2 *.vrt *.img *.nc *.zip *.xml"


class RastersDialog(QDialog):
    """A list of everything that can be used; what is ticked is used."""

    def __init__(self, sensor: str, picks: Sequence[Pick], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("{} rasters").format(sensor))
        self.list = QListWidget()
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.files = QPushButton(tr("Add files..."))
        self.files.setToolTip(tr("GeoTIFF, JP2, VRT, NetCDF, a zip, or the MTD xml of a product"))
        self.folder = QPushButton(tr("Add folder..."))
        self.folder.setToolTip(tr("A .SAFE folder, or one with the band files of a scene"))
        buttons = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(buttons.Ok | buttons.Cancel)
        self._lay_out(sensor)
        for pick in _offered(picks):
            self._add(pick, pick in picks)
        self.files.clicked.connect(self._ask_files)
        self.folder.clicked.connect(self._ask_folder)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)

    def picks(self) -> list[Pick]:
        """Return what is ticked, from top to bottom."""
        items = [self.list.item(row) for row in range(self.list.count())]
        ticked = [item for item in items if item.checkState() == Qt.CheckState.Checked]
        return [item.data(_PICK) for item in ticked]

    def add_paths(self, paths: Iterable[str]) -> None:
        """Add files or folders, ticked; one that is there already is ticked."""
        for path in filter(None, paths):
            pick = Pick(path=path)
            for row in range(self.list.count()):
                if self.list.item(row).data(_PICK) == pick:
                    self.list.item(row).setCheckState(Qt.CheckState.Checked)
                    break
            else:
                self._add(pick, True)

    def _add(self, pick: Pick, ticked: bool) -> None:
        item = QListWidgetItem(pick.name())
        item.setData(_PICK, pick)
        layer = pick.layer()
        set_tip(item, pick.path if layer is None else layer.source())
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked)
        self.list.addItem(item)

    def _ask_files(self) -> None:
        kinds = tr("Rasters and products ({});;All files (*)").format(_FILES)
        self.add_paths(QFileDialog.getOpenFileNames(self, tr("Add files"), "", kinds)[0])

    def _ask_folder(self) -> None:
        self.add_paths([QFileDialog.getExistingDirectory(self, tr("Add a folder"))])

    def _lay_out(self, sensor: str) -> None:
        explained = note(
            tr("Tick what belongs together: one file per band, or scenes side by side. The first "
               "one gives the coordinate reference system of an area.")
        )  # fmt: skip
        row = QHBoxLayout()
        row.addWidget(self.files)
        row.addWidget(self.folder)
        row.addStretch(1)
        layout = QVBoxLayout(self)
        layout.addWidget(explained)
        layout.addWidget(self.list, 1)
        layout.addLayout(row)
        layout.addWidget(self.buttons)
        self.resize(440, 360)
        name_children(
            self, "multimodal_rasters", list=self.list, files=self.files, folder=self.folder
        )


def _offered(picks: Sequence[Pick]) -> list[Pick]:
    """Return what is picked, then the other raster files of the project."""
    layers = QgsProject.instance().mapLayers().values()
    rasters = [
        layer
        for layer in sorted(layers, key=lambda layer: layer.name().lower())
        if isinstance(layer, QgsRasterLayer) and layer.providerType() == "gdal"
    ]
    others = [Pick(layer_id=layer.id()) for layer in rasters]
    return [*picks, *(pick for pick in others if pick not in picks)]
