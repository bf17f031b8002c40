"""The one worker of the QGIS session: started at the first run, warm until QGIS ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import settings
from .about import FOLDER
from .core.client.runtime import PythonFinder, child_environment, worker_command
from .core.client.worker_client import WorkerClient
from .core.contract.benchmark import BenchmarkOrder
from .core.contract.errors import WorkerCrashedError
from .core.contract.job import ClassifyJob
from .core.contract.log_file import newest_log
from .core.contract.messages import Message
from .core.contract.result import RunSummary


class SessionWorker:
    """Lends one :class:`WorkerClient` to dock and algorithms, from whatever thread they run in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pythons = PythonFinder()
        self._client: WorkerClient | None = None
        self._command: list[str] = []

    def run(
        self,
        job: ClassifyJob,
        on_message: Callable[[Message], None],
        is_cancelled: Callable[[], bool],
    ) -> RunSummary:
        """Run the job in the worker, which is started when there is none; blocks.

        Raises MultimodalError: RuntimeMissingError where no Python for the worker is found.
        """
        with self._doubted_after_a_crash():
            return self._ready_client(is_cancelled).run(job, on_message, is_cancelled)

    def inspect(self, job: ClassifyJob, is_cancelled: Callable[[], bool]) -> Mapping[str, Any]:
        """Return what the worker understands of a scene; blocks, and raises as :meth:`run`."""
        with self._doubted_after_a_crash():
            return self._ready_client(is_cancelled).inspect(job, is_cancelled)

    def measure(
        self,
        order: BenchmarkOrder,
        on_message: Callable[[Message], None],
        is_cancelled: Callable[[], bool],
    ) -> Mapping[str, Any]:
        """Return what a benchmark in the worker measures; blocks, and raises as :meth:`run`."""
        with self._doubted_after_a_crash():
            return self._ready_client(is_cancelled).measure(order, on_message, is_cancelled)

    def log_path(self) -> Path | None:
        """Return the log of this session's worker, else the newest one; None without any."""
        with self._lock:
            own = self._client.log if self._client is not None else ""
        return Path(own) if own else newest_log()

    def close(self) -> None:
        """End the worker process; the next run starts a new one."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextmanager
    def _doubted_after_a_crash(self) -> Iterator[None]:
        """Let the next run ask the Python again, and say what it lacks, where it could not work."""
        try:
            yield
        except WorkerCrashedError:
            self._pythons.forget()
            raise

    def _ready_client(self, is_cancelled: Callable[[], bool]) -> WorkerClient:
        python = self._pythons.find(
            settings.worker_python(), settings.managed_environment(), is_cancelled
        )
        command = worker_command(python, FOLDER / "worker_main.py")
        with self._lock:
            outdated = self._client if command != self._command else None
            if self._client is None or outdated is not None:
                self._client = WorkerClient(command, child_environment(os.environ))
                self._command = command
            client = self._client
        if outdated is not None:
            outdated.close()
        return client


@lru_cache(maxsize=1)
def session_worker() -> SessionWorker:
    """Return the worker that everything in this QGIS shares."""
    return SessionWorker()
