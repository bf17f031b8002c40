"""Background tasks: their threads only compute, every signal arrives on the main thread."""

from __future__ import annotations

import time
import traceback
from typing import Any

from qgis.core import QgsTask
from qgis.PyQt.QtCore import pyqtSignal

from . import settings
from .about import tr
from .core.client.environment import create_environment
from .core.contract.errors import CancelledError, InternalError, MultimodalError
from .core.contract.job import ClassifyJob
from .core.contract.messages import Message, Progress
from .core.contract.result import RunSummary
from .progress_text import progress_text
from .report import SceneReport, read_report
from .worker import session_worker

_SECONDS_BETWEEN_DESCRIPTIONS = 1.0


class _Task(QgsTask):
    """A task whose work raises MultimodalError; ``ended`` comes last, on the main thread."""

    ended = pyqtSignal(object, object)
    """(result or None, MultimodalError or None)"""

    def __init__(self, description: str, more: str = "Silent") -> None:
        # Silent, where QGIS has it (3.26): who started the task says how it ended, and says more.
        # Before, QGIS tells the end of every task of 5 s and more, by the desktop or on its
        # message bar. No task can prevent that: it can only be true (see `run`), and the dock
        # takes it off the bar again.
        flags = QgsTask.Flag.CanCancel
        for name in {"Silent", more}:
            flags |= getattr(QgsTask.Flag, name, QgsTask.Flag.CanCancel)
        super().__init__(description, flags)
        self.title = description
        self.notice = ""
        """What QGIS before 3.26 says at the end."""
        self._result: Any = None
        self._error: MultimodalError | None = None

    def work(self) -> Any:
        """Do the work on the task's thread and return its result."""
        raise NotImplementedError

    def run(self) -> bool:
        """Called by QGIS on the task's thread; an exception here would be lost."""
        try:
            self._result = self.work()
        except Exception as problem:  # noqa: BLE001  # becomes a coded error
            self._error = as_error(problem)
        # True also for an error and a cancel: ``ended`` tells them, and "Task failed" is wrong of
        # a run that keeps its tiles.
        return True

    def finished(self, result: bool) -> None:
        """Called by QGIS on the main thread, also where the task was cancelled in the queue."""
        if not result and self._error is None and self._result is None:
            self._error = CancelledError(tr("Cancelled before it began."))
        self.notice = f"{self.title}: {self._end()}"
        self.setDescription(self.notice)
        self.ended.emit(self._result, self._error)

    def _end(self) -> str:
        if self.isCanceled():
            return tr("stopped")
        return tr("done") if self._error is None else tr("failed")


class ClassifyTask(_Task):
    """Runs one job in the worker; the result is a :class:`RunSummary`."""

    message = pyqtSignal(object)
    """Every message of the worker, on the main thread."""

    def __init__(self, job: ClassifyJob) -> None:
        super().__init__(tr("Classifying Sentinel tiles"))
        self.job = job
        self._described = 0.0
        self.message.connect(self._describe)

    def work(self) -> RunSummary:
        """Run the job; blocks until the worker has closed the file."""
        return session_worker().run(self.job, self._receive, self.isCanceled)

    def _receive(self, message: Message) -> None:
        if isinstance(message, Progress) and message.total:
            self.setProgress(100.0 * message.done / message.total)
        self.message.emit(message)

    def _describe(self, message: Message) -> None:
        """Tell the task bar more than per cent; on the main thread, which shows the text."""
        is_due = time.monotonic() - self._described >= _SECONDS_BETWEEN_DESCRIPTIONS
        if isinstance(message, Progress) and is_due:
            self._described = time.monotonic()
            # Short: the list of tasks has room for some 60 characters.
            self.setDescription(tr("Classifying {}").format(progress_text(message)))


class InspectTask(_Task):
    """Asks the worker what it understands of a scene; the result is a :class:`SceneReport`."""

    def __init__(self, job: ClassifyJob) -> None:
        # Nobody asked for it: it does not show among the tasks, where QGIS can hide it (3.26).
        super().__init__(tr("Checking the Sentinel scene"), "Hidden")
        self.job = job

    def work(self) -> SceneReport:
        """Ask; blocks until the worker has answered."""
        return read_report(session_worker().inspect(self.job, self.isCanceled))


class EnvironmentTask(_Task):
    """Makes the worker environment; the result is the path of its interpreter."""

    line = pyqtSignal(str)
    """Every line that the tools print, on the main thread."""

    def __init__(self) -> None:
        super().__init__(tr("Setting up the worker environment"))

    def work(self) -> str:
        """Make the environment; takes minutes."""
        root = settings.managed_environment()
        return str(create_environment(root, self.line.emit, is_cancelled=self.isCanceled))


def as_error(problem: Exception) -> MultimodalError:
    """Return an exception as an error to be shown; what nobody foresaw is a defect of ours."""
    if isinstance(problem, MultimodalError):
        return problem
    return InternalError(
        tr("The plugin met an error that it does not know ({}). Please report it.").format(
            "".join(traceback.format_exception_only(type(problem), problem)).strip()
        ),
        traceback="".join(
            traceback.format_exception(type(problem), problem, problem.__traceback__)
        ),
    )
