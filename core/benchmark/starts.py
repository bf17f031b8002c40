"""From the click to the first tiles: a worker that has to be started, and a warm one."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..client.worker_client import WorkerClient
from ..contract.errors import CancelledError
from ..contract.job import ClassifyJob
from ..contract.messages import Message, Rows

CANCELLED = "The benchmark was cancelled."


def start_seconds(job: ClassifyJob, is_cancelled: Callable[[], bool]) -> tuple[float, float]:
    """Return seconds until the first tiles of a run in a new worker, and of the next run in it."""
    with WorkerClient(_command()) as client:
        cold, warm = (
            _to_first_rows(client, replace(job, output=f"{job.output}.{name}.gpkg"), is_cancelled)
            for name in ("cold", "warm")
        )
    return cold, warm


def _to_first_rows(
    client: WorkerClient, job: ClassifyJob, is_cancelled: Callable[[], bool]
) -> float:
    seen: list[float] = []

    def note(message: Message) -> None:
        if isinstance(message, Rows):
            seen.append(time.perf_counter())

    start = time.perf_counter()
    client.run(job, note, lambda: bool(seen) or is_cancelled())
    if not seen:
        raise CancelledError(CANCELLED)
    Path(job.output).unlink(missing_ok=True)
    return seen[0] - start


def _command() -> list[str]:
    """Return how this very engine is started as a worker: by QGIS's script, or as a package."""
    script = Path(sys.argv[0])
    if script.name == "worker_main.py":
        return [sys.executable, "-I", str(script)]
    return [sys.executable, "-m", f"{__package__.partition('.')[0]}.worker"]
