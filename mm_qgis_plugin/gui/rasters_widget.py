"""The rasters of the two sensors."""

from __future__ import annotations

from qgis.core import QgsCoordinateReferenceSystem, QgsProject, QgsRasterLayer, QgsRectangle

from ..about import tr
from ..core.contract.errors import SourceError
from ..core.contract.job import RasterSource
from ..layers import guess_sensor, scene_extent
from .picks import Pick, pattern_of, picks_title
from .sensor_rasters import SensorRasters

SENSORS = {"s2": "Sentinel-2", "s1": "Sentinel-1"}


class RasterPair:
    """Two choices that guess, until the user chooses, which layer is which."""

    def __init__(self) -> None:
        self.widgets = {sensor: SensorRasters(sensor, name) for sensor, name in SENSORS.items()}
        self.combos = {sensor: widget.combo for sensor, widget in self.widgets.items()}
        self._chosen: set[str] = set()
        for sensor, widget in self.widgets.items():
            widget.chosen.connect(lambda sensor=sensor: self._chosen.add(sensor))
        QgsProject.instance().layersAdded.connect(self.guess)
        self.guess()

    def disconnect(self) -> None:
        """Stop listening to the project."""
        QgsProject.instance().layersAdded.disconnect(self.guess)
        for widget in self.widgets.values():
            widget.disconnect_project()

    def guess(self, layers: object = None) -> None:
        """Preselect layers whose band names speak for a sensor."""
        rasters = [
            layer
            for layer in QgsProject.instance().mapLayers().values()
            if isinstance(layer, QgsRasterLayer) and layer.providerType() == "gdal"
        ]
        for sensor, combo in self.combos.items():
            if sensor in self._chosen and self.widgets[sensor].picks():
                continue
            fitting = [layer for layer in rasters if guess_sensor(layer) == sensor]
            current = combo.currentLayer()
            if current not in fitting:
                combo.setLayer(fitting[0] if fitting else None)

    def choose(self, sensor: str, picks: list[Pick]) -> None:
        """Take these rasters, as the user's choice."""
        self._chosen.add(sensor)
        self.widgets[sensor].choose(picks)

    def picks(self, sensor: str) -> list[Pick]:
        """Return what is chosen; raises SourceError where nothing is."""
        picks = self.widgets[sensor].picks()
        if not picks:
            raise SourceError(
                tr("No {} layer was chosen: load the raster and choose it.").format(SENSORS[sensor])
            )
        return picks

    def is_complete(self) -> bool:
        """Return whether there is something for both sensors."""
        return all(widget.picks() for widget in self.widgets.values())

    def layer(self, sensor: str) -> QgsRasterLayer | None:
        """Return the first layer; None where paths were chosen, SourceError where nothing was."""
        return self.picks(sensor)[0].layer()

    def title(self, sensor: str) -> str:
        """Return what the user knows the rasters by."""
        return picks_title(self.picks(sensor))

    def crs(self, sensor: str) -> QgsCoordinateReferenceSystem:
        """Return the CRS of the first raster, in which areas are told to the worker."""
        return self.picks(sensor)[0].crs()

    def extent(self, sensor: str) -> QgsRectangle | None:
        """Return the box around the rasters in that CRS; None where paths are among them."""
        layers = [pick.layer() for pick in self.picks(sensor)]
        known = [layer for layer in layers if layer is not None]
        if len(known) < len(layers):
            return None
        return scene_extent(known, self.crs(sensor), QgsProject.instance().transformContext())

    def pattern(self, sensor: str) -> str:
        """Return which kind of rasters is chosen; empty where none is."""
        return pattern_of(self.widgets[sensor].picks())

    def band_counts(self, sensor: str) -> set[int]:
        """Return how many bands the chosen rasters have; 0 stands for one not known."""
        layers = [pick.layer() for pick in self.widgets[sensor].picks()]
        return {0 if layer is None else layer.bandCount() for layer in layers}

    def sources(self, sensor: str, bands: dict[str, int]) -> tuple[RasterSource, ...]:
        """Return the rasters as the worker opens them, each with the bands given by number."""
        return tuple(pick.source(bands) for pick in self.picks(sensor))

    def check_order(self) -> None:
        """Raise SourceError where one raster stands for both, or the two were exchanged."""
        layers = [self.layer(sensor) for sensor in SENSORS]
        if None in layers:
            return  # Paths tell nothing before they are opened.
        s2, s1 = layers
        if s2.source() == s1.source():
            raise SourceError(
                tr(
                    "The same layer '{}' was chosen for Sentinel-2 and for Sentinel-1: choose "
                    "two different ones."
                ).format(s2.name())
            )
        if [guess_sensor(layer) for layer in layers] == ["s1", "s2"]:
            raise SourceError(
                tr(
                    "The two layers are swapped: '{}' holds Sentinel-1 bands and '{}' Sentinel-2 "
                    "bands. Choose each in the place of the other."
                ).format(*(layer.name() for layer in layers))
            )
