"""Measures the figures of docs/benchmarks.md on this machine and prints them as a table.

``bench.py`` takes the rows of a CPU, ``bench.py --gpu`` those of a GPU. The full tile is
fabricated in build/bench once (about 4 GB).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from many_rows import BATCHES, TILES, seconds_to_write

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "bench"
MULTIMODAL = Path(sys.executable).with_name("multimodal")
PREFLIGHTS = 5
Row = tuple[str, str, float, str]  # figure, goal, measured, unit


def benchmark(*arguments: str) -> dict[str, Any]:
    """Return what ``multimodal benchmark`` measures."""
    command = [MULTIMODAL, "benchmark", "--json", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def full_tile() -> tuple[Path, Path]:
    """Return the rasters of a full Sentinel-2 tile, made where they are not there."""
    s2, s1 = FOLDER / "S2.tif", FOLDER / "S1.tif"
    if not next(FOLDER.glob("*.SAFE/MTD_MSIL2A.xml"), None):
        subprocess.run([sys.executable, ROOT / "tools" / "full_tile.py", FOLDER], check=True)
    return s2, s1


def preflight_seconds(s2: Path, s1: Path) -> float:
    """Return the median time of ``multimodal inspect scene``."""
    command = [MULTIMODAL, "inspect", "scene", "--s2", s2, "--s1", s1, "--json"]
    seconds = []
    for _ in range(PREFLIGHTS):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def cpu_rows() -> Iterator[Row]:
    """Yield the rows of a CPU."""
    small = benchmark("--tiles", "400", "--device", "cpu")
    large = benchmark("--tiles", "1600", "--device", "cpu", "--repeats", "1")
    has_bf16 = "bf16" in small["precision"]
    yield "end to end / bare network, 400 tiles", ">= 0.95", small["ratio"], ""
    yield "end to end / bare network, 1600 tiles", ">= 0.95", large["ratio"], ""
    goal = ">= 3.0" if has_bf16 else ">= 1.15 (no bf16 units)"
    yield "bare network / plain fp32 PyTorch", goal, small["forward_gain"], ""
    goal = ">= 3.0" if has_bf16 else ""
    yield "end to end / plain fp32 PyTorch", goal, small["end_to_end_gain"], ""
    goal = ">= 0.65 with bf16 units"
    yield "FLOP/s of the network / of large matrices", goal, small["achieved_share"], ""
    yield "end to end", "", small["tiles_per_s"], "tiles/s"
    beyond = large["rss_mb_peak"] - large["rss_mb_model"]
    yield "memory beyond the model, 1600 tiles", "<= 1000", beyond, "MB"
    yield "first tiles in a warm worker", "<= 1", small["warm_start_s"], "s"
    yield "first tiles after a cold start", "<= 15", small["cold_start_s"], "s"
    for batch in BATCHES:
        figure = f"{TILES} rows written, in batches of {batch}"
        yield figure, "< 1", seconds_to_write(FOLDER, batch), "s"
    s2, s1 = full_tile()
    yield "pre-flight of a full tile, GeoTIFF", "<= 2", preflight_seconds(s2, s1), "s"
    safe = next(FOLDER.glob("*.SAFE"))
    yield "pre-flight of a full tile, SAFE", "<= 2", preflight_seconds(safe, s1), "s"


def gpu_rows() -> Iterator[Row]:
    """Yield the rows of a GPU."""
    s2, s1 = full_tile()
    found = benchmark("--device", "cuda", "--scene", str(s2), str(s1))
    seconds = found["tiles"] / found["tiles_per_s"]
    yield "a full tile end to end, worker warm", "<= 10", seconds, "s"
    yield "end to end / bare network", "", found["ratio"], ""
    yield "FLOP/s of the network / of large matrices", ">= 0.5", found["achieved_share"], ""
    yield "first tiles in a warm worker", "<= 1", found["warm_start_s"], "s"


def main() -> None:
    """Print the table; ready to be pasted into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true")
    is_gpu = parser.parse_args().gpu
    FOLDER.mkdir(parents=True, exist_ok=True)
    print(f"{datetime.now(timezone.utc):%Y-%m-%d}\n\n| figure | goal | measured |\n|---|---|---|")
    for figure, goal, value, unit in gpu_rows() if is_gpu else cpu_rows():
        print(f"| {figure} | {goal} | {value:.2f} {unit} |".replace("  |", " |"), flush=True)


if __name__ == "__main__":
    main()
