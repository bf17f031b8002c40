"""Fills in the band map that rasters of the same kind had before, and says so."""

from __future__ import annotations

from qgis.PyQt.QtCore import QObject

from .. import band_memory
from ..about import tr
from .preflight_panel import PreflightPanel
from .rasters_widget import SENSORS, RasterPair


class BandRecall(QObject):
    """Watches which rasters are chosen; decisions about other rasters go with them."""

    def __init__(self, panel: PreflightPanel, rasters: RasterPair, parent: QObject) -> None:
        super().__init__(parent)
        self._panel = panel
        self._rasters = rasters
        self._picks: dict[str, list] = {sensor: [] for sensor in SENSORS}
        self._filled: dict[str, str] = dict.fromkeys(SENSORS, "")
        for sensor, widget in rasters.widgets.items():
            widget.changed.connect(lambda sensor=sensor: self._on_rasters(sensor))
            panel.controls.bands[sensor].textChanged.connect(self._tell)
            self._on_rasters(sensor)

    def keep(self) -> None:
        """Remember the band maps of a run, each for its kind of raster."""
        for sensor in SENSORS:
            text = self._panel.controls.bands[sensor].text()
            band_memory.keep(sensor, self._rasters.pattern(sensor), text)

    def _on_rasters(self, sensor: str) -> None:
        picks = self._rasters.widgets[sensor].picks()
        before, self._picks[sensor] = self._picks[sensor], picks
        if picks == before:
            return
        if before:
            self._panel.controls.forget_scene(sensor)
        line = self._panel.controls.bands[sensor]
        # What the user wrote wins over what was used before.
        if not line.text().strip() or line.text() == self._filled[sensor]:
            self._filled[sensor] = band_memory.recall(sensor, self._rasters.pattern(sensor))
            line.setText(self._filled[sensor])
        self._tell()

    def _tell(self) -> None:
        told = [
            tr("{} band map as used before with rasters of this kind: {}").format(name, text)
            for sensor, name in SENSORS.items()
            if (text := self._filled[sensor]) and text == self._panel.controls.bands[sensor].text()
        ]
        self._panel.show_recalled("\n".join(told))
