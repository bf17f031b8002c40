"""One run from the dock: its task, its layers, its end."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from qgis.core import Qgis, QgsApplication, QgsMessageLog, QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..about import LOG_TAG, tr
from ..core.contract.errors import MultimodalError
from ..core.contract.job import ClassifyJob
from ..core.contract.messages import Log, Message, Phase, Plan, Progress, Rows
from ..core.contract.result import RunSummary
from ..core.contract.spec import ModelSpec
from ..core.contract.target import sweep
from ..progress_text import plan_text, progress_text
from ..task import ClassifyTask, as_error
from .result_layers import ResultLayers
from .steps import Steps

_WAIT_MILLISECONDS = 5000


class Run(QObject):
    """Runs a job in a task and keeps the project's layers in step; main thread only.

    Attributes:
        job: what was ordered.
        path: the file that the worker writes.
        is_temporary: the result becomes a scratch layer, the file stays a journal.
        layer: the result in the project, once there is one.
        was_complete: the file held every tile before; nothing was computed.
        has_new_tiles: this run has finished a tile, as far as the worker told.
        lost_project: the project was closed meanwhile; the result is in no project.
    """

    phase = pyqtSignal(str)
    progress = pyqtSignal(int, int, str)
    warning = pyqtSignal(str)
    ended = pyqtSignal(object, object)
    """(RunSummary or None, MultimodalError or None); the layers are in place."""

    def __init__(
        self, job: ClassifyJob, spec: ModelSpec, title: str, is_temporary: bool, parent: QObject
    ) -> None:
        super().__init__(parent)
        self.job = job
        self.path = Path(job.output)
        self.is_temporary = is_temporary
        self.layer: QgsVectorLayer | None = None
        self.was_complete = False
        self.lost_project = False
        self._is_started = False
        self.has_new_tiles = False
        self._is_over = False
        self._layers = ResultLayers(spec, title, self)
        self._layers.failed.connect(self._on_preview_problem)
        self._showing = Steps(self)
        self._task = ClassifyTask(job)
        self._task.message.connect(self._on_message)
        self._task.ended.connect(self._on_ended)

    @property
    def notice(self) -> str:
        """What QGIS itself may say about the end of the task."""
        return self._task.notice

    def start(self) -> None:
        """Hand the task to QGIS; layers that show the output file make room."""
        QgsProject.instance().cleared.connect(self._on_project_gone)
        QgsProject.instance().readProject.connect(self._on_project_read)
        self._layers.hold(self.path)
        self._is_started = True
        QgsApplication.taskManager().addTask(self._task)

    def cancel(self) -> None:
        """Stop soon; finished tiles are kept."""
        if not self._is_over:  # Then QGIS has deleted the task.
            self._task.cancel()

    def shut_down(self) -> None:
        """Stop now and leave no trace: the plugin is being unloaded."""
        if self._is_over:
            self._showing.stop()
        else:
            self._end_task()
        QgsProject.instance().cleared.disconnect(self._on_project_gone)
        self._layers.remove_preview()
        self._layers.give_back()

    def _end_task(self) -> None:
        self._task.message.disconnect(self._on_message)
        self._task.ended.disconnect(self._on_ended)
        self._task.cancel()
        if self._is_started:
            self._task.waitForFinished(_WAIT_MILLISECONDS)
        QgsProject.instance().readProject.disconnect(self._on_project_read)

    def _on_message(self, message: Message) -> None:
        try:
            self._take(message)
        except Exception as problem:  # noqa: BLE001  # the preview is not worth the run
            self._on_preview_problem(problem)

    def _on_preview_problem(self, problem: Exception) -> None:
        self._layers.remove_preview()
        self.warning.emit(as_error(problem).message)

    def _take(self, message: Message) -> None:
        if isinstance(message, Phase):
            self.phase.emit(tr(message.text))
        elif isinstance(message, Plan):
            self.was_complete = message.todo == 0
            if not self.lost_project:
                self._layers.begin(message.crs_wkt)
            self.progress.emit(message.tiles - message.todo, message.tiles, plan_text(message))
        elif isinstance(message, Rows):
            self.has_new_tiles = True
            self._layers.add(message.rows)
        elif isinstance(message, Progress):
            self.progress.emit(message.done, message.total, progress_text(message))
        elif isinstance(message, Log):
            self.warning.emit(message.text)
            QgsMessageLog.logMessage(message.text, LOG_TAG, Qgis.MessageLevel.Warning)

    def _on_ended(self, summary: RunSummary | None, problem: MultimodalError | None) -> None:
        self._is_over = True
        # The file is closed: a layer that shows it from now on needs not be held.
        QgsProject.instance().readProject.disconnect(self._on_project_read)

        def on_shown(layer: QgsVectorLayer | None, second: Exception | None) -> None:
            QgsProject.instance().cleared.disconnect(self._on_project_gone)
            self._layers.remove_preview()
            self.layer = layer
            self.ended.emit(summary, problem or (second and as_error(second)))

        self._showing.start(self._show_result(summary), on_shown)

    def _show_result(
        self, summary: RunSummary | None
    ) -> Generator[None, None, QgsVectorLayer | None]:
        """Put what this run has written into the project that it was started in, if anything."""
        # A worker that was killed leaves a journal: another program would play it back later.
        sweep(str(self.path))
        shown = self._layers.give_back()
        has_written = self.has_new_tiles or summary is not None
        if self.lost_project or not has_written or not self.path.exists():
            return None
        complete = summary is not None and summary.state == "complete"
        if shown is not None and not self.is_temporary:
            return self._layers.rename(shown, complete)
        if summary is not None and not summary.classified + summary.skipped:
            return None  # Stopped before the first tile.
        if self.is_temporary:
            return (yield from self._layers.show_copy(self.path, complete))
        return (yield from self._layers.show_file(self.path, complete))

    def _on_project_gone(self) -> None:
        self.lost_project = True
        self._layers.forget()
        self._showing.cut_short()

    def _on_project_read(self) -> None:
        # The project that was opened instead may show the very file that is being written.
        self._layers.hold(self.path)
