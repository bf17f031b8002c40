"""Band maps and decisions belong to the rasters they were made for, and go with them."""

from __future__ import annotations

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, pyqtSignal

from .. import band_memory
from ..about import tr
from ..core.contract.band_map import read_band_map
from ..core.contract.errors import JobError
from .preflight_panel import PreflightPanel
from .rasters_widget import SENSORS, RasterPair


class BandRecall(QObject):
    """Watches which rasters are chosen; fills in the band map that their kind had before."""

    rasters_changed = pyqtSignal()
    """Other rasters are chosen, or the project was cleared."""

    def __init__(self, panel: PreflightPanel, rasters: RasterPair, parent: QObject) -> None:
        super().__init__(parent)
        self._panel = panel
        self._rasters = rasters
        self._picks: dict[str, list] = {sensor: [] for sensor in SENSORS}
        self._filled: dict[str, str] = dict.fromkeys(SENSORS, "")
        # The kind of rasters that a map was written for, by the user or from memory.
        self._kind: dict[str, str] = dict.fromkeys(SENSORS, "")
        for sensor, widget in rasters.widgets.items():
            widget.changed.connect(lambda sensor=sensor: self._on_rasters(sensor))
            line = panel.controls.bands[sensor]
            line.textChanged.connect(lambda _, sensor=sensor: self._on_text(sensor))
            self._on_rasters(sensor)
        QgsProject.instance().cleared.connect(self._on_cleared)

    def keep(self) -> None:
        """Remember the band maps of a run, each for its kind of raster."""
        for sensor in SENSORS:
            text, kind = self._text(sensor), self._rasters.pattern(sensor)
            if not text or self._kind[sensor] == kind:
                band_memory.keep(sensor, kind, text)

    def disconnect_project(self) -> None:
        """Stop listening to the project."""
        QgsProject.instance().cleared.disconnect(self._on_cleared)

    def _text(self, sensor: str) -> str:
        return self._panel.controls.bands[sensor].text().strip()

    def _on_text(self, sensor: str) -> None:
        self._kind[sensor] = self._rasters.pattern(sensor)
        self._tell()

    def _on_rasters(self, sensor: str) -> None:
        picks = self._rasters.widgets[sensor].picks()
        before, self._picks[sensor] = self._picks[sensor], picks
        if picks == before:
            return
        if before:
            self._panel.controls.forget_scene(sensor)
        kind = self._rasters.pattern(sensor)
        if not self._text(sensor) or self._kind[sensor] != kind:
            self._fill(sensor, band_memory.recall(sensor, kind))
        self.rasters_changed.emit()

    def _on_cleared(self) -> None:
        for sensor in SENSORS:
            self._panel.controls.forget_scene(sensor)
            self._fill(sensor, "")
        self.rasters_changed.emit()

    def _fill(self, sensor: str, text: str) -> None:
        self._filled[sensor] = text
        self._panel.controls.bands[sensor].setText(text)
        self._on_text(sensor)

    def _tell(self) -> None:
        texts = {sensor: self._text(sensor) for sensor in SENSORS}
        self._panel.show_maps([self._warning(sensor, text) for sensor, text in texts.items()])

    def _warning(self, sensor: str, text: str) -> str:
        """Return that a map wins over the names of bands; empty where none is understood."""
        if not _is_map(text):
            return ""  # Nothing is in force; what is wrong with it is told elsewhere.
        told = tr("The band map of {} is in force: {}.").format(SENSORS[sensor], text)
        if text == self._filled[sensor]:
            told += " " + tr("It was used before with rasters of this kind.")
        return told


def _is_map(text: str) -> bool:
    try:
        return bool(read_band_map(text))
    except JobError:
        return False
