"""Keeps the pre-flight panel in step with what is chosen, and the tile grid with the panel."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import QgsCoordinateReferenceSystem, QgsGeometry, QgsProject
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QObject

from ..core.contract.errors import CancelledError, DecisionError, MultimodalError
from ..core.contract.job import ClassifyJob
from ..report import SceneReport
from .band_orders import usual_orders
from .band_recall import BandRecall
from .inspector import Inspector
from .order import NotReadyError, without_output
from .preflight_panel import PreflightPanel
from .rasters_widget import SENSORS, RasterPair
from .tile_grid import TileGrid
from .widgets import on_change


class Preflight(QObject):
    """Looks at the scene whenever something changes and the panel can be seen.

    Args:
        order: returns the job to ask about, or raises a MultimodalError.
    """

    def __init__(
        self, order: Callable[[], ClassifyJob], rasters: RasterPair, canvas: QgsMapCanvas,
        parent: QObject,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self.panel = PreflightPanel()
        self.controls = self.panel.controls
        self.recall = BandRecall(self.panel, rasters, self)
        self.inspector = Inspector(order, self.panel.isVisible, self)
        self.grid = TileGrid(canvas)
        self._order = order
        self._rasters = rasters
        self.inspector.asked.connect(self.panel.show_checking)
        self.inspector.answered.connect(self._on_answer)
        self.panel.check_wanted.connect(self.inspector.check_again)
        self.panel.decided.connect(self.inspector.check)
        self.panel.show_grid.toggled.connect(self._draw_grid)
        for widget in rasters.widgets.values():
            widget.changed.connect(self.inspector.schedule)
        on_change(self.controls, self.inspector.schedule)
        QgsProject.instance().cleared.connect(self.hide_grid)

    def open_decision(self, job: ClassifyJob) -> DecisionError | None:
        """Return what is to be decided before this job can run, as far as is known."""
        return self.inspector.open_decision(without_output(job))

    def learn(self, job: ClassifyJob, problem: MultimodalError) -> None:
        """Show the decision that a run was refused for."""
        if isinstance(problem, DecisionError):
            self.inspector.learn(without_output(job), problem)

    def set_busy(self, busy: bool) -> None:
        """Stand back while a run goes on."""
        self.panel.set_busy(busy)
        if busy:
            self.hide_grid()
            if self.inspector.is_asking:
                self.panel.show_put_off()
            self.inspector.pause()
        else:
            self.inspector.resume()

    def remember(self) -> None:
        """Keep thresholds, and band maps for rasters of the same kind."""
        self.controls.remember()
        self.recall.keep()

    def hide_grid(self) -> None:
        """Take the grid off the map, until somebody wants it again."""
        self.panel.show_grid.setChecked(False)

    def shut_down(self) -> None:
        """Let go of worker, canvas and project."""
        QgsProject.instance().cleared.disconnect(self.hide_grid)
        self.recall.disconnect_project()
        self.inspector.shut_down()
        self.grid.shut_down()

    def _on_answer(self, report: SceneReport | None, problem: MultimodalError | None) -> None:
        if report is not None:
            self.panel.show_report(report)
        elif isinstance(problem, NotReadyError):
            self.panel.show_unready(problem.message)
        elif isinstance(problem, CancelledError):
            self.panel.show_stopped()
        elif problem is not None:
            counts = {sensor: self._rasters.band_counts(sensor) for sensor in SENSORS}
            self.panel.show_problem(problem, usual_orders(problem, counts))
        self._draw_grid()

    def _draw_grid(self) -> None:
        report = self.panel.report
        if report is None or not self.panel.show_grid.isChecked():
            self.grid.clear()
            self.panel.grid_note.setVisible(False)
            return
        is_exact = self.grid.show(report.grid, *self._area())
        self.panel.grid_note.setVisible(self.grid.is_shown and not is_exact)

    def _area(self) -> tuple[QgsGeometry, QgsCoordinateReferenceSystem]:
        try:
            job, crs = self._order(), self._rasters.crs("s2")
        except MultimodalError:
            return QgsGeometry(), QgsCoordinateReferenceSystem()
        return QgsGeometry.fromWkt(job.extent_wkt or job.aoi_wkt or ""), crs
