"""Kill runs at random instants, go on with each, and hold the end against a run left in peace.

One process imports torch and loads the model; each run is a fork of it, so that hundreds of
deaths take a minute. The instants come from a seed, which is printed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin

from multimodal import MultiModalModel, row_writer
from multimodal.contract.channels import S2_BANDS
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.messages import Message, Phase, Rows
from multimodal.contract.spec import default_spec
from multimodal.contract.target import sweep
from multimodal.pipeline import ModelCache, classify

TILE, SIDE = 16, 8
TILES = SIDE * SIDE
BATCH_SIZES = (4, 6, 9, 12)
# So many of the runs have batches in common commits, as quick runs have.
SHARED = 0.25
# What a run says before its first tiles: opening, loading, classifying.
PHASES = 3
DIED = -signal.SIGKILL
# A transaction is under way while this stands at the start of the rollback journal.
HOT = bytes.fromhex("d9d505f920a163d7")
SMALL = {
    "backbones": {
        "dinov3": {
            "pretrained": False,
            "config": {
                "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
                "num_attention_heads": 2,
            },
        },
        "resnet101": {"pretrained": False, "arch": "resnet18", "width": 2},
    },
}  # fmt: skip
QUERIES = {
    "ids": 'SELECT fid, tile_id, status, "class" FROM tiles',
    "shapes": "SELECT geom, row, col FROM tiles",
    "index": "SELECT * FROM rtree_tiles_geom ORDER BY id",
    "extent": "SELECT min_x, min_y, max_x, max_y FROM gpkg_contents WHERE table_name = 'tiles'",
    "count": "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'tiles'",
    "objects": "SELECT type, name FROM sqlite_master ORDER BY type, name",
    "style": "SELECT f_table_name, useAsDefault, styleQML FROM layer_styles",
    "run": "SELECT state, fingerprint FROM mm_run",
    "check": "PRAGMA integrity_check",
}


@dataclass
class Tally:
    """What the deaths met."""

    kills: int = 0
    too_late: int = 0
    before_a_file: int = 0
    inside_a_commit: int = 0
    kept: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} runs killed: {self.inside_a_commit} inside a commit, "
            f"{self.before_a_file} before the first tile, {self.too_late} after the end; "
            f"{self.kept} tiles were kept and not computed again"
        )


def forked(work: Callable[[], object]) -> int:
    """Do something in a fork of this process; returns its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as problem:  # noqa: BLE001  # a fork must not go on as its parent
            print(f"{type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return child


def end_of(child: int) -> int:
    """Wait for a fork and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_fork(work: Callable[[], object]) -> None:
    """Do something in a fork, so that this process starts no thread and opens no raster."""
    assert end_of(forked(work)) == 0


def make_scene(folder: Path) -> None:
    """Write a small pair whose corner has no image, and a random model for tiny tiles."""
    numbers = np.random.default_rng(0)
    size = TILE * SIDE
    s2 = numbers.integers(100, 4000, (len(S2_BANDS), size, size)).astype("uint16")
    s2[:, : 2 * TILE, : 3 * TILE] = 0
    s1 = numbers.normal((-12, -19), 3, (size, size, 2)).transpose(2, 0, 1).astype("float32")
    for name, values, bands in (("s2", s2, S2_BANDS), ("s1", s1, ("VV", "VH"))):
        profile = {
            "driver": "GTiff", "width": size, "height": size, "count": len(values),
            "dtype": values.dtype, "crs": "EPSG:32633", "nodata": 0, "tiled": True,
            "blockxsize": 32, "blockysize": 32,
            "transform": from_origin(500_000, 5_300_000, 10, 10),
        }  # fmt: skip
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as dataset:
            dataset.write(values)
            dataset.descriptions = bands
    torch.manual_seed(0)
    provenance = {"made by": "a test, from random weights"}
    spec = replace(default_spec(), provenance=provenance, tile_size=TILE)
    MultiModalModel(SMALL, spec).eval().save_pretrained(folder / "model")


def job_in(folder: Path, output: Path, batch_size: int) -> ClassifyJob:
    """Return the run of the small pair."""
    s2, s1 = (RasterSource(str(folder / name)) for name in ("s2.tif", "s1.tif"))
    return ClassifyJob(
        (s2,), (s1,), str(folder / "model"), str(output), device="cpu", batch_size=batch_size
    )


def content(path: Path) -> tuple[dict[str, list[Any]], np.ndarray]:
    """Return what a result holds, and its numbers, in the order in which they come."""
    with closing(sqlite3.connect(path)) as connection:
        told = {name: connection.execute(query).fetchall() for name, query in QUERIES.items()}
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(tiles)")]
        numbers = [name for name in columns if name.startswith("p_")]
        numbers += ["confidence", "entropy", "margin", "valid_s2", "valid_s1"]
        rows = connection.execute(f"SELECT {', '.join(numbers)} FROM tiles").fetchall()
    return told, np.array(rows, dtype=float)


class Killer:
    """Kills runs of one scene, and goes on with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tally = Tally()
        self._chance = random.Random()
        in_fork(lambda: make_scene(folder))
        self._models = ModelCache()
        self._models.get(str(folder / "model"), torch.device("cpu"))
        whole = folder / "whole.gpkg"
        in_fork(lambda: self.run(whole, 5))
        self._told, self._numbers = content(whole)
        assert len(self._told["ids"]) == TILES

    def kill(self, kills: int, part: int, seed: int) -> None:
        """Kill that many runs; parts have files and instants of their own."""
        self._chance = random.Random(f"{seed}.{part}")
        for number in itertools.count():
            if self.tally.kills >= kills:
                return
            self.trial(f"{part}-{number}")

    def trial(self, number: str) -> None:
        """Kill one run once or twice, and go on with it to its end."""
        path = self.folder / f"{number}.gpkg"
        for _ in range(self._chance.choice((1, 1, 1, 2))):
            self._kill_one(path)
            self._check_after_death(path)
        in_fork(lambda: self.run(path, self._chance.choice(BATCH_SIZES)))
        self.check_whole(path, f"trial {number}")
        assert not list(self.folder.glob(f"{path.name}-*")), "something was left beside the file"
        path.unlink()

    def check_whole(self, path: Path, what: str) -> None:
        """Hold a finished file against the one of the run that was left in peace."""
        told, numbers = content(path)
        for name, expected in self._told.items():
            assert told[name] == expected, f"{what}: {name} differs"
        np.testing.assert_allclose(numbers, self._numbers, rtol=0, atol=1e-6, equal_nan=True)

    def run(
        self, path: Path, batch_size: int, signs: int | None = None, *, shares_commits: bool = True
    ) -> None:
        """Classify the small pair; ``signs`` is a pipe that hears of its progress."""
        # So many tiles take a tenth of a second: most would share one commit, to meet no death.
        row_writer.SHARE = row_writer.SHARE if shares_commits else math.inf

        def emit(message: Message) -> None:
            if signs is not None and isinstance(message, (Phase, Rows)):
                os.write(signs, b".")

        classify(job_in(self.folder, path, batch_size), emit, models=self._models)

    def _kill_one(self, path: Path) -> None:
        size = self._chance.choice(BATCH_SIZES)
        seen, signs = os.pipe()
        shares = self._chance.random() < SHARED
        child = forked(lambda: self.run(path, size, signs, shares_commits=shares))
        os.close(signs)
        self._wait_for_an_instant(path, seen, PHASES + (1 if shares else TILES // size))
        os.kill(child, signal.SIGKILL)
        code = end_of(child)
        os.close(seen)
        assert code in (0, DIED), f"a run ended with {code}"
        self.tally.kills += code == DIED
        self.tally.too_late += code == 0

    def _wait_for_an_instant(self, path: Path, seen: int, signs: int) -> None:
        """Let a run come some way, and then into the middle of something."""
        started = time.monotonic()
        for _ in range(self._chance.randrange(signs)):
            if not os.read(seen, 1):
                return  # It has ended.
        pause = min(0.1, (time.monotonic() - started) / signs)
        time.sleep(self._chance.uniform(0, pause))
        if self._chance.random() < 0.5:
            _wait_for_commit(path, until=time.monotonic() + 2 * pause)

    def _check_after_death(self, path: Path) -> None:
        """What a killed run leaves is a layer: whole, styled, indexed and called partial."""
        self.tally.inside_a_commit += _is_hot(path)
        assert sweep(str(path)) or not path.exists()
        if not _has_tables(path):
            self.tally.before_a_file += 1
            return
        told, _ = content(path)
        done = len(told["ids"])
        self.tally.kept += done
        self.tally.before_a_file += done == 0
        assert told["check"] == [("ok",)]
        assert told["run"][0][0] == "partial" or done == TILES
        assert told["style"] == self._told["style"]
        assert len(told["index"]) == done == told["count"][0][0]
        assert (None in told["extent"][0]) == (done == 0)


def _has_tables(path: Path) -> bool:
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0


def _is_hot(path: Path) -> bool:
    try:
        with open(f"{path}-journal", "rb") as journal:
            return journal.read(len(HOT)) == HOT
    except FileNotFoundError:
        return False


def _wait_for_commit(path: Path, until: float) -> None:
    while not _is_hot(path) and time.monotonic() < until:
        pass


def kill_runs(kills: int, seed: int, folder: str | None = None, jobs: int = 2) -> Tally:
    """Kill that many runs, some of them at a time; an AssertionError says what differs."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        os.environ["XDG_CACHE_HOME"] = made
        killer = Killer(Path(made))
        shares = [kills // jobs + (part < kills % jobs) for part in range(jobs)]
        children = [
            forked(lambda part=part, share=share: _kill_part(killer, share, part, seed))
            for part, share in enumerate(shares)
        ]
        assert [end_of(child) for child in children] == [0] * jobs, "a resumed run differs"
        tallies = [json.loads(path.read_text()) for path in Path(made).glob("tally-*")]
        return Tally(*map(sum, zip(*tallies, strict=True)))


def _kill_part(killer: Killer, kills: int, part: int, seed: int) -> None:
    killer.kill(kills, part, seed)
    path = killer.folder / f"tally-{part}"
    path.write_text(json.dumps(astuple(killer.tally)))


def main() -> None:
    """Kill runs as told on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--folder", help="where to write, by default the folder for such things")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    started = time.monotonic()
    tally = kill_runs(options.kills, options.seed, options.folder)
    print(f"{tally}. All equal the run left in peace. {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
