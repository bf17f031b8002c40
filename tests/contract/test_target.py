"""May a result go to this file? Standard library alone, as in QGIS."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from multimodal.contract.errors import OutputError
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.target import check_output, check_target, sweep

IDENTITY = {"version": "1", "stride": None}


@pytest.fixture
def result(tmp_path: Path) -> Path:
    path = tmp_path / "tiles.gpkg"
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("gpkg_contents", "tiles", "rtree_tiles_geom", "layer_styles"):
            connection.execute(f"CREATE TABLE {table} (a)")
        connection.execute("CREATE VIEW geometry_columns AS SELECT 1")
        connection.execute("CREATE TABLE mm_run (fid, identity)")
        connection.execute("INSERT INTO mm_run VALUES (1, ?)", (json.dumps(IDENTITY),))
    return path


def add_table(path: Path, name: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE {name} (a)")


def test_a_new_file_and_the_same_run_may(tmp_path: Path, result: Path) -> None:
    check_target(str(tmp_path / "new.gpkg"), IDENTITY, False)
    assert not (tmp_path / "new.gpkg").exists()
    check_target(str(result), IDENTITY, False)


def test_an_empty_file_is_only_a_reserved_name(tmp_path: Path) -> None:
    path = tmp_path / "reserved.gpkg"
    path.touch()
    check_target(str(path), IDENTITY, False)


def test_another_run_only_when_told_to_start_over(result: Path) -> None:
    other = {**IDENTITY, "stride": 60}
    with pytest.raises(OutputError, match=r"holds another run .different: stride") as caught:
        check_target(str(result), other, False)
    assert caught.value.details["changed"] == ["stride"]
    check_target(str(result), other, True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    foreign = tmp_path / "parcels.gpkg"
    add_table(foreign, "parcels")
    text = tmp_path / "text.gpkg"
    text.write_text("not a database at all " * 99)
    for path in (foreign, text):
        before = path.read_bytes()
        with pytest.raises(OutputError, match="not a result of this program"):
            check_target(str(path), IDENTITY, overwrite)
        assert path.read_bytes() == before


def test_tables_that_a_user_added_are_not_replaced_either(result: Path) -> None:
    add_table(result, "my_notes")
    check_target(str(result), IDENTITY, False)
    with pytest.raises(OutputError, match="also holds my_notes"):
        check_target(str(result), IDENTITY, True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("out.shp", "must be a GeoPackage"),
        ("no/such/out.gpkg", "make it first"),
        ("d.gpkg", "folder"),
        ("n" * 300 + ".gpkg", "is too long: choose a shorter one"),
        # SQLite needs room for the name of its journal.
        ("n" * 247 + ".gpkg", "is too long: choose a shorter one"),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "d.gpkg").mkdir()
    with pytest.raises(OutputError, match=said):
        check_target(str(tmp_path / name), IDENTITY, False)


needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


@needs_fifo
@pytest.mark.timeout(20)
@pytest.mark.parametrize("end", ["", "-journal", "-wal"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_pipe_is_refused_at_once(result: Path, tmp_path: Path, end: str, is_there: bool) -> None:
    path = result if is_there and end else tmp_path / "pipe.gpkg"
    os.mkfifo(f"{path}{end}")
    link = tmp_path / "link.gpkg"
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(OutputError, match=r"is a pipe, a device or a folder.*choose another"):
            check_target(str(name), IDENTITY, True)


def test_a_link_that_leads_to_itself(tmp_path: Path) -> None:
    (tmp_path / "one.gpkg").symlink_to("two.gpkg")
    (tmp_path / "two.gpkg").symlink_to("one.gpkg")
    with pytest.raises(OutputError, match=r"leads back to itself: choose another name"):
        check_target(str(tmp_path / "one.gpkg"), IDENTITY, False)


def test_a_folder_in_the_place_of_a_journal(result: Path) -> None:
    result.with_name("tiles.gpkg-journal").mkdir()
    with pytest.raises(OutputError, match="-journal' is a pipe, a device or a folder"):
        check_target(str(result), IDENTITY, False)


def said_as_nobody(work: Callable[[], object]) -> str:
    """Return the error of work in a process to which something is forbidden: nothing is to root."""
    seen, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            work()
        except OutputError as problem:
            os.write(told, problem.message.encode())
        finally:
            os._exit(0)
    os.close(told)
    os.waitpid(child, 0)
    with os.fdopen(seen) as pipe:
        return pipe.read()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users reach; those of pytest are closed to them."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="rights of POSIX")
def test_a_file_in_a_folder_where_nothing_may_be_made(result: Path, shared: Path) -> None:
    """SQLite keeps its journal beside a file, which may be one that can be written."""
    path = Path(shutil.copy(result, shared))
    path.chmod(0o666)
    shared.chmod(0o555)
    said = said_as_nobody(lambda: check_target(str(path), IDENTITY, True))
    assert said.startswith(f"The folder '{shared.resolve()}' cannot be written (Permission denied)")
    assert "'tiles.gpkg'" in said
    path.chmod(0o444)
    shared.chmod(0o777)
    said = said_as_nobody(lambda: check_target(str(path), IDENTITY, True))
    assert said.startswith(f"'{path.resolve()}' cannot be written (Permission denied)")


HOSTILE = {
    "deep": "'" + "[" * 200_000 + "'",
    "deep objects": "'" + '{"a":' * 200_000 + "'",
    "long": "'\"' || hex(zeroblob(9000000)) || '\"'",
    "no text": "CAST(x'ff7b' AS TEXT)",
    "bytes": "x'ff7b'",
    "nothing": "NULL",
    "a number": "5",
    "a list": "'[1]'",
    "no JSON": "'{'",
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_fingerprint_that_anybody_may_have_written(
    result: Path, value: str, overwrite: bool
) -> None:
    with closing(sqlite3.connect(result)) as connection, connection:
        connection.execute(f"UPDATE mm_run SET identity = {value}")
    before = result.read_bytes()
    with pytest.raises(OutputError, match=r"is damaged, or not a result .* choose another"):
        check_target(str(result), IDENTITY, overwrite)
    assert result.read_bytes() == before


def test_a_fingerprint_of_many_long_names_is_told_in_short(result: Path) -> None:
    many = {f"{number}{'n' * 1000}": number for number in range(1000)}
    with closing(sqlite3.connect(result)) as connection, connection:
        connection.execute("UPDATE mm_run SET identity = ?", (json.dumps(many),))
    with pytest.raises(OutputError, match=r"holds another run .*, and more") as caught:
        check_target(str(result), IDENTITY, False)
    assert len(caught.value.message) < 2000


@pytest.mark.parametrize("table", ["mm_run (fid, name)", "mm_run (identity)"])
def test_a_run_table_without_a_run(tmp_path: Path, table: str) -> None:
    path = tmp_path / "tiles.gpkg"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE {table}")
    with pytest.raises(OutputError, match="is damaged, or not a result of this program"):
        check_target(str(path), IDENTITY, False)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1, 0.01])
def test_a_file_that_lost_its_end_is_told_as_damaged(
    result: Path, kept: float, overwrite: bool
) -> None:
    with result.open("r+b") as stream:
        stream.truncate(int(result.stat().st_size * kept))
    before = result.read_bytes()
    with pytest.raises(OutputError, match="is damaged, or not a result of this program"):
        check_target(str(result), IDENTITY, overwrite)
    assert result.read_bytes() == before


def test_a_head_that_was_overwritten_is_told_as_damaged(result: Path) -> None:
    with result.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff" * 3900)
    with pytest.raises(OutputError, match="is damaged, or not a result of this program"):
        check_target(str(result), IDENTITY, False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_the_output(result: Path, tmp_path: Path, overwrite: bool) -> None:
    link = tmp_path / "link.gpkg"
    link.symlink_to(result)
    job = ClassifyJob((RasterSource(str(result)),), (), "model", str(link), overwrite=overwrite)
    with pytest.raises(OutputError, match="is an input"):
        check_output(job)


DIES_BETWEEN_TRANSACTIONS = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
with connection:
    connection.execute("INSERT INTO gpkg_contents VALUES (1)")
os._exit(9)
"""
DIES_INSIDE_ONE = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 1")
connection.executemany("INSERT INTO gpkg_contents VALUES (?)", [("x" * 5000,)] * 200)
os._exit(9)
"""


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM gpkg_contents").fetchone()[0]


@pytest.mark.parametrize(("death", "kept"), [(DIES_BETWEEN_TRANSACTIONS, 1), (DIES_INSIDE_ONE, 0)])
def test_a_journal_that_a_dead_run_left_is_swept(result: Path, death: str, kept: int) -> None:
    journal = result.with_name("tiles.gpkg-journal")
    assert subprocess.run([sys.executable, "-c", death, str(result)], check=False).returncode == 9
    assert journal.exists()
    assert sweep(str(result))
    assert not journal.exists()
    assert rows(result) == kept


def test_a_journal_that_is_in_use_stays(result: Path) -> None:
    with closing(sqlite3.connect(result)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        with connection:
            connection.execute("INSERT INTO gpkg_contents VALUES (1)")
        assert not sweep(str(result))
        with connection:
            connection.execute("INSERT INTO gpkg_contents VALUES (2)")
    assert sweep(str(result))
    assert rows(result) == 2


def test_a_file_that_another_run_holds(result: Path) -> None:
    with closing(sqlite3.connect(result)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutputError, match=r"^Another run holds"):
            check_target(str(result), IDENTITY, False)


def test_sweeping_makes_no_file(tmp_path: Path) -> None:
    assert sweep(str(tmp_path / "gone.gpkg"))
    (tmp_path / "gone.gpkg-journal").write_bytes(bytes(512))
    assert not sweep(str(tmp_path / "gone.gpkg"))
    assert not (tmp_path / "gone.gpkg").exists()
