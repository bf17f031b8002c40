"""WorkerClient: starts the worker, sends it a job, tells what it says, ends it."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

from ..contract.benchmark import BenchmarkOrder
from ..contract.errors import (
    CancelledError,
    ProtocolError,
    WorkerSilentError,
)
from ..contract.job import ClassifyJob
from ..contract.messages import (
    PROTOCOL_VERSION,
    Benchmark,
    Cancel,
    Classify,
    Failed,
    Finished,
    Hello,
    Inspect,
    Inspected,
    Measured,
    Message,
    Phase,
)
from ..contract.result import RunSummary
from .runtime import child_environment
from .stalls import Stalls
from .worker_process import WorkerProcess

START_SECONDS = 120.0
# Heartbeats come every 2 s: so many in a row are lost neither to load nor to a long native call.
SILENT_SECONDS = 60.0
# A cancel ends within 2 s, the killing of a worker that does not listen included.
CANCEL_SECONDS = 1.2
_POLL_SECONDS = 0.05
_WAITS: dict[type, str] = {
    Classify: "Waiting for another run to end",
    Inspect: "Waiting until the rasters were looked at",
    Benchmark: "Waiting for a benchmark to end",
}
"""What a job waits for, by what the worker is busy with."""
_KILLED: dict[type, str] = {
    Classify: "Cancelled; the worker had to be stopped. Tiles that were finished are kept; the "
    "same run again goes on from there.",
    Inspect: "Cancelled while the worker looked at the rasters; it had to be stopped.",
    Benchmark: "The benchmark was cancelled; the worker had to be stopped.",
}
"""What is left after a cancel that the worker did not obey: only a run has tiles."""

Order = Union[Classify, Inspect, Benchmark]
End = Union[Finished, Inspected, Measured]
OnMessage = Callable[[Message], None]
IsCancelled = Callable[[], bool]


class WorkerClient:
    """One worker process, started at the first job and kept warm.

    Args:
        command: the worker's command line, see :func:`.runtime.worker_command`.
        environment: its environment; by default this one's, cleaned.
        start_seconds: how long it may take to say hello.
        silent_seconds: without a heartbeat for so long, a busy worker is taken for hung.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        start_seconds: float = START_SECONDS,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._command = list(command)
        self._environment = child_environment(os.environ) if environment is None else environment
        self._start_seconds = start_seconds
        self._silent_seconds = silent_seconds
        self.log = ""
        """The log file of the worker that was started last."""
        self._busy = threading.Lock()
        self._busy_with: type = Classify
        self._process: WorkerProcess | None = None

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_running(self) -> bool:
        """Whether a worker process is alive."""
        return self._process is not None and self._process.is_alive

    def run(
        self,
        job: ClassifyJob,
        on_message: OnMessage = lambda message: None,
        is_cancelled: IsCancelled = lambda: False,
    ) -> RunSummary:
        """Run a job and return how it ended. Blocks; callbacks run on the calling thread.

        A job waits while another runs or a scene is inspected, and says so once. A cancelled job
        returns a summary with the state ``partial``; where the worker does not end it in time,
        the worker is killed.

        Raises:
            MultimodalError: as the worker told it.
            CancelledError: cancelled before there was a summary.
            WorkerCrashedError, WorkerSilentError, ProtocolError: the worker's own failures.
        """
        ended = self._ordered(Classify(job), on_message, is_cancelled)
        assert isinstance(ended, Finished)
        return ended.summary

    def inspect(
        self, job: ClassifyJob, is_cancelled: IsCancelled = lambda: False
    ) -> Mapping[str, Any]:
        """Return what the worker understands of a job's scene, as ``inspect scene --json`` does.

        Raises:
            MultimodalError: as :meth:`run`; a DecisionError says what the user must decide.
        """
        ended = self._ordered(Inspect(job), lambda message: None, is_cancelled)
        assert isinstance(ended, Inspected)
        return ended.report

    def measure(
        self,
        order: BenchmarkOrder,
        on_message: OnMessage = lambda message: None,
        is_cancelled: IsCancelled = lambda: False,
    ) -> Mapping[str, Any]:
        """Return what a benchmark in the worker measures, as ``benchmark --json`` does.

        Raises:
            MultimodalError: as :meth:`run`; CancelledError where it was cancelled.
        """
        ended = self._ordered(Benchmark(order), on_message, is_cancelled)
        assert isinstance(ended, Measured)
        return ended.result

    def close(self) -> None:
        """End the worker: politely, then for good."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _ordered(self, order: Order, on_message: OnMessage, is_cancelled: IsCancelled) -> End:
        self._wait_for_turn(on_message, is_cancelled)
        self._busy_with = type(order)
        try:
            return self._run(order, on_message, is_cancelled)
        except BaseException:
            if self._process is not None and not self._process.is_idle:
                self._drop()
            raise
        finally:
            self._busy.release()

    def _wait_for_turn(self, on_message: OnMessage, is_cancelled: IsCancelled) -> None:
        if self._busy.acquire(timeout=_POLL_SECONDS):
            return
        on_message(Phase("wait", _WAITS[self._busy_with]))
        while not self._busy.acquire(timeout=_POLL_SECONDS):
            if is_cancelled():
                raise CancelledError("Cancelled while waiting for the worker.")

    def _run(self, order: Order, on_message: OnMessage, is_cancelled: IsCancelled) -> End:
        process = self._started(is_cancelled)
        stalls = Stalls(on_message)
        number = uuid.uuid4().hex
        process.is_idle = False
        process.send(order, number)
        deadline: float | None = None
        while True:
            if deadline is None and is_cancelled():
                process.send(Cancel(), number)
                deadline = time.monotonic() + CANCEL_SECONDS
            elif deadline is not None and time.monotonic() > deadline:
                raise CancelledError(_KILLED[type(order)])
            message = process.receive(_POLL_SECONDS, number)
            if process.silent_seconds > self._silent_seconds:
                raise process.hung(stalls.phase)
            if isinstance(message, (Finished, Inspected, Measured, Failed)):
                process.is_idle = True
            if isinstance(message, (Finished, Inspected, Measured)):
                return message
            if isinstance(message, Failed):
                # A GPU that failed stays lost to its process: the next job gets another one.
                process.is_idle = not message.error.details.get("lost")
                raise message.error
            if message is not None:
                stalls.take(message)

    def _started(self, is_cancelled: IsCancelled) -> WorkerProcess:
        if self._process is not None and self._process.is_alive:
            return self._process
        self._drop()
        process = self._process = WorkerProcess(self._command, self._environment)
        while (message := process.receive(_POLL_SECONDS)) is None:
            if is_cancelled():
                raise CancelledError("Cancelled while the worker was starting.")
            if process.silent_seconds > self._start_seconds:
                raise WorkerSilentError(
                    f"The worker did not answer within {self._start_seconds:.0f} s of its start. "
                    "Check the worker's Python under Advanced, and the load of the machine."
                    f"{process.quoted()}"
                )
        _check_hello(message, process)
        self.log = process.log
        process.is_idle = True
        return process

    def _drop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()


def _check_hello(message: Message, process: WorkerProcess) -> None:
    if isinstance(message, Hello) and message.protocol == PROTOCOL_VERSION:
        return
    spoken = f"version {message.protocol}" if isinstance(message, Hello) else "something else"
    raise ProtocolError(
        f"The worker speaks {spoken} of the protocol, this plugin version {PROTOCOL_VERSION}: "
        f"restart QGIS after an upgrade.{process.quoted()}"
    )
