"""One run from the dock: its task, its layers, its end."""

from __future__ import annotations

from pathlib import Path

from qgis.core import QgsApplication, QgsVectorLayer
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..about import tr
from ..core.contract.errors import MultimodalError
from ..core.contract.job import ClassifyJob
from ..core.contract.messages import Log, Message, Phase, Plan, Progress, Rows
from ..core.contract.result import RunSummary
from ..core.contract.spec import ModelSpec
from ..progress_text import plan_text, progress_text
from ..task import ClassifyTask
from .result_layers import ResultLayers, release

_WAIT_MILLISECONDS = 5000


class Run(QObject):
    """Runs a job in a task and keeps the project's layers in step; main thread only.

    ``layer`` is the result in the project, once there is one.

    ``is_temporary``: the result becomes a scratch layer, the file stays a journal.
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
        self._path = Path(job.output)
        self._is_temporary = is_temporary
        self._rows_seen = False
        self._was_shown = False
        self.layer: QgsVectorLayer | None = None
        self._layers = ResultLayers(spec, title, self)
        self._task = ClassifyTask(job)
        self._task.message.connect(self._on_message)
        self._task.ended.connect(self._on_ended)

    def start(self) -> None:
        """Hand the task to QGIS; a layer that shows the output file makes room."""
        self._was_shown = bool(release(self._path))
        QgsApplication.taskManager().addTask(self._task)

    def cancel(self) -> None:
        """Stop soon; finished tiles are kept."""
        self._task.cancel()

    def shut_down(self) -> None:
        """Stop now and leave no trace: the plugin is being unloaded."""
        self._task.message.disconnect(self._on_message)
        self._task.ended.disconnect(self._on_ended)
        self._task.cancel()
        self._task.waitForFinished(_WAIT_MILLISECONDS)
        self._layers.remove_preview()

    def _on_message(self, message: Message) -> None:
        if isinstance(message, Phase):
            self.phase.emit(tr(message.text))
        elif isinstance(message, Plan):
            self._layers.begin(message.crs_wkt)
            self.progress.emit(message.tiles - message.todo, message.tiles, plan_text(message))
        elif isinstance(message, Rows):
            self._rows_seen = True
            self._layers.add(message.rows)
        elif isinstance(message, Progress):
            self.progress.emit(message.done, message.total, progress_text(message))
        elif isinstance(message, Log):
            self.warning.emit(message.text)

    def _on_ended(self, summary: RunSummary | None, problem: MultimodalError | None) -> None:
        try:
            self._show_result(summary)
        except MultimodalError as second:
            self._layers.remove_preview()
            problem = problem or second
        self.ended.emit(summary, problem)

    def _show_result(self, summary: RunSummary | None) -> None:
        has_tiles = self._rows_seen or self._was_shown or summary is not None
        if not (has_tiles and self._path.exists()):
            self._layers.remove_preview()
            return
        complete = summary is not None and summary.state == "complete"
        show = self._layers.show_copy if self._is_temporary else self._layers.show_file
        self.layer = show(self._path, complete)
