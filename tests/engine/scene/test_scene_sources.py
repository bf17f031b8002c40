"""Finding bands: by name, by map, in folders and archives; and every way to fail."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import (
    CrsError,
    JobError,
    MissingChannelsError,
    RadiometryError,
    SourceError,
)
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import ModelSpec
from multimodal.scene import open_scene
from multimodal.scene.mask import choose_mask
from multimodal.scene.sources import find_bands

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]
Pair = tuple[RasterSource, RasterSource]
GEE = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
WORDS = ("coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08",
         "nir09", "swir16", "swir22")  # fmt: skip


def indexes(
    source: RasterSource, sensor: str = "s2", wanted: tuple[str, ...] = S2_BANDS
) -> dict[str, int]:
    return {name: band.index for name, band in find_bands([source], sensor, wanted).bands.items()}


@pytest.mark.parametrize("names", [S2_BANDS, GEE, WORDS])
def test_bands_are_found_by_description_in_any_order(
    write_raster: Write, optical: Make, names: tuple[str, ...]
) -> None:
    source = write_raster("a.tif", optical(8, 8), names[::-1])
    assert indexes(source) == {name: 12 - n for n, name in enumerate(S2_BANDS)}


def test_bands_are_found_by_tags(write_raster: Write, optical: Make) -> None:
    source = write_raster("a.tif", optical(8, 8)[:2])
    with rasterio.open(source.path, "r+") as dataset:
        dataset.update_tags(1, DESCRIPTION="B8A")
        dataset.update_tags(2, BANDNAME="B4")
    assert indexes(source) == {"B8A": 1, "B04": 2}


def test_colours_name_no_band(write_raster: Write, optical: Make) -> None:
    """A composite may be any three bands: red may show near infrared."""
    assert indexes(write_raster("nrg.tif", optical(8, 8)[:3], photometric="RGB")) == {}


@pytest.mark.parametrize(
    ("file", "name", "said"),
    [("c_B04.tif", "B03", "B03, B04"), ("d_B08.tif", "Red", "B04, B08")],
)
def test_names_that_disagree_are_not_chosen_from(
    file: str, name: str, said: str, write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec
) -> None:
    source = write_raster(file, optical()[:1], (name,))
    found = find_bands([source], "s2", S2_BANDS)
    assert found.bands == {}
    assert found.unnamed == (f"'{source.path}' (1; names disagree: {said})",)
    with pytest.raises(MissingChannelsError, match=f"names disagree: {said}"):
        open_scene([source], [pair[1]], spec)
    mapped = RasterSource(source.path, bands={"B08": 1})
    assert indexes(mapped) == {"B08": 1}


def test_a_band_map_wins_over_names(write_raster: Write, optical: Make) -> None:
    source = write_raster("a.tif", optical(8, 8)[:3], ("B02", "B03", "B04"))
    mapped = RasterSource(source.path, bands={"B04": 1})
    assert indexes(mapped) == {"B04": 1, "B03": 2}


def test_positions_are_never_taken_for_names(write_raster: Write, optical: Make) -> None:
    counted = write_raster("b.tif", optical(8, 8), tuple(f"Band {n}" for n in range(1, 13)))
    assert indexes(counted) == {}
    assert indexes(write_raster("plain.tif", optical(8, 8))) == {}
    single = write_raster("T33UUP_B8A.tif", optical(8, 8)[:1], ("Band 1",))
    assert indexes(single) == {"B8A": 1}


@pytest.mark.parametrize("bands", [{"B04": 9}, {"B04": 1, "B03": 1}])
def test_an_impossible_band_map_is_refused(
    write_raster: Write, optical: Make, bands: dict[str, int]
) -> None:
    source = write_raster("a.tif", optical(8, 8)[:2])
    with pytest.raises(JobError, match="band map"):
        indexes(RasterSource(source.path, bands=bands))


def test_a_folder_gives_the_finest_of_each_band(
    write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    coarse = Affine(20, 0, 500_000, 0, -20, 5_300_000)
    write_raster("x.SAFE/R10m/T33_B02_10m.tif", optical(12, 12)[:1])
    write_raster("x.SAFE/R20m/T33_B02_20m.tif", optical(6, 6)[:1], transform=coarse)
    write_raster("x.SAFE/R20m/T33_B05_20m.tif", optical(6, 6)[:1], transform=coarse)
    write_raster("x.SAFE/QI_DATA/MSK_QUALIT_B02.tif", optical(6, 6)[:1])
    write_raster(
        "x.SAFE/R10m/T33_TCI_10m.tif", optical(12, 12)[:3].astype(np.uint8), photometric="RGB"
    )
    found = find_bands([RasterSource(str(tmp_path / "x.SAFE"))], "s2", S2_BANDS).bands
    assert {name: Path(band.path).name for name, band in found.items()} == {
        "B02": "T33_B02_10m.tif", "B05": "T33_B05_20m.tif",
    }  # fmt: skip


def pack(folder: Path, path: str, style: int = tarfile.GNU_FORMAT) -> None:
    if path.endswith("zip"):
        shutil.make_archive(path.removesuffix(".zip"), "zip", folder.parent, folder.name)
        return
    with tarfile.open(path, "w:gz" if path.endswith("gz") else "w", format=style) as archive:
        archive.add(folder, folder.name)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_archives_are_read_like_folders(
    shared_data: Path, tmp_path: Path, spec: ModelSpec, kind: str
) -> None:
    patch = next((shared_data / "ben_v2" / "patches").glob("*_T33UUP_34_70"))
    archive = RasterSource(str(tmp_path / f"patch.{kind}"))
    pack(patch, archive.path)
    folder = RasterSource(str(patch))
    with (
        open_scene([archive], [archive], spec) as packed,
        open_scene([folder], [folder], spec) as plain,
    ):
        a = next(packed.batches(packed.select(), 1, 0.75))
        b = next(plain.batches(plain.select(), 1, 0.75))
    np.testing.assert_array_equal(a.s2, b.s2)
    np.testing.assert_array_equal(a.s1, b.s1)


def test_an_archive_that_gdal_cannot_look_into_is_refused(
    write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    for name in ("B02", "B03"):
        write_raster(f"d/{'long' * 30}_{name}.tif", optical(8, 8)[:1])
    # GDAL does not know how pax archives write names over 100 characters.
    pack(tmp_path / "d", str(tmp_path / "d.tar"), tarfile.PAX_FORMAT)
    with pytest.raises(SourceError, match="Unpack the archive"):
        find_bands([RasterSource(str(tmp_path / "d.tar"))], "s2", S2_BANDS)


@pytest.mark.parametrize("name", ["bad.zip", "bad.tar", "empty.zip", "cut.zip"])
def test_a_damaged_or_empty_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "empty.zip":
        zipfile.ZipFile(path, "w").close()
    else:
        path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(SourceError, match=name.replace(".", r"\.")):
        find_bands([RasterSource(str(path))], "s2", S2_BANDS)
    assert not tarfile.is_tarfile(path)


def test_the_same_band_twice_is_asked_about(
    write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    one = write_raster("d/left.tif", optical(8, 8), S2_BANDS)
    two = write_raster("d/right.tif", optical(8, 8), S2_BANDS)
    for sources in ([one, two], [RasterSource(str(tmp_path / "d"))]):
        with pytest.raises(SourceError, match="same place"):
            find_bands(sources, "s2", S2_BANDS)
    twice = write_raster("twice.tif", optical(8, 8)[:2], ("B02", "B2"))
    with pytest.raises(SourceError, match="band map, for example B02=1") as caught:
        indexes(twice)
    assert caught.value.details["decision"] == "s2_bands"
    answers = caught.value.details["choices"]
    assert answers == [{"B02": 1}, {"B02": 2}]
    assert [indexes(replace(twice, bands=answer)) for answer in answers] == answers
    masks = write_raster("scl.tif", optical(8, 8)[:2], ("SCL", "SCL"))
    with pytest.raises(SourceError, match="--mask-band"):
        choose_mask(find_bands([masks], "s2", ("B02",)), None, ())
    with pytest.raises(SourceError, match="given twice"):
        find_bands([one, one], "s2", S2_BANDS)


def test_missing_channels_are_listed_with_what_was_found(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec
) -> None:
    few = write_raster("few.tif", optical()[:5], ("B04", "B03", "B02", "B08", None))
    with pytest.raises(MissingChannelsError) as caught:
        open_scene([few], [pair[1]], spec)
    error = caught.value
    assert error.details["missing"] == ["B01", "B05", "B06", "B07", "B8A", "B09", "B11", "B12"]
    assert error.details["found"] == ["B02", "B03", "B04", "B08", "VH", "VV"]
    assert "B8A" in error.message
    assert "band map" in error.message


def test_swapped_layers_are_recognised(pair: Pair, spec: ModelSpec) -> None:
    with pytest.raises(MissingChannelsError, match=r"looks like Sentinel-1 .* swapped"):
        open_scene([pair[1]], [pair[0]], spec)


def test_a_missing_radar_is_refused(pair: Pair, spec: ModelSpec) -> None:
    with pytest.raises(MissingChannelsError, match="Sentinel-1 VH, VV"):
        open_scene([pair[0]], [], spec)


def test_hh_hv_is_refused_with_the_reason(
    write_raster: Write, radar: Make, pair: Pair, spec: ModelSpec
) -> None:
    polar = write_raster("polar.tif", radar(), ("HH", "HV"))
    with pytest.raises(MissingChannelsError, match="HH and HV are the polarisations of polar"):
        open_scene([pair[0]], [polar], spec)


def test_no_crs_is_refused_and_an_override_accepted(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec
) -> None:
    bare = write_raster("bare.tif", optical(), S2_BANDS, crs=None)
    with pytest.raises(CrsError, match="no coordinate reference system"):
        open_scene([bare], [pair[1]], spec)
    wkt = rasterio.crs.CRS.from_epsg(32633).to_wkt()
    with open_scene([RasterSource(bare.path, crs_wkt=wkt)], [pair[1]], spec) as scene:
        assert scene.describe()["grid"]["crs"] == "EPSG:32633"
        assert scene.overlap == pytest.approx(1)
    with pytest.raises(CrsError, match="not understood"):
        open_scene([RasterSource(bare.path, crs_wkt="PROJCS[rubbish")], [pair[1]], spec)


def test_control_points_alone_are_refused(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec
) -> None:
    source = write_raster("gcp.tif", optical(), S2_BANDS, transform=None, crs=None)
    points = [
        GroundControlPoint(r, c, 14 + c * 1e-4, 48 - r * 1e-4)
        for r, c in ((0, 0), (0, 9), (9, 0), (9, 9))
    ]
    with rasterio.open(source.path, "r+") as dataset:
        dataset.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    with pytest.raises(CrsError, match="ground control points only"):
        open_scene([source], [pair[1]], spec)


def test_a_raster_without_a_place_is_refused(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec
) -> None:
    source = write_raster("nowhere.tif", optical(), S2_BANDS, transform=None)
    with pytest.raises(CrsError, match="no position on Earth"):
        open_scene([source], [pair[1]], spec)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("crs", [None, "EPSG:32633"])
def test_too_few_control_points_are_counted(
    count: int, crs: str | None, write_raster: Write, optical: Make
) -> None:
    source = write_raster("few.tif", optical(8, 8), S2_BANDS, transform=None, crs=crs)
    points = [GroundControlPoint(n, n * n, 14 + n, 48 - n) for n in range(count)]
    with rasterio.open(source.path, "r+") as dataset:
        dataset.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    with pytest.raises(CrsError, match=rf"{count} ground control points? (is|are) too few: 4"):
        indexes(source)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [
        ("EPSG:32633", 1e30, 5e6), ("EPSG:32633", 5e8, 5.3e8), ("EPSG:3035", 1e200, 1e200),
        ("EPSG:3857", 1e30, 5e6), ("EPSG:4326", 1e30, 0), ("EPSG:4326", 15, 95),
        ("EPSG:32633", np.nan, 5e6),
    ],
)  # fmt: skip
def test_coordinates_beyond_the_crs_are_refused(
    crs: str, x: float, y: float, write_raster: Write, optical: Make, radar: Make,
    pair: Pair, spec: ModelSpec,
) -> None:  # fmt: skip
    size = 1e-4 if crs == "EPSG:4326" else 10
    place = Affine(size, 0, x, 0, -size, y)
    s2 = write_raster("far2.tif", optical(), S2_BANDS, transform=place, crs=crs)
    s1 = write_raster("far1.tif", radar(), ("VV", "VH"), transform=place, crs=crs)
    for sources in ([s2, pair[1]], [pair[0], s1]):
        with pytest.raises(CrsError, match=rf"nowhere on Earth.*\({crs}\)"):
            open_scene(sources[:1], sources[1:], spec)


@pytest.mark.parametrize("content", [b"hello, this is text\n" * 50, b"", b"II*\x00", bytes(500)])
def test_what_is_no_raster_is_refused_in_plain_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.tif"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"notes\.tif' cannot be opened as a raster"):
        find_bands([RasterSource(str(path))], "s2", S2_BANDS)


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        find_bands([RasterSource(str(tmp_path / "gone.tif"))], "s2", S2_BANDS)
    with pytest.raises(SourceError, match="holds no raster"):
        find_bands([RasterSource(str(tmp_path))], "s2", S2_BANDS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s2.tif")
    with pytest.raises(SourceError, match="is a pipe or a device"):
        find_bands([RasterSource(str(tmp_path / "s2.tif"))], "s2", S2_BANDS)


def test_a_bad_file_in_a_folder_is_named_only_when_its_band_is_missed(
    write_raster: Write, optical: Make, tmp_path: Path, pair: Pair, spec: ModelSpec
) -> None:
    write_raster("f/all.tif", optical()[:11], S2_BANDS[:11])
    (tmp_path / "f" / "T33_B12.tif").write_bytes(b"II*\x00 cut")
    with pytest.raises(MissingChannelsError, match=r"T33_B12\.tif.*Copy or download"):
        open_scene([RasterSource(str(tmp_path / "f"))], [pair[1]], spec)


@pytest.mark.parametrize(
    "path",
    [
        "/vsicurl/http://user:hunter2@127.0.0.1:9/a.tif?sig=hunter2",
        "http://user:hunter2@127.0.0.1:9/a.tif?sig=hunter2",
        "http://user:x@hunter2@127.0.0.1:9/a.tif",
        "http://user:x/hunter2@127.0.0.1:9/a.tif",
        "PG:dbname=a.tif password=hunter2",
        "dbname=a.tif password='x hunter2'",
    ],
)
def test_credentials_never_reach_a_message(path: str) -> None:
    with pytest.raises(SourceError) as caught:
        find_bands([RasterSource(path)], "s2", S2_BANDS)
    assert "hunter2" not in f"{caught.value.message} {caught.value.details}"
    assert "a.tif" in caught.value.message


def test_pictures_and_complex_products_are_refused(
    write_raster: Write, optical: Make, radar: Make
) -> None:
    picture = write_raster("p.tif", optical(8, 8).astype(np.uint8), S2_BANDS)
    with pytest.raises(RadiometryError, match="8 bits"):
        indexes(picture)
    complex_values = radar(8, 8).astype(np.complex64)
    slc = write_raster("slc.tif", complex_values, ("VV", "VH"))
    with pytest.raises(RadiometryError, match="complex"):
        indexes(slc, "s1", ("VV", "VH"))
