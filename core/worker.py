"""The door for QGIS: one warm process, one job at a time, JSON lines on stdin and stdout."""

from __future__ import annotations

import os
import platform
import queue
import signal
import sys
import threading
import traceback
from typing import TextIO

from .contract.errors import InternalError, MultimodalError, ProtocolError
from .contract.messages import (
    PROTOCOL_VERSION,
    Cancel,
    Classify,
    Failed,
    Finished,
    Hello,
    Inspect,
    Inspected,
    Message,
    Shutdown,
    decode,
    encode,
)
from .contract.version import version


def main() -> int:
    """Serve jobs until stdin is closed or a Shutdown comes."""
    output = _take_stdout()
    # Windows would read it in the code page of the machine, and stop at a byte it does not know.
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is QGIS's to answer
    # Heavy imports here, on the main thread and before stdin is read: on Windows they deadlock
    # beside a thread that waits on a pipe.
    from .pipeline import ModelCache

    server = _Server(output, ModelCache())
    server.send(Hello(PROTOCOL_VERSION, version(), platform.python_version(), os.getpid()))
    threading.Thread(target=server.listen, args=(sys.stdin,), daemon=True).start()
    server.serve()
    return 0


class _Server:
    """Jobs run on the thread that calls :meth:`serve`; another one listens for Cancel."""

    def __init__(self, output: TextIO, models: object) -> None:
        self._output = output
        self._models = models
        self._lock = threading.Lock()
        self._jobs: queue.Queue[tuple[str, Classify | Inspect] | None] = queue.Queue()
        self._cancelled: set[str] = set()
        self._closing = threading.Event()

    def send(self, message: Message, job: str = "") -> None:
        """Write one line; a client that is gone means that nobody wants to know."""
        line = encode(message, job)
        with self._lock:
            try:
                self._output.write(line + "\n")
                self._output.flush()
            except (OSError, ValueError):  # Windows calls a broken pipe an invalid argument
                self._closing.set()

    def listen(self, lines: TextIO) -> None:
        """Take messages until stdin is closed, which cancels what runs."""
        try:
            self._listen(lines)
        finally:
            # Whatever ended the listening: without it the process would stay as an orphan.
            self._closing.set()
            self._jobs.put(None)

    def _listen(self, lines: TextIO) -> None:
        for line in lines:
            try:
                job, message = decode(line)
            except MultimodalError as problem:
                self.send(Failed(ProtocolError(problem.message)))
                continue
            if isinstance(message, (Classify, Inspect)):
                self._jobs.put((job, message))
            elif isinstance(message, Cancel):
                self._cancelled.add(job)
            elif isinstance(message, Shutdown):
                return

    def serve(self) -> None:
        """Run jobs one after the other."""
        while (item := self._jobs.get()) is not None:
            job, order = item
            self.send(self._run(job, order), job)
            self._cancelled.discard(job)

    def _run(self, job: str, order: Classify | Inspect) -> Message:
        from .pipeline import ModelCache, classify, inspect

        assert isinstance(self._models, ModelCache)
        try:
            if isinstance(order, Inspect):
                return Inspected(inspect(order.job))
            summary = classify(
                order.job,
                lambda message: self.send(message, job),
                lambda: self._closing.is_set() or job in self._cancelled,
                self._models,
            )
        except MultimodalError as problem:
            return Failed(problem)
        except Exception as problem:  # noqa: BLE001  # told to the client as a coded error
            return Failed(_internal(problem))
        return Finished(summary)


def _internal(problem: Exception) -> InternalError:
    summary = "".join(traceback.format_exception_only(problem)).strip()
    return InternalError(
        f"The worker met an error that it does not know ({summary}). Finished tiles are kept. "
        "Please report it with the details.",
        traceback="".join(traceback.format_exception(problem)),
    )


def _take_stdout() -> TextIO:
    """Keep stdout for the protocol; whatever else prints, also native code, goes to stderr."""
    protocol = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(protocol, "w", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
