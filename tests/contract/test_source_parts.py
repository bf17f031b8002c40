"""What lies beside a raster and decides its pixels or place belongs to it; the rest does not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from multimodal.contract.source_identity import local_files, source_identity

ITEM = {"stac_version": "1.0.0", "assets": {"s2": {"href": "./s2.tif"}}}


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    path = tmp_path / "scene" / "s2.tif"
    path.parent.mkdir()
    path.write_bytes(b"II*")
    return path


@pytest.mark.parametrize(
    "name",
    ["s2.tif.msk", "S2.TIF.MSK", "s2.tfw", "s2.TFW", "s2.tifw", "s2.wld", "s2.tab", "s2.hdr"],
)
def test_masks_and_world_files_count(raster: Path, name: str) -> None:
    before = source_identity(str(raster))
    beside = raster.with_name(name)
    beside.write_bytes(b"1")
    there = source_identity(str(raster))
    assert there != before
    assert beside in local_files(str(raster)), "it is watched during a run"
    beside.write_bytes(b"12")
    assert source_identity(str(raster)) not in (before, there)


@pytest.mark.parametrize("name", ["s2.j2w", "s2.jp2w"])
def test_world_files_of_other_formats(tmp_path: Path, name: str) -> None:
    image = tmp_path / "s2.jp2"
    image.write_bytes(b"1")
    before = source_identity(str(image))
    (tmp_path / name).write_bytes(b"1")
    assert source_identity(str(image)) != before


@pytest.mark.parametrize(
    "name", ["other.tif.msk", "s2.tif.ovr", "s2.qml", "s2.gpkg", "s22.tfw", "s2.json", "notes.xml"]
)
def test_what_decides_nothing_does_not_count(raster: Path, name: str) -> None:
    """Overviews say nothing that the raster does not, and a JSON that is no item of it neither."""
    before = source_identity(str(raster))
    raster.with_name(name).write_text("{}")
    assert source_identity(str(raster)) == before
    assert local_files(str(raster)) == (raster,)


@pytest.mark.parametrize("name", ["s2.json", "item.json"])
def test_the_stac_item_of_a_raster_counts(raster: Path, name: str) -> None:
    before = source_identity(str(raster))
    item = raster.with_name(name)
    item.write_text(json.dumps(ITEM))
    there = source_identity(str(raster))
    assert there != before
    assert item in local_files(str(raster))
    bands = [{"scale": 0.0001, "offset": -0.1}]
    item.write_text(json.dumps({**ITEM, "assets": {"s2": {"href": "s2.tif", "bands": bands}}}))
    assert source_identity(str(raster)) not in (before, there)


def test_the_item_of_another_raster_does_not_count(raster: Path) -> None:
    before = source_identity(str(raster))
    other = {**ITEM, "assets": {"s2": {"href": "s3.tif"}}}
    raster.with_name("item.json").write_text(json.dumps(other))
    assert source_identity(str(raster)) == before


@pytest.mark.parametrize("chosen", ["IMG_DATA/R10m/B02.jp2", "IMG_DATA/R10m", "IMG_DATA"])
def test_the_metadata_above_a_jpeg_2000_counts(tmp_path: Path, chosen: str) -> None:
    product = tmp_path / "S2.SAFE"
    image = product / "IMG_DATA" / "R10m" / "B02.jp2"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"1")
    source = str(product / chosen)
    before = source_identity(source)
    metadata = product / "MTD_MSIL2A.xml"
    metadata.write_text("<a>0</a>")
    there = source_identity(source)
    assert there != before
    assert metadata in local_files(source)
    metadata.write_text("<a>-1000</a>")
    assert source_identity(source) not in (before, there)


def test_the_calibration_of_a_measurement_counts(tmp_path: Path) -> None:
    measured = tmp_path / "S1.SAFE" / "measurement" / "s1a-vv.tiff"
    vectors = tmp_path / "S1.SAFE" / "annotation" / "calibration" / "calibration-s1a-vv.xml"
    for path in (measured, vectors):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
    before = source_identity(str(measured))
    vectors.write_bytes(b"12")
    assert source_identity(str(measured)) != before


def test_a_mask_of_a_raster_within_a_virtual_one_counts(raster: Path) -> None:
    virtual = raster.with_name("all.vrt")
    virtual.write_text('<SourceFilename relativeToVRT="1">s2.tif</SourceFilename>')
    before = source_identity(str(virtual))
    raster.with_name("s2.tif.msk").write_bytes(b"1")
    assert source_identity(str(virtual)) != before


@pytest.mark.parametrize(
    "name", ["out.gpkg", "out.gpkg-journal", "run.log", "a.csv", ".hidden.tif", "s2.qgz", "out"]
)
def test_a_result_in_the_folder_of_its_source_changes_nothing(raster: Path, name: str) -> None:
    folder = raster.parent
    before = source_identity(str(folder))
    (folder / name).write_bytes(b"1")
    assert source_identity(str(folder)) == before
    assert local_files(str(folder)) == (raster,)


@pytest.mark.parametrize(
    "name", ["B03.TIF", "MTD_MSIL2A.xml", "manifest.safe", "item.json", "s2.tif.msk", "s2.tfw"]
)
def test_rasters_and_their_metadata_in_a_folder_count(raster: Path, name: str) -> None:
    folder = raster.parent
    before = source_identity(str(folder))
    (folder / name).write_bytes(b"1")
    assert source_identity(str(folder)) != before


def test_what_a_virtual_raster_of_a_folder_names_elsewhere_counts(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "scene", tmp_path / "s2.tif"
    folder.mkdir()
    elsewhere.write_bytes(b"1")
    (folder / "all.vrt").write_text('<SourceFilename relativeToVRT="1">../s2.tif</SourceFilename>')
    before = source_identity(str(folder))
    elsewhere.write_bytes(b"12")
    assert source_identity(str(folder)) != before


def test_a_source_is_the_same_by_every_name(raster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raster.with_name("s2.tfw").write_bytes(b"1")
    link = raster.parent.parent / "link"
    link.symlink_to(raster.parent)
    monkeypatch.chdir(raster.parent)
    names = [str(raster), "s2.tif", str(link / "s2.tif"), os.path.join("..", "scene", "s2.tif")]
    first, *others = map(source_identity, names)
    assert all(other == first for other in others)
