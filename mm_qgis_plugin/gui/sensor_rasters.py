"""The rasters of one sensor: usually one layer, else whatever the "..." button gathers."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.core import QgsMapLayerProxyModel, QgsProject, QgsProviderRegistry
from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QHBoxLayout, QToolButton, QWidget

from ..about import tr
from .picks import Pick
from .rasters_dialog import RastersDialog
from .widgets import let_go, narrow, set_tip


class SensorRasters(QWidget):
    """A combo box of layers; several rasters, or paths, show in it as one entry."""

    changed = pyqtSignal()
    chosen = pyqtSignal()
    """By the user, not by a guess."""

    def __init__(self, sensor: str, name: str) -> None:
        super().__init__()
        self.name = name
        self.combo = _combo(sensor, name)
        self.more = QToolButton()
        self.more.setText("...")
        self.more.setObjectName(f"multimodal_{sensor}_more")
        self.more.setToolTip(
            tr("Several rasters, or files and folders that are not loaded as a layer")
        )
        self._several: list[Pick] = []
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(self.more)
        self.more.clicked.connect(self._ask)
        self.combo.activated.connect(lambda _: self.chosen.emit())
        self.combo.currentIndexChanged.connect(lambda _: self.changed.emit())
        project = QgsProject.instance()
        project.layersRemoved.connect(self._forget_removed)
        project.cleared.connect(self._forget_all)

    def picks(self) -> list[Pick]:
        """Return what is chosen now; empty where nothing is."""
        layer = self.combo.currentLayer()
        if layer is not None:
            return [Pick(layer_id=layer.id())]
        return list(self._several) if self._shows_several() else []

    def choose(self, picks: Sequence[Pick]) -> None:
        """Take these rasters."""
        layer = picks[0].layer() if len(picks) == 1 else None
        self._several = [] if layer is not None else list(picks)
        self.combo.setAdditionalItems([_label(self._several)] if self._several else [])
        if self._several:
            self.combo.setCurrentIndex(self.combo.count() - 1)
        else:
            self.combo.setLayer(layer)
        self._describe()
        # The same entry may stand for other rasters than before.
        self.changed.emit()

    def disconnect_project(self) -> None:
        """Stop listening to the project."""
        project = QgsProject.instance()
        project.layersRemoved.disconnect(self._forget_removed)
        project.cleared.disconnect(self._forget_all)

    def _shows_several(self) -> bool:
        return bool(self._several) and self.combo.currentIndex() == self.combo.count() - 1

    def _forget_all(self) -> None:
        """Paths were chosen for the project that is gone."""
        if self._several:
            self.choose([])

    def _forget_removed(self) -> None:
        there = [pick for pick in self._several if pick.is_there()]
        if len(there) == len(self._several):
            return
        if self._shows_several():
            self.choose(there)
        else:
            self._several = there
            self.combo.setAdditionalItems([_label(there)] if there else [])

    def _ask(self) -> None:
        dialog = RastersDialog(self.name, self.picks(), self)
        if dialog.exec():
            self.choose(dialog.picks())
            self.chosen.emit()
        dialog.deleteLater()

    def _describe(self) -> None:
        names = "\n".join(pick.name() for pick in self._several)
        several = tr("Several rasters, or files and folders that are not loaded as a layer")
        set_tip(self.more, names or several)


def _label(picks: Sequence[Pick]) -> str:
    return picks[0].name() if len(picks) == 1 else tr("{} rasters").format(len(picks))


def _combo(sensor: str, name: str) -> QgsMapLayerComboBox:
    combo = QgsMapLayerComboBox()
    combo.setObjectName(f"multimodal_{sensor}")
    combo.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
    others = [key for key in QgsProviderRegistry.instance().providerList() if key != "gdal"]
    combo.setExcludedProviders(others)
    combo.setAllowEmptyLayer(True)
    combo.setLayer(None)
    combo.setToolTip(
        tr("Raster layer with the {} bands. They are found by their names.").format(name)
    )
    return let_go(narrow(combo))
