"""The result file: committed batch by batch, and a proper GeoPackage at its end."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from fudgeo.geometry import Polygon
from rasterio.crs import CRS

from multimodal.contract.errors import OutputError
from multimodal.contract.result import TileResult, result_fields
from multimodal.contract.spec import default_spec
from multimodal.predictions import Journal
from multimodal.predictions.geometry import square_blob

SPEC = default_spec(["Water", 'O\'Neil "wood"'])
WKT = CRS.from_epsg(32633).to_wkt()
IDENTITY = {"version": "1", "stride": None}
RUN = {"device": "cpu", "precision": "fp32", "versions": {"torch": "x"}, "parameters": {}}
SYSTEM_PYTHON = "/usr/bin/python3"


def row(number: int, status: str = "ok") -> TileResult:
    x = 1200.0 * number
    corners = ((x, 0.0), (x + 1200, 0.0), (x + 1200, 1200.0), (x, 1200.0))
    probabilities = (0.9, 0.2) if status == "ok" else None
    return TileResult(number, 0, number, corners, status, probabilities, 1.0, 1.0)


def open_journal(path: Path, identity: dict = IDENTITY, **options: bool) -> Journal:
    return Journal.open(str(path), SPEC, identity, WKT, RUN, **options)


def table(path: Path, query: str) -> list[tuple]:
    with sqlite3.connect(path) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    path = tmp_path / "tiles.gpkg"
    journal = open_journal(path)
    journal.append([row(0), row(1, "skipped: no data")])
    journal.append([row(2)])
    journal.close("complete", ["a warning"])
    return path


def test_each_batch_is_on_disk_before_the_file_is_closed(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "tiles.gpkg")
    journal.append([row(0), row(1)])
    # A copy, as after a power cut: the run holds the file itself.
    copy = Path(shutil.copy(journal.path, tmp_path / "copy.gpkg"))
    assert table(copy, "SELECT count(*) FROM tiles") == [(2,)]
    assert table(copy, "SELECT state FROM mm_run") == [("partial",)]
    journal.close("partial")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_run_on_the_same_file_is_refused(tmp_path: Path, overwrite: bool) -> None:
    first = open_journal(tmp_path / "tiles.gpkg")
    first.append([row(0), row(1)])
    with pytest.raises(OutputError, match="Another run holds"):
        open_journal(tmp_path / "tiles.gpkg", overwrite=overwrite)
    first.append([row(2)])
    first.close("complete")
    assert table(first.path, "SELECT tile_id FROM tiles ORDER BY fid") == [(0,), (1,), (2,)]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "link.gpkg"
    link.symlink_to(tmp_path / "real.gpkg")
    for overwrite in (False, True):
        journal = open_journal(link, overwrite=overwrite)
        journal.append([row(0)])
        journal.close("complete")
    assert link.is_symlink()
    assert table(tmp_path / "real.gpkg", "SELECT count(*) FROM tiles") == [(1,)]


def test_a_process_that_is_killed_leaves_its_batches(tmp_path: Path) -> None:
    path = tmp_path / "tiles.gpkg"
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); import test_journal as t; "
        "from pathlib import Path; j = t.open_journal(Path(sys.argv[2])); "
        "j.append([t.row(0), t.row(1)]); os._exit(9)"
    )
    folder = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", program, folder, str(path)], check=False)
    assert done.returncode == 9
    journal = open_journal(path)
    assert journal.state().finished == {0, 1}
    journal.append([row(2)])
    journal.close("complete")
    assert table(path, "SELECT tile_id FROM tiles ORDER BY fid") == [(0,), (1,), (2,)]


def test_schema_is_that_of_the_contract(closed: Path) -> None:
    columns = [name for _, name, *_ in table(closed, "PRAGMA table_info(tiles)")]
    assert columns == ["fid", "geom", *(field.name for field in result_fields(SPEC))]
    values = table(closed, 'SELECT tile_id, status, "class", labels, p_o_neil_wood FROM tiles')
    assert values[0] == (0, "ok", "Water", "Water", 0.2)
    assert values[1] == (1, "skipped: no data", None, None, None)


def test_a_square_is_the_polygon_that_fudgeo_makes(closed: Path) -> None:
    turned = ((5.5, -3.0), (9.0, 1.25), (4.75, 4.0), (1.0, 0.5))
    expected = Polygon([[*turned, turned[0]]], srs_id=32633)
    assert square_blob(turned, 32633) == bytes(expected.to_gpkg())
    [(stored,)] = table(closed, "SELECT geom FROM tiles WHERE tile_id = 2")
    assert stored == square_blob(row(2).corners, 32633)


def test_run_is_told(closed: Path) -> None:
    assert table(closed, "SELECT state, device, precision, warnings FROM mm_run") == [
        ("complete", "cpu", "fp32", '["a warning"]')
    ]


def test_style_is_stored_as_default(closed: Path) -> None:
    query = "SELECT f_table_name, useAsDefault, styleQML FROM layer_styles"
    [(name, default, qml)] = table(closed, query)
    assert (name, default) == ("tiles", 1)
    assert "<qgis" in qml


def test_extent_index_and_integrity(closed: Path) -> None:
    extent = "SELECT min_x, min_y, max_x, max_y FROM gpkg_contents WHERE table_name = 'tiles'"
    assert table(closed, extent) == [(0.0, 0.0, 3600.0, 1200.0)]
    assert table(closed, "SELECT count(*) FROM rtree_tiles_geom") == [(3,)]
    assert table(closed, "PRAGMA integrity_check") == [("ok",)]
    assert table(closed, "PRAGMA foreign_key_check") == []


def test_gdal_of_the_system_reads_and_edits_the_file(closed: Path) -> None:
    program = """
from osgeo import gdal, ogr
ogr.UseExceptions()
data = ogr.Open(PATH, 1)
layer = data.GetLayerByName("tiles")
assert layer.GetSpatialRef().GetAuthorityCode(None) == "32633"
layer.SetSpatialFilterRect(100, 100, 200, 200)
assert layer.GetFeatureCount() == 1
layer.SetSpatialFilter(None)
feature = layer.GetFeature(1)
feature["class"] = "edited"
layer.SetFeature(feature)
layer.DeleteFeature(2)
new = ogr.Feature(layer.GetLayerDefn())
new.SetGeometry(ogr.CreateGeometryFromWkt("POLYGON ((0 0, 9 0, 9 9, 0 0))"))
layer.CreateFeature(new)
assert layer.GetFeatureCount() == 3
print("edited")
"""
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip("no system Python here")
    command = [SYSTEM_PYTHON, "-I", "-c", program.replace("PATH", repr(str(closed)))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named 'osgeo'" in done.stderr:
        pytest.skip("no GDAL for the system Python here")
    assert done.stdout.strip() == "edited", done.stderr
    assert done.stderr == ""


def test_the_same_run_goes_on(closed: Path) -> None:
    journal = open_journal(closed)
    assert journal.state().finished == {0, 1, 2}
    assert journal.state().skipped_reasons == {"no data": 1}
    journal.append([row(3)])
    journal.close("complete")
    assert table(closed, "SELECT count(*) FROM rtree_tiles_geom") == [(4,)]


def test_another_run_is_refused_and_names_the_difference(closed: Path) -> None:
    with pytest.raises(OutputError, match="different: stride") as caught:
        open_journal(closed, {**IDENTITY, "stride": 60})
    assert caught.value.details["changed"] == ["stride"]
    assert table(closed, "SELECT count(*) FROM tiles") == [(3,)]


def test_overwrite_starts_over(closed: Path) -> None:
    journal = open_journal(closed, {**IDENTITY, "stride": 60}, overwrite=True)
    assert journal.state().finished == frozenset()
    journal.append([row(0)])
    journal.close("complete")


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.gpkg"
    path.write_text("precious")
    with pytest.raises(OutputError, match="not a result of this program"):
        open_journal(path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "words"),
    [("out.shp", "GeoPackage"), ("no/such/out.gpkg", "does not exist"), (".", "end in .gpkg")],
)
def test_impossible_targets(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(OutputError, match=words):
        open_journal(tmp_path / name)


def test_a_folder_that_cannot_be_written() -> None:
    target = Path("/proc/out.gpkg")
    if os.name != "posix" or not target.parent.is_dir():
        pytest.skip("no /proc here")
    with pytest.raises(OutputError, match="cannot be written"):
        open_journal(target)


def test_a_failed_run_leaves_no_empty_file(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "tiles.gpkg")
    journal.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_keeps_its_tiles_as_partial(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "tiles.gpkg")
    journal.append([row(0)])
    journal.abandon()
    assert table(tmp_path / "tiles.gpkg", "SELECT state FROM mm_run") == [("partial",)]


def test_a_crs_that_no_authority_knows(tmp_path: Path) -> None:
    wkt = CRS.from_proj4("+proj=laea +lat_0=48 +lon_0=11 +datum=WGS84 +units=m").to_wkt()
    journal = Journal.open(str(tmp_path / "tiles.gpkg"), SPEC, IDENTITY, wkt, RUN)
    journal.append([row(0)])
    journal.close("complete")
    query = "SELECT organization, definition FROM gpkg_spatial_ref_sys WHERE srs_id >= 100000"
    [(organization, definition)] = table(journal.path, query)
    assert organization == "NONE"
    assert CRS.from_wkt(definition) == CRS.from_wkt(wkt)


def test_every_table_says_when_it_changed(closed: Path) -> None:
    changes = dict(table(closed, "SELECT table_name, last_change FROM gpkg_contents"))
    assert set(changes) == {"tiles", "mm_run", "layer_styles"}
    now = datetime.now(timezone.utc)
    for text in changes.values():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
        changed = datetime.fromisoformat(text.replace("Z", "+00:00"))
        assert abs((now - changed).total_seconds()) < 60


def test_a_file_in_wal_mode_is_put_back(closed: Path) -> None:
    assert table(closed, "PRAGMA journal_mode = WAL") == [("wal",)]
    journal = open_journal(closed)
    journal.append([row(3)])
    assert not closed.with_name(f"{closed.name}-wal").exists()
    journal.close("complete")
    assert table(closed, "PRAGMA journal_mode") == [("delete",)]
    assert len(table(closed, "SELECT * FROM tiles")) == 4
    assert [path.name for path in closed.parent.iterdir()] == [closed.name]


def test_rows_stand_in_the_order_of_the_grid(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "tiles.gpkg")
    journal.append([row(5), row(1)])
    journal.append([row(3)])
    journal.close("complete")
    assert table(journal.path, "SELECT fid, tile_id FROM tiles") == [(2, 1), (4, 3), (6, 5)]


def test_a_tile_is_never_there_twice(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "tiles.gpkg")
    journal.append([row(0)])
    with pytest.raises(OutputError, match="UNIQUE"):
        journal.append([row(1), row(0)])
    journal.abandon()
    assert table(journal.path, "SELECT tile_id FROM tiles") == [(0,)]


def test_a_file_that_was_killed_is_a_whole_layer(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "tiles.gpkg")
    journal.append([row(0), row(2)])
    copy = Path(shutil.copy(journal.path, tmp_path / "copy.gpkg"))
    extent = "SELECT min_x, min_y, max_x, max_y FROM gpkg_contents WHERE table_name = 'tiles'"
    assert table(copy, extent) == [(0.0, 0.0, 3600.0, 1200.0)]
    assert table(copy, "SELECT id FROM rtree_tiles_geom ORDER BY id") == [(1,), (3,)]
    assert "<qgis" in table(copy, "SELECT styleQML FROM layer_styles")[0][0]
    assert table(copy, "SELECT state, finished FROM mm_run") == [("partial", None)]
    journal.close("partial")


def test_rows_of_a_user_make_room_for_tiles(tmp_path: Path) -> None:
    """QGIS gives a new feature the next number, which a tile to come needs."""
    journal = open_journal(tmp_path / "tiles.gpkg")
    journal.append([row(0), row(1)])
    journal.close("partial")
    with sqlite3.connect(journal.path) as connection:
        names = [
            name
            for _, name in connection.execute(
                "SELECT 1, name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'rtree_%'"
            )
        ]
        for name in names:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("INSERT INTO tiles (fid, geom) SELECT 3, geom FROM tiles WHERE fid = 1")
        connection.execute("UPDATE tiles SET fid = 9 WHERE tile_id = 1")
    again = open_journal(journal.path)
    assert again.state().finished == {0, 1}
    again.append([row(2)])
    again.close("complete")
    assert table(journal.path, "SELECT tile_id FROM tiles") == [(0,), (1,), (2,), (None,)]
    assert table(journal.path, "SELECT fid FROM tiles WHERE tile_id IS NOT NULL") == [
        (1,), (2,), (3,),
    ]  # fmt: skip
    assert table(journal.path, "SELECT count(*) FROM rtree_tiles_geom") == [(4,)]
    assert table(journal.path, "PRAGMA integrity_check") == [("ok",)]
