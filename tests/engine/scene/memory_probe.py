"""Reads a cross of tiles of a huge pair in a process of its own and prints what memory it took."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from multimodal.contract.job import RasterSource
from multimodal.contract.result import OK
from multimodal.contract.spec import default_spec
from multimodal.scene import open_scene

STATUS = Path("/proc/self/status")
MIDDLE = 150


def peak_mb() -> float:
    """Return the peak of this process alone: getrusage counts that of its parent with it."""
    if STATUS.exists():
        lines = STATUS.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)


def main(s2: str, s1: str, middle: int = MIDDLE) -> None:
    with open_scene([RasterSource(s2)], [RasterSource(s1)], default_spec()) as scene:
        verdict = scene.describe()
        peaks = [peak_mb()]
        cross = [tile for tile in scene.select() if middle in (tile.row, tile.col)]
        statuses = []
        for batch in scene.batches(cross, 16, 0.3):
            statuses += [read.status for read in batch.reads]
            peaks.append(peak_mb())
    facts = {
        "peaks": peaks, "read": len(statuses), "good": statuses.count(OK),
        "tiles": verdict["grid"]["tiles"],
        "warnings": [warning["code"] for warning in verdict["warnings"]],
    }  # fmt: skip
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
