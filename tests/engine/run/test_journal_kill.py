"""A journal whose writer dies at any statement: what was committed stays, and the run goes on."""

from __future__ import annotations

import itertools
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fudgeo.geopkg
import pytest
from rasterio.crs import CRS

from multimodal.contract.errors import OutputError
from multimodal.contract.result import TileResult
from multimodal.contract.spec import default_spec
from multimodal.predictions import Journal

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

SPEC = default_spec(["Water", "Wood"])
WKT = CRS.from_epsg(32633).to_wkt()
IDENTITY = {"version": "1"}
RUN = {"device": "cpu", "precision": "fp32", "versions": {}, "parameters": {}}
BATCHES = ((0, 1), (2, 3), (4,))
KILLED, ENDED, FAILED, REFUSED = 9, 0, 1, 2


def row(number: int) -> TileResult:
    x = 1200.0 * number
    corners = ((x, 0.0), (x + 1200, 0.0), (x + 1200, 1200.0), (x, 1200.0))
    return TileResult(number, 0, number, corners, "ok", (0.9, 0.2), 1.0, 1.0)


def write(path: Path) -> None:
    """Do what a run does: open, go on with what is missing, close."""
    journal = Journal.open(str(path), SPEC, IDENTITY, WKT, RUN)
    for batch in BATCHES:
        missing = [row(n) for n in batch if n not in journal.state().finished]
        if missing:
            journal.append(missing)
    journal.close("complete")


def write_and_die(path: Path, at: int) -> int:
    """Write in a child that dies before its ``at``-th statement; returns its exit code."""
    child = os.fork()
    if child == 0:
        try:
            die_before_statement(at)
            write(path)
        finally:
            os._exit(ENDED if sys.exc_info()[0] is None else FAILED)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_before_statement(at: int) -> None:
    """Count the statements of all connections that this process opens from now on."""
    left = itertools.count(at, -1)

    def count(statement: str) -> None:
        if next(left) == 0:
            os._exit(KILLED)

    def connect(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = sqlite3.connect(*args, **options)
        connection.set_trace_callback(count)
        return connection

    fudgeo.geopkg.connect = connect


def content(path: Path) -> dict[str, list]:
    queries = {
        "rows": "SELECT fid, * FROM tiles",
        "index": "SELECT id, minx, maxx FROM rtree_tiles_geom ORDER BY id",
        "extent": "SELECT min_x, max_x FROM gpkg_contents WHERE table_name = 'tiles'",
        "objects": "SELECT type, name FROM sqlite_master ORDER BY type, name",
        "count": "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'tiles'",
        "extensions": "SELECT table_name, extension_name FROM gpkg_extensions ORDER BY 1, 2",
        "styles": "SELECT f_table_name, useAsDefault FROM layer_styles",
        "run": "SELECT state, fingerprint FROM mm_run",
        "check": "PRAGMA integrity_check",
    }
    with sqlite3.connect(path) as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of files are written and synced here."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def test_a_death_at_every_statement_loses_nothing(quick_folder: Path) -> None:
    whole = quick_folder / "whole.gpkg"
    write(whole)
    expected = content(whole)
    for deaths in itertools.count():
        path = quick_folder / f"{deaths}.gpkg"
        code = write_and_die(path, deaths)
        if code == ENDED:
            break
        assert code == KILLED
        write(path)
        assert content(path) == expected, f"died before statement {deaths}"
        path.unlink()
    assert deaths > 50
    assert sorted(p.name for p in quick_folder.iterdir()) == [f"{deaths}.gpkg", "whole.gpkg"]


def write_at(path: Path, moment: float) -> int:
    """Write in a child that begins at a moment; returns its process id."""
    child = os.fork()
    if child == 0:
        code = FAILED
        try:
            time.sleep(max(0.0, moment - time.monotonic()))
            write(path)
            code = ENDED
        except OutputError as problem:
            code = REFUSED if "Another run holds" in problem.message else FAILED
        finally:
            os._exit(code)
    return child


def test_runs_that_begin_together_do_not_mix(quick_folder: Path) -> None:
    path = quick_folder / "tiles.gpkg"
    write(path)
    expected = content(path)
    for _ in range(8):
        path.unlink()
        moment = time.monotonic() + 0.05
        children = [write_at(path, moment) for _ in range(3)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert ENDED in codes
        assert set(codes) <= {ENDED, REFUSED}
        assert content(path) == expected


def test_a_death_inside_a_commit_is_rolled_back(tmp_path: Path) -> None:
    """Dirty pages are in the file, their originals in the rollback journal beside it."""
    path = tmp_path / "tiles.gpkg"
    child = os.fork()
    if child == 0:
        journal = Journal.open(str(path), SPEC, IDENTITY, WKT, RUN)
        journal.append([row(n) for n in range(50)])
        connection = journal._package.connection
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        copied = "INSERT INTO tiles (geom, tile_id) SELECT a.geom, 99 FROM tiles a, tiles b"
        connection.execute(copied)
        os._exit(KILLED)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
    assert Path(f"{path}-journal").stat().st_size > 0
    journal = Journal.open(str(path), SPEC, IDENTITY, WKT, RUN)
    assert journal.state().finished == frozenset(range(50))
    journal.close("complete")


def test_a_file_that_another_program_holds_is_not_called_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiles.gpkg"
    write(path)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.1}))
    with connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutputError, match=r"^Another run holds .*locked.*close programs"):
            Journal.open(str(path), SPEC, IDENTITY, WKT, RUN)
        other.execute("ROLLBACK")
    assert content(path)["run"][0][0] == "complete"


@pytest.mark.parametrize("name", ["a#b.gpkg", "50 % ?.gpkg", "ä 'quoted' \"x\".gpkg", "a.b.gpkg"])
def test_odd_names_can_be_gone_on_with(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_failure_while_starting_over_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "tiles.gpkg"
    write(path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="cannot be gone on with"):
        # A value that SQLite cannot store fails in the middle of making the new file.
        Journal.open(str(path), SPEC, IDENTITY, WKT, {**RUN, "nonsense": "x"}, overwrite=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["tiles.gpkg"]
