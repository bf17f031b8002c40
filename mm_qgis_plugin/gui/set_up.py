"""The worker environment, made in the background on the user's wish."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..core.contract.errors import MultimodalError
from ..task import EnvironmentTask

_WAIT_MILLISECONDS = 3000


class SetUp(QObject):
    """At most one set-up at a time."""

    line = pyqtSignal(str)
    ended = pyqtSignal(object)
    """MultimodalError, or None where the environment is ready."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.notice = ""
        """What QGIS says of the end; see :class:`..task._Task`."""
        self._task: EnvironmentTask | None = None

    @property
    def is_running(self) -> bool:
        """Whether packages are being installed."""
        return self._task is not None

    def start(self) -> None:
        """Begin; takes minutes."""
        task = self._task = EnvironmentTask()
        task.line.connect(self.line)
        task.ended.connect(self._on_ended)
        QgsApplication.taskManager().addTask(task)

    def cancel(self) -> None:
        """Stop soon."""
        if self._task is not None:
            self._task.cancel()

    def shut_down(self) -> None:
        """Stop now; no signal comes afterwards."""
        if self._task is None:
            return
        self._task.ended.disconnect(self._on_ended)
        self._task.line.disconnect(self.line)
        self._task.cancel()
        self._task.waitForFinished(_WAIT_MILLISECONDS)

    def _on_ended(self, python: str | None, problem: MultimodalError | None) -> None:
        self.notice, self._task = self._task.notice, None
        self.ended.emit(problem)
