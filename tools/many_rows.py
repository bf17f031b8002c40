"""Writes the rows of a full Sentinel-2 tile as a run does, and prints how long that takes.

``many_rows.py [FOLDER]``; by default the file lies in build/bench.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rasterio.crs import CRS

from multimodal.contract.result import OK, TileResult
from multimodal.contract.spec import default_spec
from multimodal.predictions import Journal
from multimodal.row_writer import RowWriter

FOLDER = Path(__file__).resolve().parents[1] / "build" / "bench"
COLUMNS = 91  # tiles of 1,200 m in 109.8 km
TILES = COLUMNS * COLUMNS
TILE_METRES, WEST, NORTH = 1200.0, 300_000.0, 5_300_040.0
SPEC = default_spec()
WKT = CRS.from_epsg(32633).to_wkt()
IDENTITY = {"made by": "many_rows"}
RUN = {"device": "cpu", "precision": "fp32", "versions": {}, "parameters": {}}
REPEATS = 5
BATCHES = (128, 8)


@cache
def many_rows() -> Sequence[TileResult]:
    """Return a row for each tile of a full Sentinel-2 scene, with 19 classes."""
    chance = random.Random(0)
    return [_row(number, chance) for number in range(TILES)]


def _row(number: int, chance: random.Random) -> TileResult:
    row, column = divmod(number, COLUMNS)
    west, north = WEST + TILE_METRES * column, NORTH - TILE_METRES * row
    east, south = west + TILE_METRES, north - TILE_METRES
    corners = ((west, south), (east, south), (east, north), (west, north))
    probabilities = tuple(chance.random() ** 4 for _ in SPEC.classes)
    return TileResult(number, row, column, corners, OK, probabilities, 1.0, 1.0, 0.0)


def open_journal(path: Path) -> Journal:
    """Open an empty result for these rows."""
    return Journal.open(str(path), SPEC, IDENTITY, WKT, RUN, overwrite=True)


def seconds_to_write(folder: Path, batch: int) -> float:
    """Return the median time from an empty file to one that is closed, rows given in batches."""
    rows, times = many_rows(), []
    with tempfile.TemporaryDirectory(dir=folder) as made:
        for _ in range(REPEATS):
            journal = open_journal(Path(made) / "out.gpkg")
            started = time.perf_counter()
            with RowWriter(journal.append, lambda told: None) as writer:
                for first in range(0, TILES, batch):
                    writer.add(rows[first : first + batch])
            journal.close("complete")
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print a line for each size of batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for batch in BATCHES:
        seconds = seconds_to_write(folder, batch)
        print(f"{TILES} rows written in batches of {batch}: {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    main()
