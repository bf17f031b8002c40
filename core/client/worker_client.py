"""WorkerClient: starts the worker, sends it a job, tells what it says, ends it."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any

from ..contract.errors import (
    CancelledError,
    ProtocolError,
    WorkerCrashedError,
    WorkerSilentError,
)
from ..contract.job import ClassifyJob
from ..contract.messages import (
    PROTOCOL_VERSION,
    Cancel,
    Classify,
    Failed,
    Finished,
    Hello,
    Message,
    Shutdown,
    decode,
    encode,
)
from ..contract.result import RunSummary
from .runtime import child_environment

START_SECONDS = 120.0
CANCEL_SECONDS = 1.5
CLOSE_SECONDS = 1.0
_POLL_SECONDS = 0.05
_KEPT_LINES = 60
_MAX_LINE = 16 * 2**20
_IS_WINDOWS = sys.platform == "win32"

OnMessage = Callable[[Message], None]
IsCancelled = Callable[[], bool]


class WorkerClient:
    """One worker process, started at the first job and kept warm.

    Args:
        command: the worker's command line, see :func:`.runtime.worker_command`.
        environment: its environment; by default this one's, cleaned.
        start_seconds: how long it may take to say hello.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._command = list(command)
        self._environment = child_environment(os.environ) if environment is None else environment
        self._start_seconds = start_seconds
        self._busy = threading.Lock()
        self._process: _Process | None = None

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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

        A job waits while another runs. A cancelled job returns a summary with the state
        ``partial``; where the worker does not end it in time, the worker is killed.

        Raises:
            MultimodalError: as the worker told it.
            CancelledError: cancelled before there was a summary.
            WorkerCrashedError, WorkerSilentError, ProtocolError: the worker's own failures.
        """
        while not self._busy.acquire(timeout=_POLL_SECONDS):
            if is_cancelled():
                raise CancelledError("Cancelled while another run was going on.")
        try:
            return self._run(job, on_message, is_cancelled)
        except BaseException:
            if self._process is not None and not self._process.is_idle:
                self._drop()
            raise
        finally:
            self._busy.release()

    def close(self) -> None:
        """End the worker: politely, then for good."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _run(
        self, job: ClassifyJob, on_message: OnMessage, is_cancelled: IsCancelled
    ) -> RunSummary:
        process = self._started(is_cancelled)
        number = uuid.uuid4().hex
        process.is_idle = False
        process.send(Classify(job), number)
        deadline: float | None = None
        while True:
            if deadline is None and is_cancelled():
                process.send(Cancel(), number)
                deadline = time.monotonic() + CANCEL_SECONDS
            elif deadline is not None and time.monotonic() > deadline:
                raise _cancelled(job)
            message = process.receive(_POLL_SECONDS, number)
            if isinstance(message, (Finished, Failed)):
                process.is_idle = True
            if isinstance(message, Finished):
                return message.summary
            if isinstance(message, Failed):
                raise message.error
            if message is not None:
                on_message(message)

    def _started(self, is_cancelled: IsCancelled) -> _Process:
        if self._process is not None and self._process.is_alive:
            return self._process
        self._drop()
        process = self._process = _Process(self._command, self._environment)
        deadline = time.monotonic() + self._start_seconds
        while (message := process.receive(_POLL_SECONDS)) is None:
            if is_cancelled():
                raise CancelledError("Cancelled while the worker was starting.")
            if time.monotonic() > deadline:
                raise WorkerSilentError(
                    f"The worker did not answer within {self._start_seconds:.0f} s of its start. "
                    "Check the worker's Python under Advanced, and the load of the machine."
                    f"{process.quoted()}"
                )
        _check_hello(message, process)
        process.is_idle = True
        return process

    def _drop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()


class _Process:
    """The process with a thread for each of stdout and stderr."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.is_idle = False
        self._lines: queue.Queue[str | None] = queue.Queue(maxsize=1000)
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        try:
            self._popen = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, **_own_group(),
            )  # fmt: skip
        except OSError as problem:
            raise WorkerCrashedError(
                f"The worker cannot be started ({problem}): check the worker's Python under "
                "Advanced.",
                command=list(command),
            ) from problem
        assert self._popen.stdin is not None
        self._stdin = self._popen.stdin
        self._threads = [
            threading.Thread(target=target, args=(stream,), daemon=True)
            for target, stream in (
                (self._read_stdout, self._popen.stdout),
                (self._read_stderr, self._popen.stderr),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def send(self, message: Message, job: str) -> None:
        """Send a message; a broken pipe shows in :meth:`receive` as the end of the process."""
        try:
            self._stdin.write((encode(message, job) + "\n").encode())
            self._stdin.flush()
        except (BrokenPipeError, OSError):
            self._said.append("(the worker has closed its input)")

    def receive(self, seconds: float, job: str = "") -> Message | None:
        """Return the next message of ``job`` (or of none), None when nothing came in time.

        Raises:
            WorkerCrashedError: the process has ended.
        """
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if line is None:
            raise self._crash()
        try:
            owner, message = decode(line)
        except ProtocolError:
            self._said.append(line[:500])
            return None
        return message if owner in ("", job) else None

    def quoted(self) -> str:
        """Return the end of what the worker printed, ready to follow a sentence."""
        said = [line for line in self._said if line.strip()]
        return " It printed last:\n" + "\n".join(said[-15:]) if said else ""

    def end(self) -> None:
        """Ask the process to end, then kill it."""
        if self.is_alive:
            self.send(Shutdown(), "")
            try:
                self._popen.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                self._said.append("(killed: it did not end when asked to)")
        self.kill()

    def kill(self) -> None:
        """Kill the process with its children, and close the pipes."""
        if self.is_alive:
            _kill_group(self._popen)
        self._popen.wait()
        # A reader may wait for room: nobody reads any more.
        while any(thread.is_alive() for thread in self._threads):
            _drain(self._lines)
            for thread in self._threads:
                thread.join(_POLL_SECONDS)
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                _close(stream)

    def _read_stdout(self, stream: IO[bytes]) -> None:
        while line := stream.readline(_MAX_LINE):
            self._lines.put(line.decode("utf-8", "replace").rstrip("\r\n"))
        self._lines.put(None)

    def _read_stderr(self, stream: IO[bytes]) -> None:
        while line := stream.readline(_MAX_LINE):
            self._said.append(line.decode("utf-8", "replace").rstrip()[:2000])

    def _crash(self) -> WorkerCrashedError:
        try:
            code = self._popen.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        for thread in self._threads:
            thread.join(CLOSE_SECONDS)
        return WorkerCrashedError(
            f"The worker ended without a word ({_end_in_words(code)}). Finished tiles are kept; "
            f"run again to go on with a fresh worker.{self.quoted()}",
            exit_code=code,
        )


def _check_hello(message: Message, process: _Process) -> None:
    if isinstance(message, Hello) and message.protocol == PROTOCOL_VERSION:
        return
    spoken = f"version {message.protocol}" if isinstance(message, Hello) else "something else"
    raise ProtocolError(
        f"The worker speaks {spoken} of the protocol, this plugin version {PROTOCOL_VERSION}: "
        f"restart QGIS after an upgrade.{process.quoted()}"
    )


def _cancelled(job: ClassifyJob) -> CancelledError:
    return CancelledError(
        f"Cancelled; the worker had to be stopped. Finished tiles are kept in {job.output}; the "
        "same run again goes on from there.",
        output=job.output,
    )


def _end_in_words(code: int | None) -> str:
    if code is None:
        return "its output is closed, but it still runs"
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ": killed, perhaps for want of memory" if name == "SIGKILL" else ""
    return f"{name}{hint}"


def _own_group() -> dict[str, Any]:
    """Return the arguments of Popen for a process group of its own: Ctrl-C must not reach it."""
    if _IS_WINDOWS:
        group = subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined]
        return {"creationflags": group | subprocess.CREATE_NO_WINDOW}  # type: ignore[attr-defined]
    return {"start_new_session": True}


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if _IS_WINDOWS:
        process.kill()
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.poll()


def _drain(lines: queue.Queue[str | None]) -> None:
    while not lines.empty():
        lines.get_nowait()


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        # What was still buffered for a process that is gone is of no use to anybody.
        return
