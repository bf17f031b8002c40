"""Asks the worker, in the background, what it understands of the scene that is chosen."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

from ..core.contract.errors import DecisionError, MultimodalError
from ..core.contract.job import ClassifyJob
from ..report import SceneReport
from ..task import InspectTask, as_error

DEBOUNCE_MILLISECONDS = 600
# A cancel may cost the worker's warm start: only for one that would keep the next one waiting.
_PATIENCE_MILLISECONDS = 10_000
_WAIT_MILLISECONDS = 3000


class Inspector(QObject):
    """One question at a time; an answer to what is not chosen any more is dropped.

    Args:
        order: returns the job for what is chosen now, or raises a MultimodalError.
        is_wanted: whether anybody can see an answer; else nothing is asked by itself.
    """

    asked = pyqtSignal()
    told = pyqtSignal(str)
    """What QGIS says of the end of the question; see :class:`..task._Task`."""
    answered = pyqtSignal(object, object)
    """(SceneReport or None, MultimodalError or None), about what is chosen now."""

    def __init__(
        self, order: Callable[[], ClassifyJob], is_wanted: Callable[[], bool], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._order = order
        self._is_wanted = is_wanted
        self._task: InspectTask | None = None
        self._task_is_stale = False
        self._known: tuple[ClassifyJob, MultimodalError | None] | None = None
        self._is_paused = False
        self._soon = _timer(self, DEBOUNCE_MILLISECONDS, self.check)
        self._patience = _timer(self, _PATIENCE_MILLISECONDS, self._lose_patience)

    @property
    def is_asking(self) -> bool:
        """Whether an answer is on its way, or what it was about was changed meanwhile."""
        return self._task is not None

    def schedule(self) -> None:
        """Ask soon: something was changed, and more may follow."""
        if not self._is_paused and self._is_wanted():
            self._soon.start()

    def check_again(self) -> None:
        """Ask now, whatever is known: the files themselves may have changed."""
        self._known = None
        self.check()

    def check(self) -> None:
        """Ask, unless the answer is known or on its way."""
        self._soon.stop()
        if self._is_paused:
            return
        job = self._current()
        if job is None or (self._known is not None and self._known[0] == job):
            return
        self._known = None
        self.asked.emit()
        if self._task is None:
            self._ask(job)
        elif self._task.job != job:
            self._let_go()
        elif not self._task.isCanceled():
            # Changed, and changed back: the answer on its way is wanted again.
            self._task_is_stale = False
            self._patience.stop()

    def pause(self) -> None:
        """Ask nothing: the worker is needed for a run."""
        self._soon.stop()
        self._is_paused = True
        self._let_go()

    def resume(self) -> None:
        """Go on after a run, with what was changed meanwhile."""
        self._is_paused = False
        if self._known is not None and not isinstance(self._known[1], (DecisionError, type(None))):
            self._known = None  # A set-up, or whatever went on, may have mended it.
        self.schedule()

    def learn(self, job: ClassifyJob, problem: MultimodalError) -> None:
        """Take a run's refusal for the answer: the worker would say the same again."""
        self._known = (job, problem)
        self.answered.emit(None, problem)

    def open_decision(self, job: ClassifyJob) -> DecisionError | None:
        """Return what is still to be decided for this job, as far as is known."""
        if self._known is None or self._known[0] != job:
            return None
        problem = self._known[1]
        return problem if isinstance(problem, DecisionError) else None

    def shut_down(self) -> None:
        """End what goes on; no signal comes afterwards."""
        self.pause()
        if self._task is not None:
            self._task.ended.disconnect(self._on_ended)
            self._task.cancel()
            self._task.waitForFinished(_WAIT_MILLISECONDS)
            self._task = None
        self._patience.stop()

    def _current(self) -> ClassifyJob | None:
        """Return the job to ask about; what cannot be asked about is told at once."""
        try:
            return self._order()
        except Exception as problem:  # noqa: BLE001  # becomes a message
            self._let_go()
            self._known = None
            self.answered.emit(None, as_error(problem))
            return None

    def _ask(self, job: ClassifyJob) -> None:
        task = self._task = InspectTask(job)
        self._task_is_stale = False
        task.ended.connect(self._on_ended)
        QgsApplication.taskManager().addTask(task)

    def _let_go(self) -> None:
        if self._task is not None and not self._task_is_stale:
            self._task_is_stale = True
            self._patience.start()

    def _lose_patience(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _on_ended(self, report: SceneReport | None, problem: MultimodalError | None) -> None:
        job, is_stale = self._task.job, self._task_is_stale
        self.told.emit(self._task.notice)
        self._task = None
        self._patience.stop()
        if self._is_paused:
            return
        current = self._current()
        if current is None:
            return
        if is_stale or current != job:
            self.check()
            return
        self._known = (job, problem)
        self.answered.emit(report, problem)


def _timer(parent: QObject, milliseconds: int, call: Callable[[], None]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(call)
    return timer
