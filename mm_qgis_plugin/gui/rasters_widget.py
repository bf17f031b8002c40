"""The two raster layers."""

from __future__ import annotations

from qgis.core import QgsMapLayerProxyModel, QgsProject, QgsProviderRegistry, QgsRasterLayer
from qgis.gui import QgsMapLayerComboBox

from ..about import tr
from ..core.contract.errors import SourceError
from ..core.contract.job import RasterSource
from ..layers import guess_sensor, raster_source
from .widgets import narrow

SENSORS = {"s2": "Sentinel-2", "s1": "Sentinel-1"}


class RasterPair:
    """Two combo boxes that guess, until the user chooses, which layer is which."""

    def __init__(self) -> None:
        self.combos = {sensor: _combo(sensor) for sensor in SENSORS}
        self._chosen: set[str] = set()
        for sensor, combo in self.combos.items():
            combo.activated.connect(lambda _, sensor=sensor: self._chosen.add(sensor))
        QgsProject.instance().layersAdded.connect(self.guess)
        self.guess()

    def disconnect(self) -> None:
        """Stop listening to the project."""
        QgsProject.instance().layersAdded.disconnect(self.guess)

    def guess(self, layers: object = None) -> None:
        """Preselect layers whose band names speak for a sensor."""
        rasters = [
            layer
            for layer in QgsProject.instance().mapLayers().values()
            if isinstance(layer, QgsRasterLayer) and layer.providerType() == "gdal"
        ]
        for sensor, combo in self.combos.items():
            if sensor in self._chosen and combo.currentLayer() is not None:
                continue
            fitting = [layer for layer in rasters if guess_sensor(layer) == sensor]
            current = combo.currentLayer()
            if current not in fitting:
                combo.setLayer(fitting[0] if fitting else None)

    def layer(self, sensor: str) -> QgsRasterLayer:
        """Return the chosen layer; raises SourceError where there is none."""
        layer = self.combos[sensor].currentLayer()
        if layer is None:
            raise SourceError(
                tr("No {} layer was chosen: load the raster and choose it.").format(SENSORS[sensor])
            )
        return layer

    def source(self, sensor: str, bands: dict[str, int]) -> RasterSource:
        """Return the chosen layer as the worker opens it, with bands given by number."""
        return raster_source(self.layer(sensor), bands)

    def check_order(self) -> None:
        """Raise SourceError where one raster stands for both, or the two were exchanged."""
        s2, s1 = (self.layer(sensor) for sensor in SENSORS)
        if s2.source() == s1.source():
            raise SourceError(
                tr(
                    "The same layer '{}' was chosen for Sentinel-2 and for Sentinel-1: choose "
                    "two different ones."
                ).format(s2.name())
            )
        if [guess_sensor(self.layer(sensor)) for sensor in SENSORS] == ["s1", "s2"]:
            raise SourceError(
                tr(
                    "The two layers are swapped: '{}' holds Sentinel-1 bands and '{}' Sentinel-2 "
                    "bands. Choose each in the place of the other."
                ).format(self.layer("s2").name(), self.layer("s1").name())
            )


def _combo(sensor: str) -> QgsMapLayerComboBox:
    combo = QgsMapLayerComboBox()
    combo.setObjectName(f"multimodal_{sensor}")
    combo.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
    others = [key for key in QgsProviderRegistry.instance().providerList() if key != "gdal"]
    combo.setExcludedProviders(others)
    combo.setAllowEmptyLayer(True)
    combo.setLayer(None)
    combo.setToolTip(
        tr("Raster layer with the {} bands. They are found by their names.").format(SENSORS[sensor])
    )
    narrow(combo)
    return combo
