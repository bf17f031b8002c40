"""A source that changes or goes away during a run ends it; nothing read after that is kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio.shutil

from multimodal import watching
from multimodal.contract.errors import OutputError, SourceError
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.messages import Message, Phase, Rows
from multimodal.contract.source_identity import local_files
from multimodal.pipeline import classify
from multimodal.watching import SourceWatch


@pytest.fixture
def order(job: ClassifyJob, tiny_model: str, tmp_path: Path) -> ClassifyJob:
    """The sample pair in a place where it may be spoiled, Sentinel-2 behind a virtual raster."""
    inside, radar, virtual = (tmp_path / name for name in ("s2.tif", "s1.tif", "s2.vrt"))
    shutil.copy(job.s2[0].path, inside)
    shutil.copy(job.s1[0].path, radar)
    rasterio.shutil.copy(inside, virtual, driver="VRT")
    s2, s1 = (RasterSource(str(path)) for path in (virtual, radar))
    return replace(job, s2=(s2,), s1=(s1,), model=tiny_model, stride=60)


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replaced(path: Path) -> None:
    """Put another file of the same size in place: who has the old one open reads on."""
    shutil.copyfile(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("name", ["s2.tif", "s1.tif", "s2.vrt"])
@pytest.mark.parametrize(
    ("change", "words"),
    [(touched, "was changed"), (replaced, "was changed"), (Path.unlink, "is gone")],
)
def test_a_change_ends_the_run_and_finished_tiles_stay(
    order: ClassifyJob, tmp_path: Path, name: str, change: Callable[[Path], None], words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # However busy this machine is, its drive is not taken for a slow one, of which tests follow.
    monkeypatch.setattr(watching, "_SLOW_SECONDS", 60.0)
    if os.name == "nt" and change is not touched:
        pytest.skip("Windows keeps open files as they are")
    kept: list[int] = []

    def spoil(message: Message) -> None:
        if isinstance(message, Rows):
            if not kept:
                change(tmp_path / name)
            kept.extend(row.tile_id for row in message.rows)

    with pytest.raises(SourceError, match=f"{name}' {words} during the run") as caught:
        classify(order, spoil)
    assert caught.value.details["path"] == str(tmp_path / name)
    with sqlite3.connect(order.output) as connection:
        assert connection.execute("SELECT state FROM mm_run").fetchone() == ("partial",)
        stored = [tile for (tile,) in connection.execute("SELECT tile_id FROM tiles")]
    assert 0 < len(stored) < 21
    assert sorted(stored) == sorted(kept)
    # What is there now is another source: no silent mix.
    with pytest.raises((OutputError, SourceError), match=r"another run|not exist|opened"):
        classify(order)


def test_a_change_after_the_last_tile_was_read_is_noticed_too(order: ClassifyJob) -> None:
    seen: list[int] = []

    def spoil(message: Message) -> None:
        if isinstance(message, Rows):
            seen.extend(row.tile_id for row in message.rows)
            if len(seen) == 21:
                touched(Path(order.s1[0].path))

    with pytest.raises(SourceError, match="was changed"):
        classify(order, spoil)
    with sqlite3.connect(order.output) as connection:
        assert connection.execute("SELECT state FROM mm_run").fetchone() == ("partial",)


QUERIES = (
    "SELECT count(*) FROM tiles",
    "SELECT count(*) FROM rtree_tiles_geom",
    "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'tiles'",
)
EXTENT = "SELECT min_x, min_y, max_x, max_y FROM gpkg_contents WHERE table_name = 'tiles'"
WHOLE = "SELECT * FROM tiles"


def asked(path: str, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def slow_drive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look at a file take so long that the next one is not due within the run."""
    look = watching._state

    def slow(file: Path) -> watching.State | None:
        time.sleep(0.3)
        return look(file)

    monkeypatch.setattr(watching, "_state", slow)


def test_on_a_slow_drive_what_was_finished_since_the_last_look_is_taken_out(
    order: ClassifyJob, tmp_path: Path, slow_drive: None
) -> None:
    source, original = tmp_path / "s2.tif", tmp_path / "original.tif"
    shutil.copy2(source, original)
    told: list[list[int]] = []

    def spoil(message: Message) -> None:
        if isinstance(message, Rows):
            if not told:
                replaced(source)
            told.append([row.tile_id for row in message.rows])

    with pytest.raises(SourceError, match=r"s2\.tif' was changed.* tiles are out of") as caught:
        classify(order, spoil)
    # A look stood before the first commit; nothing after it is believed.
    first, later = len(told[0]), sum(map(len, told[1:]))
    assert first + later == 21
    assert f" {later} tiles are out of the result" in caught.value.message
    assert [tile for (tile,) in asked(order.output, "SELECT tile_id FROM tiles")] == told[0]
    assert [asked(order.output, query) for query in QUERIES] == [[(first,)]] * 3
    partial = asked(order.output, EXTENT)
    os.replace(original, source)
    assert classify(order).state == "complete"
    assert asked(order.output, EXTENT) != partial
    whole = replace(order, output=str(tmp_path / "whole.gpkg"))
    classify(whole)
    for query in (*QUERIES, EXTENT, WHOLE):
        assert asked(order.output, query) == asked(whole.output, query)


def test_on_a_slow_drive_a_file_without_a_proven_tile_goes(
    order: ClassifyJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slow_drive: None
) -> None:
    """The look before the first commit was not due: one came while the scene was opened."""
    checked = watching.SourceWatch.check
    monkeypatch.setattr(
        watching.SourceWatch, "check",
        lambda self, *, at_once=False: checked(self, at_once=True) if at_once else False,
    )  # fmt: skip

    def spoil(message: Message) -> None:
        if isinstance(message, Rows):
            touched(tmp_path / "s1.tif")

    with pytest.raises(SourceError, match="21 tiles are out of the result"):
        classify(order, spoil)
    assert not Path(order.output).exists()


def test_on_a_slow_drive_a_run_over_files_that_stay_keeps_all(
    order: ClassifyJob, slow_drive: None
) -> None:
    assert classify(order).state == "complete"
    assert asked(order.output, QUERIES[0]) == [(21,)]


def test_a_change_before_the_first_tile_is_noticed(order: ClassifyJob) -> None:
    def spoil(message: Message) -> None:
        if isinstance(message, Phase) and message.name == "model":
            touched(Path(order.s2[0].path).with_suffix(".tif"))

    with pytest.raises(SourceError, match="was changed"):
        classify(order, spoil)
    assert not Path(order.output).exists()


def test_what_qgis_notes_beside_a_raster_is_no_change(order: ClassifyJob) -> None:
    def note(message: Message) -> None:
        if isinstance(message, Rows):
            Path(f"{order.s1[0].path}.aux.xml").write_text("<PAMDataset/>")

    assert classify(order, note).state == "complete"


def test_the_files_behind_a_name(order: ClassifyJob, tmp_path: Path) -> None:
    virtual, inside = Path(order.s2[0].path), tmp_path / "s2.tif"
    assert local_files(str(inside)) == (inside,)
    assert local_files(str(virtual)) == (virtual, inside)
    outer = tmp_path / "a & b.vrt"
    text = '<SourceFilename relativeToVRT="1">{}</SourceFilename>'
    outer.write_text(text.format("s2.vrt") + text.format("a &amp; b.vrt"))
    assert local_files(str(outer)) == (outer, virtual, inside)
    assert local_files(f'NETCDF:"{inside}":B02') == (inside,)
    assert local_files("/vsicurl/https://example.org/s2.tif") == ()


def test_looking_takes_little_of_the_time(order: ClassifyJob, tmp_path: Path) -> None:
    """A network drive that answers slowly is asked seldom."""
    watch = SourceWatch([order.s1[0].path])
    watch.check()
    touched(Path(order.s1[0].path))
    watch._next += 3600
    watch.check()
    with pytest.raises(SourceError):
        watch.check(at_once=True)


def test_only_what_is_read_is_watched_from_its_first_state(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).write_text(name)
    watch = SourceWatch([str(tmp_path)])
    touched(tmp_path / "a.tif")
    touched(tmp_path / "b.tif")
    watch.narrow([str(tmp_path / "b.tif")])
    with pytest.raises(SourceError, match=r"b\.tif"):
        watch.check()
