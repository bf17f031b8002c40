"""What takes hours: 500 killed runs, and one worker that runs on and on while its memory is read.

SOAK_HOURS (default 2) and SOAK_KILLS (default 500) change how long.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from killing import TILES, in_fork, job_in, make_scene

from multimodal.client.worker_client import WorkerClient
from multimodal.contract.messages import Message

HOURS = float(os.environ.get("SOAK_HOURS", "2"))
KILLS = int(os.environ.get("SOAK_KILLS", "500"))
SEED = int(os.environ.get("SOAK_SEED", random.SystemRandom().randrange(2**32)))
# The first runs fill caches that stay: the slope is taken from what follows.
WARM_UP_SHARE = 0.2


def worker_pid() -> int:
    """Return the only child of this process."""
    own = os.getpid()
    return int(Path(f"/proc/{own}/task/{own}/children").read_text().split()[0])


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def run_on(hours: float, folder: Path, tell: Callable[[str], None]) -> list[tuple[float, float]]:
    """Run the small pair again and again in one worker; returns (hours, MB) after each run."""
    job = job_in(folder, folder / "out.gpkg", 8)
    points: list[tuple[float, float]] = []
    started, told = time.monotonic(), 0.0
    chance = random.Random(SEED)
    with WorkerClient([sys.executable, "-I", "-m", "multimodal.worker"]) as client:
        while (passed := (time.monotonic() - started) / 3600) < hours:
            output = folder / f"{len(points)}.gpkg"
            _one_run(client, replace(job, output=str(output)), chance)
            output.unlink(missing_ok=True)
            points.append((passed, resident_mb(worker_pid())))
            if time.monotonic() - told > 60:
                told = time.monotonic()
                tell(f"{60 * passed:.0f} min, {len(points)} runs, {points[-1][1]:.0f} MB")
    return points


def _one_run(client: WorkerClient, job: object, chance: random.Random) -> None:
    """Run to the end, or cancel on the way and go on: both must leave no memory behind."""
    heard: list[Message] = []
    stop_at = chance.randrange(2, 12) if chance.random() < 0.25 else None
    client.run(job, heard.append, lambda: stop_at is not None and len(heard) >= stop_at)
    if stop_at is not None:
        summary = client.run(job)
        assert (summary.state, summary.tiles) == ("complete", TILES)


def slope(points: list[tuple[float, float]]) -> float:
    """Return MB per hour by least squares."""
    kept = np.array(points[int(len(points) * WARM_UP_SHARE) :])
    return float(np.polyfit(kept[:, 0], kept[:, 1], 1)[0])


def main() -> None:
    """Do both and print the figures."""
    print(f"seed {SEED}", flush=True)
    killing = Path(__file__).with_name("killing.py")
    command = [sys.executable, str(killing), "--kills", str(KILLS), "--seed", str(SEED)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        in_fork(lambda: make_scene(folder))
        points = run_on(HOURS, folder, lambda line: print(line, flush=True))
    kept = points[int(len(points) * WARM_UP_SHARE) :]
    print(
        f"{len(points)} runs of {TILES} tiles in {60 * HOURS:.0f} min in one worker: resident "
        f"memory {kept[0][1]:.0f} to {kept[-1][1]:.0f} MB after the warm-up, largest "
        f"{max(mb for _, mb in points):.0f} MB, slope {slope(points):+.1f} MB/hour"
    )


if __name__ == "__main__":
    main()
