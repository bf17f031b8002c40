"""The dock: choose, run, watch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from qgis.core import Qgis, QgsMessageLog
from qgis.gui import QgisInterface, QgsDockWidget
from qgis.PyQt.QtCore import QEvent
from qgis.PyQt.QtGui import QHideEvent, QShowEvent
from qgis.PyQt.QtWidgets import QPushButton

from .. import journals, settings
from ..about import LOG_TAG, display_name, icon, tr
from ..core.contract.errors import (
    CancelledError,
    DecisionError,
    MultimodalError,
    RuntimeMissingError,
)
from ..core.contract.job import ClassifyJob
from ..core.contract.result import RunSummary
from ..core.contract.target import check_output
from ..task import as_error
from . import status_panel as status
from .advanced_box import AdvancedBox
from .area_widget import AreaWidget
from .device_combo import device_combo
from .dock_layout import lay_out
from .held_layers import clean_leftovers, layers_of
from .model_widget import ModelWidget
from .order import question, scene_job
from .output_widget import OutputWidget
from .own_message import OwnMessage
from .preflight import Preflight
from .rasters_widget import RasterPair
from .run import Run
from .run_end import end_of, present, problem_of
from .set_up import SetUp
from .status_panel import StatusPanel
from .widgets import ask, on_change
from .worker_log import log_helps, show_log


class ClassifyDock(QgsDockWidget):
    """Everything that one run needs, from top to bottom."""

    def __init__(self, iface: QgisInterface) -> None:
        super().__init__(display_name())
        self.setObjectName("MultimodalDock")
        self.setWindowIcon(icon())
        self._iface = iface
        self.active_run: Run | None = None
        self.confirm: Callable[[str], bool] = lambda question: ask(self, question)
        self._replaceable: Path | None = None
        self._bar = OwnMessage(lambda: self._iface.messageBar())
        self._set_up = SetUp(self)
        self.rasters = RasterPair()
        self.model = ModelWidget()
        self.output = OutputWidget()
        self.area = AreaWidget(iface.mapCanvas())
        self.device = device_combo()
        self.advanced = AdvancedBox()
        self.preflight = Preflight(lambda: question(self), self.rasters, iface.mapCanvas(), self)
        self.panel = StatusPanel()
        self.run_button = QPushButton(icon("run"), tr("Run"))
        self.cancel_button = QPushButton(tr("Cancel"))
        self._scroll = lay_out(self)
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.advanced.set_up.clicked.connect(self.set_up_environment)
        self.advanced.show_log.clicked.connect(self._show_log)
        self._set_up.line.connect(self.panel.add_log)
        self._set_up.ended.connect(self._on_set_up)
        # What was said of an open decision is over with its answer.
        self.preflight.panel.decided.connect(lambda: self.panel.say(status.INFO, ""))
        self.preflight.panel.decided.connect(self._bar.clear)
        self.preflight.inspector.told.connect(self._bar.hush)
        self._watch_inputs()
        self._set_busy(False)
        clean_leftovers()

    def run(self) -> None:
        """Start a run with what is chosen; what is wrong is said at once."""
        self._start(overwrite=self.advanced.overwrite.isChecked())

    def cancel(self) -> None:
        """Stop what runs; finished tiles are kept."""
        self.cancel_button.setEnabled(False)
        if self.active_run is not None:
            self.panel.say(status.INFO, tr("Stopping; finished tiles are kept ..."))
            self.active_run.cancel()
        elif self._set_up.is_running:
            self.panel.say(status.INFO, tr("Stopping the set-up ..."))
            self._set_up.cancel()

    def set_up_environment(self) -> None:
        """Make the worker environment in the background, with its log in view."""
        self.panel.start(tr("Downloading and installing packages; this takes some minutes."))
        self._set_busy(True)
        self._set_up.start()

    def shut_down(self) -> None:
        """End what runs and let go of canvas and project: the plugin is being unloaded."""
        if self.active_run is not None:
            self.active_run.shut_down()
            self.active_run = None
        self._set_up.shut_down()
        self.preflight.shut_down()
        self._bar.clear()
        self.area.shut_down()
        self.rasters.disconnect()

    def hideEvent(self, event: QHideEvent) -> None:
        """Called by Qt: nobody draws for a dock that cannot be seen."""
        self.area.stop_drawing()
        self.preflight.hide_grid()
        super().hideEvent(event)

    def showEvent(self, event: QShowEvent) -> None:
        """Called by Qt: what was chosen meanwhile is looked at when it can be seen."""
        super().showEvent(event)
        self.preflight.inspector.schedule()

    def enterEvent(self, event: QEvent) -> None:
        """Called by Qt: the CRS of a layer, or a selection, may have been changed meanwhile."""
        super().enterEvent(event)
        self.preflight.inspector.schedule()

    def _start(self, overwrite: bool) -> None:
        try:
            self._begin(overwrite)
        except Exception as problem:  # noqa: BLE001  # becomes a message
            self._abandon()
            self._tell_error(as_error(problem))

    def _begin(self, overwrite: bool) -> None:
        spec = self.model.spec()
        job = replace(self._job(), overwrite=overwrite)
        undecided = self.preflight.open_decision(job)
        if undecided is not None:
            self._tell_undecided(undecided)
            return
        aside = journals.set_damaged_aside(job)
        check_output(job)  # Before anything is touched: a refused run leaves all as it is.
        if not self._may_hold(Path(job.output)):
            return
        self._remember()
        title = self.output.title(job, self.rasters.title("s2"))
        run = self.active_run = Run(job, spec, title, self.output.is_temporary(), self)
        run.phase.connect(lambda text: self.panel.say(status.INFO, text))
        run.progress.connect(self.panel.set_progress)
        run.warning.connect(self.panel.warn)
        run.ended.connect(self._on_ended)
        self._bar.clear()
        self.panel.start(tr("Starting the worker; the first time takes some seconds."), aside)
        self._set_busy(True)
        run.start()
        # The same run again is to go on where it was stopped.
        self.advanced.overwrite.setChecked(False)

    def _abandon(self) -> None:
        """Get ready again after a start that failed half-way."""
        run, self.active_run = self.active_run, None
        self._set_busy(False)
        if run is not None:
            run.shut_down()
            run.deleteLater()

    def _replace(self, path: Path) -> None:
        """Start over, if the dock still means the file that this was offered for."""
        try:
            same = Path(self._job().output) == path
        except Exception as problem:  # noqa: BLE001  # becomes a message
            self._tell_error(as_error(problem))
            return
        if same:
            self._start(overwrite=True)
        else:
            self.panel.say(status.WARNING, tr("The output was changed: press Run again."))

    def _may_hold(self, path: Path) -> bool:
        """Ask before edits go that nobody saved."""
        layers = [layer for layer in layers_of(path) if layer.isModified()]
        if not layers:
            return True
        question = tr("{} has unsaved edits in the output file, which a run discards. Go on?")
        return self.confirm(question.format(", ".join(f"'{layer.name()}'" for layer in layers)))

    def _job(self) -> ClassifyJob:
        job = scene_job(self)
        return replace(job, output=str(self.output.path(job)))

    def _on_ended(self, summary: RunSummary | None, problem: MultimodalError | None) -> None:
        run, self.active_run = self.active_run, None
        self._set_busy(False)
        self._bar.hush(run.notice)
        try:
            self._tell_run(run, summary, problem)
            present(self._iface, run.layer)
        except Exception as second:  # noqa: BLE001  # becomes a message
            self._tell_error(as_error(second))
        run.deleteLater()

    def _tell_run(
        self, run: Run, summary: RunSummary | None, problem: MultimodalError | None
    ) -> None:
        if problem is None:
            self._tell_end(*end_of(run, summary))
        else:
            self._tell_error(problem_of(run, problem), run.path)
            self.preflight.learn(run.job, problem)

    def _on_set_up(self, problem: MultimodalError | None) -> None:
        self._bar.hush(self._set_up.notice)
        self._set_busy(False)
        if problem is not None:
            self._tell_error(problem)
            return
        self.advanced.python.setFilePath("")
        self.advanced.remember_python()
        text = tr("The worker environment is ready: press Run.")
        self._tell_end(status.SUCCESS, text, text)

    def _tell_end(self, kind: str, short: str, text: str) -> None:
        self.panel.say(kind, text)
        level = Qgis.MessageLevel.Success if kind == status.SUCCESS else Qgis.MessageLevel.Warning
        self._bar.push(short, level)
        QgsMessageLog.logMessage(text, LOG_TAG, Qgis.MessageLevel.Info)

    def _tell_error(self, problem: MultimodalError, path: Path | None = None) -> None:
        cancelled = isinstance(problem, CancelledError)
        kind = status.WARNING if cancelled else status.ERROR
        self.panel.say(kind, problem.message, *self._remedy(problem, path))
        level = Qgis.MessageLevel.Warning if cancelled else Qgis.MessageLevel.Critical
        self._bar.push(problem.message, level)
        details = str(problem.details.get("traceback", ""))
        QgsMessageLog.logMessage(f"{problem.message}\n{details}".strip(), LOG_TAG, level)

    def _tell_undecided(self, problem: DecisionError) -> None:
        """Say why nothing was started, and bring the question into view."""
        self.panel.say(
            status.WARNING,
            tr("Not started: a decision is open. Answer the question under 'What is understood', "
               "then press Run again."),
        )  # fmt: skip
        QgsMessageLog.logMessage(problem.message, LOG_TAG, Qgis.MessageLevel.Warning)
        self._bar.push(tr("Not started: a decision is open"), Qgis.MessageLevel.Warning)
        self.preflight.panel.setCollapsed(False)
        self._scroll.ensureWidgetVisible(self.preflight.panel.decision)

    def _remedy(self, problem: MultimodalError, path: Path | None) -> tuple:
        self._replaceable = None
        if isinstance(problem, RuntimeMissingError):
            return tr("Set up worker environment"), self.set_up_environment
        path = path or problem.details.get("path")
        if "changed" in problem.details and path:  # The file holds another run of ours.
            self._replaceable = Path(path)
            return tr("Replace the file and run"), lambda: self._replace(Path(path))
        return (tr("Show log"), self._show_log) if log_helps(problem) else ()

    def _show_log(self) -> None:
        self._bar.push(show_log(), Qgis.MessageLevel.Info)

    def _watch_inputs(self) -> None:
        """A replacement is offered for what is chosen now, and not for what is chosen next."""
        for part in (self.inputs, self.advanced, self.preflight.controls):
            on_change(part, self._withdraw_replacement)
        for part in (self.inputs, self.advanced):
            on_change(part, self.preflight.inspector.schedule)
        self.area.changed.connect(self.preflight.inspector.schedule)
        self.preflight.recall.rasters_changed.connect(self._forget_message)

    def _forget_message(self) -> None:
        """It is not about the rasters that are chosen now."""
        if self.active_run is None and not self._set_up.is_running:
            self.panel.forget()
            self._bar.clear()

    def _withdraw_replacement(self) -> None:
        if self._replaceable is not None:
            self._replaceable = None
            self.panel.hide_remedy()

    def _set_busy(self, busy: bool) -> None:
        for part in (self.inputs, self.advanced, self.run_button):
            part.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        self.preflight.set_busy(busy)
        if not busy:
            self.panel.show_idle()

    def _remember(self) -> None:
        settings.remember(settings.MODEL, self.model.path())
        settings.remember(settings.DEVICE, self.device.currentData())
        self.advanced.remember()
        self.preflight.remember()
