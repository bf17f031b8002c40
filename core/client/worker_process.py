"""One worker process: its pipes, a thread for each of them, and its end."""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, TypeVar

from ..contract.errors import (
    CancelledError,
    MultimodalError,
    ProtocolError,
    WorkerCrashedError,
    WorkerSilentError,
)
from ..contract.lines import MAX_LINE, lines_of
from ..contract.log_file import note
from ..contract.messages import Classify, Hello, Inspect, Message, Shutdown, decode, encode
from .ends import end_in_words, quoted
from .process_group import kill_group, own_group

CLOSE_SECONDS = 1.0
_JOIN_SECONDS = 0.05
_KEPT_LINES = 200
_MAX_PRINTED = 2000
_WAYS_ON: dict[type | None, str] = {
    Classify: "Finished tiles are kept; run again to go on with a fresh worker.",
    Inspect: "It was looking at the rasters; check them again with a fresh worker.",
    None: "It was starting; check the worker's Python under Advanced, then try again.",
}
"""What to do after a crash, by what the worker was asked for last."""
_TOO_LONG = f"(longer than {MAX_LINE // 2**20} MiB)"


_Error = TypeVar("_Error", bound=MultimodalError)


class WorkerProcess:
    """The process, with a thread each for stdin, stdout and stderr.

    Attributes:
        is_idle: it has no job.
        log: the file that it logs to, as it says itself; "" before that.
        silent_seconds: for how long it has said nothing. Looks that found nothing are counted,
            not the time on a clock: a machine that slept, or a caller that was busy, has not
            listened.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.is_idle = False
        self.log = ""
        self.silent_seconds = 0.0
        self._is_ended_by_us = False
        self._order: type | None = None
        self._dead_since = 0.0
        self._orders: queue.Queue[bytes | None] = queue.Queue()
        self._lines: queue.Queue[str | None] = queue.Queue(maxsize=1000)
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        try:
            self._popen = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, **own_group(),
            )  # fmt: skip
        except OSError as problem:
            raise WorkerCrashedError(
                f"The worker cannot be started ({problem}): check the worker's Python under "
                "Advanced.",
                command=list(command),
            ) from problem
        self._threads = [
            threading.Thread(target=target, args=(stream,), daemon=True)
            for target, stream in (
                (self._read_stdout, self._popen.stdout),
                (self._read_stderr, self._popen.stderr),
                (self._write_stdin, self._popen.stdin),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def send(self, message: Message, job: str) -> None:
        """Send a message; a broken pipe shows in :meth:`receive` as the end of the process."""
        if isinstance(message, (Classify, Inspect)):
            self._order = type(message)
            self.silent_seconds = 0.0
        self._orders.put((encode(message, job) + "\n").encode())

    def receive(self, seconds: float, job: str = "") -> Message | None:
        """Return the next message of ``job`` (or of none), None when nothing came in time.

        Raises:
            WorkerCrashedError: the process has ended.
            CancelledError: it was ended from this side, by another thread.
            ProtocolError: an answer to ``job`` is not what the contract says.
        """
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            if self._is_ended_by_us:
                raise self._ended() from None
            if self._is_long_dead():
                raise self._crash() from None
            self.silent_seconds += seconds
            return None
        self.silent_seconds = 0.0
        if line is None:
            raise self._ended() if self._is_ended_by_us else self._crash()
        owner, message = self._understood(line, job)
        if isinstance(message, Hello):
            self.log = message.log
        return message if owner in ("", job) else None

    def _understood(self, line: str, job: str) -> tuple[str, Message | None]:
        try:
            return decode(line)
        except ProtocolError as problem:
            self._said.append(line[:500])
            # Nobody prints this number but the protocol.
            if line == _TOO_LONG or (job and job in line):
                raise ProtocolError(
                    f"The worker gave an answer that is not understood ({problem.message}). "
                    f"Restart QGIS after an upgrade.{self.quoted()}"
                ) from problem
            return "", None

    def quoted(self) -> str:
        """Return the end of what the worker printed, ready to follow a sentence."""
        return quoted(list(self._said))

    def hung(self, phase: str) -> WorkerSilentError:
        """Return the error of a worker that lives and gives no sign of it."""
        doing = f" It was at: {phase}." if phase else ""
        error = WorkerSilentError(
            f"The worker hung: no sign of life for {self.silent_seconds:.0f} s, so it was ended."
            f"{doing} {_WAYS_ON[self._order]} If it hangs again, copy the rasters to a local disk, "
            f"or choose another device.{self.quoted()}"
        )
        return self._noted(error)

    def end(self) -> None:
        """Ask the process to end, then kill it."""
        self._is_ended_by_us = True
        if self.is_alive:
            self.send(Shutdown(), "")
            try:
                self._popen.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                self._said.append("(killed: it did not end when asked to)")
        self.kill()

    def kill(self) -> None:
        """Kill the process with its children, and close the pipes."""
        self._is_ended_by_us = True
        if self.is_alive or self._is_heard():
            kill_group(self._popen)
        with suppress(subprocess.TimeoutExpired):  # stuck in a dead drive it dies later
            self._popen.wait(CLOSE_SECONDS)
        self._orders.put(None)
        deadline = time.monotonic() + CLOSE_SECONDS
        # A reader may wait for room: nobody reads any more.
        while any(thread.is_alive() for thread in self._threads):
            if time.monotonic() > deadline:
                return  # Somebody outside the group keeps a pipe: its reader sleeps on.
            _drain(self._lines)
            for thread in self._threads:
                thread.join(_JOIN_SECONDS)
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                _close(stream)

    def _is_heard(self) -> bool:
        """Return whether somebody, if only a child of the process, holds its pipes."""
        return any(thread.is_alive() for thread in self._threads[:2])

    def _is_long_dead(self) -> bool:
        """Return whether the process ended so long ago that its last words would be here."""
        if self.is_alive:
            return False
        self._dead_since = self._dead_since or time.monotonic()
        return time.monotonic() - self._dead_since > CLOSE_SECONDS

    def _read_stdout(self, stream: IO[bytes]) -> None:
        for line in lines_of(stream):
            self._lines.put(_TOO_LONG if line is None else line)
        self._lines.put(None)

    def _read_stderr(self, stream: IO[bytes]) -> None:
        for line in lines_of(stream):
            self._said.append(_TOO_LONG if line is None else line.rstrip()[:_MAX_PRINTED])

    def _write_stdin(self, stream: IO[bytes]) -> None:
        """Write on a thread of its own: a worker that does not read must not stop a cancel."""
        while (order := self._orders.get()) is not None:
            try:
                stream.write(order)
                stream.flush()
            except OSError:
                self._said.append("(the worker has closed its input)")
                return

    def _ended(self) -> CancelledError:
        if self._order is Inspect:
            return CancelledError("The worker was closed while it looked at the rasters.")
        return CancelledError(
            "The worker was closed while a run was going on. Finished tiles are kept; the same run "
            "again goes on from there."
        )

    def _crash(self) -> WorkerCrashedError:
        try:
            code = self._popen.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        for thread in self._threads[:2]:  # the readers, for the last words
            thread.join(CLOSE_SECONDS)
        error = WorkerCrashedError(
            f"The worker ended without a word ({end_in_words(code)}). "
            f"{_WAYS_ON[self._order]}{self.quoted()}",
            exit_code=code,
        )
        return self._noted(error)

    def _noted(self, error: _Error) -> _Error:
        """Put an end of which the worker could not tell into its log, and all that it printed."""
        printed = "\n".join(self._said)
        if self.log:
            note(self.log, f"{error.code}: {error.message}\nPrinted last:\n{printed}")
        error.details.update(log=self.log, traceback=printed)
        return error


def _drain(lines: queue.Queue[str | None]) -> None:
    while not lines.empty():
        lines.get_nowait()


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:  # Windows calls a broken pipe an invalid argument
        # What was still buffered for a process that is gone is of no use to anybody.
        return
