"""The door for QGIS: one warm process, one job at a time, JSON lines on stdin and stdout."""

from __future__ import annotations

import faulthandler
import logging
import os
import platform
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, NoReturn, TextIO

from .contract.errors import DeviceError, InternalError, MultimodalError, ProtocolError
from .contract.lines import MAX_LINE, lines_of
from .contract.messages import (
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
    Shutdown,
    decode,
    encode,
)
from .contract.version import version
from .orphan_guard import GRACE_SECONDS, end_after, guard
from .worker_log import (
    LOGGER,
    log_begin,
    log_job,
    log_message,
    log_problem,
    log_summary,
    log_versions,
    start_log,
)
from .worker_pulse import Pulse

Order = Classify | Inspect | Benchmark


def main() -> NoReturn:
    """Serve jobs until stdin is closed or a Shutdown comes, then end the process."""
    guard()
    output = _take_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is QGIS's to answer
    # Where each thread stands when native code crashes, on stderr, for the client to quote.
    faulthandler.enable()
    log = start_log()
    log_begin("worker")
    server = _Server(output, _models(), log)
    server.send(Hello(PROTOCOL_VERSION, version(), platform.python_version(), os.getpid(), log))
    server.serve(sys.stdin.buffer)
    LOGGER.info("worker ends")
    logging.shutdown()
    sys.stderr.flush()
    # Not by returning: the interpreter would wait for a thread that reads from a dead drive.
    os._exit(0)


def _models() -> object:
    """Import what is heavy, here on the main thread and before stdin is read.

    On Windows it deadlocks beside a thread that waits on a pipe.
    """
    try:
        from .pipeline import ModelCache
    except BaseException:
        LOGGER.exception("the worker's libraries cannot be loaded")
        raise
    log_versions()
    return ModelCache()


class _Server:
    """Jobs run on the thread that calls :meth:`serve`; another one listens for Cancel."""

    def __init__(self, output: TextIO, models: object, log: str) -> None:
        self._output = output
        self._models = models
        self._log = log
        self._lock = threading.Lock()
        self._jobs: queue.Queue[tuple[str, Order] | None] = queue.Queue()
        self._cancelled: set[str] = set()
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._pulse = Pulse(self.send)

    def send(self, message: Message, job: str = "") -> None:
        """Write one line; a client that is gone means that nobody wants to know."""
        line = encode(message, job)
        with self._lock:
            try:
                self._output.write(line + "\n")
                self._output.flush()
            except (OSError, ValueError):  # Windows calls a broken pipe an invalid argument
                self._closing.set()

    def serve(self, orders: IO[bytes]) -> None:
        """Run jobs one after the other."""
        threading.Thread(target=self._listen_to_the_end, args=(orders,), daemon=True).start()
        threading.Thread(target=self._pulse.beat, args=(self._closing,), daemon=True).start()
        while (item := self._jobs.get()) is not None:
            job, order = item
            self._pulse.begin(job, "Looking at the rasters")
            self._send_end(self._run(job, order), job)
            self._cancelled.discard(job)
        self._ended.set()

    def _listen_to_the_end(self, orders: IO[bytes]) -> None:
        """Take messages until stdin is closed, which cancels what runs."""
        try:
            self._listen(orders)
        finally:
            # Whatever ended the listening: without it the process would stay as an orphan.
            self._closing.set()
            self._jobs.put(None)
            end_after(GRACE_SECONDS, self._ended)

    def _listen(self, orders: IO[bytes]) -> None:
        for line in lines_of(orders):
            try:
                job, message = decode(_whole(line))
            except MultimodalError as problem:
                LOGGER.warning("a message is refused: %s", problem.message)
                self.send(Failed(ProtocolError(problem.message)))
                continue
            if isinstance(message, (Classify, Inspect, Benchmark)):
                self._jobs.put((job, message))
            elif isinstance(message, Cancel):
                LOGGER.info("cancel of %s", job)
                self._cancelled.add(job)
            elif isinstance(message, Shutdown):
                return

    def _run(self, job: str, order: Order) -> Message:
        try:
            return self._done(job, order)
        except Exception as problem:  # noqa: BLE001  # told to the client as a coded error
            return Failed(self._as_error(problem))

    def _done(self, job: str, order: Order) -> Message:
        from .inspection import inspect
        from .pipeline import ModelCache, classify

        assert isinstance(self._models, ModelCache)

        def is_cancelled() -> bool:
            return self._closing.is_set() or job in self._cancelled

        if isinstance(order, Benchmark):
            self._models.forget()  # room for that of the benchmark
            return self._measured(job, order, is_cancelled)
        log_job(f"{type(order).__name__} {job}", order.job)
        if isinstance(order, Inspect):
            return Inspected(inspect(order.job, is_cancelled))
        summary = classify(
            order.job, lambda message: self._tell(message, job), is_cancelled, self._models
        )
        log_summary(summary)
        return Finished(summary)

    def _measured(self, job: str, order: Benchmark, is_cancelled: Callable[[], bool]) -> Message:
        from .benchmark import run_benchmark

        LOGGER.info("Benchmark %s: %s", job, order.order.to_dict())
        return Measured(
            run_benchmark(
                order.order,
                lambda text: self._tell(Phase("benchmark", text), job),
                is_cancelled,
            )
        )

    def _tell(self, message: Message, job: str) -> None:
        log_message(message)
        self._pulse.saw(message)
        self.send(message, job)

    def _send_end(self, message: Message, job: str) -> None:
        self._pulse.end()
        try:
            self.send(message, job)
        except ValueError as problem:  # a number that JSON has no word for
            self.send(Failed(self._as_error(problem)), job)

    def _as_error(self, problem: Exception) -> MultimodalError:
        log_problem(problem)
        if isinstance(problem, MultimodalError):
            return problem
        lines = "".join(traceback.format_exception(problem))
        if isinstance(problem, MemoryError):
            return DeviceError(
                "The worker ran out of memory. Finished tiles are kept: close other programs, or "
                "choose a smaller batch size under Advanced, and run again to go on.",
                traceback=lines,
            )
        summary = "".join(traceback.format_exception_only(problem)).strip()
        where = f" and the worker's log '{self._log}'" if self._log else ""
        return InternalError(
            f"The worker met an error that it does not know ({summary}). Finished tiles are kept. "
            f"Please report it with the details{where}.",
            traceback=lines,
        )


def _whole(line: str | None) -> str:
    if line is None:
        raise ProtocolError(
            f"A message is longer than {MAX_LINE // 2**20} MiB and was dropped: choose an area of "
            "interest with fewer corners."
        )
    return line


def _take_stdout() -> TextIO:
    """Keep stdout for the protocol; whatever else prints, also native code, goes to stderr."""
    protocol = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(protocol, "w", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
