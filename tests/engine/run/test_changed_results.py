"""A result that another program changed or damaged: told as such, and started over when asked."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal.contract.errors import OutputError
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.messages import Message, Rows
from multimodal.pipeline import classify

WAY_OUT = r"changed it, or it is damaged\. Choose another file, or start over"


@pytest.fixture(scope="module")
def stopped(
    pair: tuple[str, str], tiny_model: str, tmp_path_factory: pytest.TempPathFactory
) -> ClassifyJob:
    """A run that was stopped after its first batch."""
    s2, s1 = pair
    output = str(tmp_path_factory.mktemp("stopped") / "out.gpkg")
    order = ClassifyJob(
        (RasterSource(s2),), (RasterSource(s1),), tiny_model, output, device="cpu", batch_size=2
    )
    told: list[Message] = []
    summary = classify(order, told.append, lambda: any(isinstance(m, Rows) for m in told))
    assert summary.state == "partial"
    return order


@pytest.fixture
def partial(stopped: ClassifyJob, tmp_path: Path) -> ClassifyJob:
    """A copy of its result, to be spoiled."""
    return replace(stopped, output=shutil.copy(stopped.output, str(tmp_path / "out.gpkg")))


def changed(order: ClassifyJob, *statements: str) -> None:
    with closing(sqlite3.connect(order.output)) as connection, connection:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'tiles'"
        ).fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')  # they need functions of GDAL
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    "statements",
    [
        ["ALTER TABLE tiles DROP COLUMN entropy"],
        ["ALTER TABLE tiles DROP COLUMN status"],
        ["ALTER TABLE tiles RENAME TO mine"],
        ["DROP TABLE tiles"],
        ["ALTER TABLE mm_run DROP COLUMN device"],
        ["DROP TABLE gpkg_contents"],
        ["UPDATE mm_run SET device = x'00ff'"],
        ["UPDATE mm_run SET precision = x'00'"],
        ["UPDATE mm_run SET device = CAST(x'ff' AS TEXT)"],
        ["UPDATE tiles SET status = x'00ff' WHERE tile_id = 0"],
        ["UPDATE tiles SET status = CAST(x'ff7b' AS TEXT) WHERE tile_id = 0"],
    ],
    ids=lambda statements: statements[0],
)
def test_what_another_program_changed_is_told_and_started_over(
    partial: ClassifyJob, statements: list[str]
) -> None:
    changed(partial, *statements)
    if "mine" in statements[0]:
        with pytest.raises(OutputError, match=WAY_OUT):
            classify(partial)
        return  # Starting over would delete a table of the user.
    with pytest.raises(OutputError, match=WAY_OUT) as caught:
        classify(partial)
    assert caught.value.details["changed"], "the dock offers to start over"
    assert classify(replace(partial, overwrite=True)).state == "complete"


@pytest.mark.parametrize("value", ["'abc'", "x'ff'", "NULL", "-3", "1.5", "9223372036854775807"])
def test_a_number_that_is_none_is_no_tile(partial: ClassifyJob, value: str) -> None:
    changed(partial, f"UPDATE tiles SET tile_id = {value} WHERE tile_id = 0")
    summary = classify(partial)
    assert (summary.state, summary.classified + summary.skipped) == ("complete", 8)


def spoil(path: Path, which: Callable[[bytes], bool]) -> None:
    """Overwrite the pages of a file that hold something."""
    data = path.read_bytes()
    pages = [data[start : start + 4096] for start in range(0, len(data), 4096)]
    assert any(which(page) for page in pages[1:])
    spoiled = (b"\xff" * 4096 if which(page) else page for page in pages[1:])
    path.write_bytes(b"".join([pages[0], *spoiled]))


def test_a_damaged_page_of_tiles_is_told_and_started_over(partial: ClassifyJob) -> None:
    spoil(Path(partial.output), lambda page: b"skipped: " in page or b"GP\x00" in page)
    with pytest.raises(OutputError, match=WAY_OUT):
        classify(partial)
    assert classify(replace(partial, overwrite=True)).state == "complete"


def test_a_damaged_page_of_the_run_is_never_replaced(partial: ClassifyJob) -> None:
    spoil(Path(partial.output), lambda page: b'"min_valid"' in page)
    before = Path(partial.output).read_bytes()
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="is damaged, or not a result of this program"):
            classify(replace(partial, overwrite=overwrite))
    assert Path(partial.output).read_bytes() == before
