"""Raw Sentinel-1 GRD: calibrated by its SAFE vectors and placed by its control points."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from multimodal.contract.errors import RadiometryError, SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import ModelSpec
from multimodal.scene import Scene, open_scene
from multimodal.scene.advice import scene_warnings
from multimodal.scene.calibration import read_calibration

Write = Callable[..., RasterSource]
Pair = tuple[RasterSource, RasterSource]
NAME = "s1a-iw-grd-{}-20170613t165043-20170613t165108-016975-01c4d1-00{}"
VECTOR = (
    "<calibrationVector><line>{}</line><pixel count='{}'>{}</pixel>"
    "<sigmaNought count='{}'>{}</sigmaNought></calibrationVector>"
)
LINES = (-100, 0, 200, 470, 900)
PIXELS = (0, 40, 150, 239)


def factor(line: float, pixel: float) -> float:
    """A calibration value; bilinear in line and pixel, so that interpolation is exact."""
    return 400 + 0.3 * line + 0.2 * pixel + 0.0005 * line * pixel


def calibration_xml() -> str:
    vectors = [
        VECTOR.format(
            line, len(PIXELS), " ".join(map(str, PIXELS)), len(PIXELS),
            " ".join(str(factor(line, pixel)) for pixel in PIXELS),
        )
        for line in LINES
    ]  # fmt: skip
    return f"<?xml version='1.0'?><calibration>{''.join(vectors)}</calibration>"


def to_control_points(path: str, place: rasterio.Affine, crs: CRS) -> None:
    """Take a raster's geotransform away and give it control points instead."""
    with rasterio.open(path, "r+") as dataset:
        rows, cols = (
            axis.ravel() for axis in np.meshgrid(
                np.linspace(0, dataset.height, 7), np.linspace(0, dataset.width, 6), indexing="ij"
            )
        )  # fmt: skip
        x, y = place.c + cols * place.a, place.f + rows * place.e
        lon, lat = transform_points(crs, "EPSG:4326", x.tolist(), y.tolist())
        points = map(GroundControlPoint, rows.tolist(), cols.tolist(), lon, lat)
        dataset.gcps = (list(points), CRS.from_epsg(4326))


@pytest.fixture
def whole(sample_scenes: list[Pair]) -> Pair:
    return next(pair for pair in sample_scenes if "37-38_87-90" in pair[0].path)


@pytest.fixture
def safe(whole: Pair, write_raster: Write, tmp_path: Path) -> Path:
    """A GRD product whose calibrated numbers are those of the sample scene."""
    folder = tmp_path / "S1A_IW_GRDH_1SDV_20170613T165043_20170613T165108_016975_01C4D1_8F2A.SAFE"
    with rasterio.open(whole[1].path) as dataset:
        decibels, place, crs = dataset.read(), dataset.transform, dataset.crs
    rows, cols = np.mgrid[0 : decibels.shape[1], 0 : decibels.shape[2]]
    for number, (name, layer) in enumerate(zip(("vv", "vh"), decibels, strict=True), start=1):
        dn = np.nan_to_num(np.sqrt(10 ** (layer / 10)) * factor(rows, cols)).round()
        stem = NAME.format(name, number)
        source = write_raster(
            f"{folder.name}/measurement/{stem}.tiff", dn[None].astype(np.uint16), transform=None,
            crs=None,
        )  # fmt: skip
        to_control_points(source.path, place, crs)
        xml = folder / "annotation" / "calibration" / f"calibration-{stem}.xml"
        xml.parent.mkdir(parents=True, exist_ok=True)
        xml.write_text(calibration_xml())
    return folder


def pack(folder: Path, archive: Path) -> None:
    if archive.suffix == ".zip":
        shutil.make_archive(str(archive.with_suffix("")), "zip", folder.parent, folder.name)
        return
    mode: Any = "w:gz" if archive.suffix == ".tgz" else "w"
    # GDAL does not know how pax archives, Python's default, write names over 100 characters.
    with tarfile.open(archive, mode, format=tarfile.GNU_FORMAT) as file:
        file.add(folder, folder.name)


def radar(scene: Scene) -> np.ndarray:
    return np.concatenate([batch.s1 for batch in scene.batches(scene.select(), 64, 0.5)])


@pytest.mark.parametrize("packed", ["", "manifest", "zip", "tar", "tgz"])
def test_a_safe_product_is_calibrated_and_warped(
    packed: str, whole: Pair, safe: Path, spec: ModelSpec, tmp_path: Path
) -> None:
    place = safe
    if packed == "manifest":
        place = safe / "manifest.safe"
        place.write_text("<xfdu/>")
    elif packed:
        place = tmp_path / f"p.{packed}"
        pack(safe, place)
        shutil.rmtree(safe)
    with open_scene([whole[0]], [whole[1]], spec) as scene:
        expected = radar(scene)
    with open_scene([whole[0]], [RasterSource(str(place))], spec) as scene:
        described = scene.describe()
        found = radar(scene)
    assert described["s1"]["unit"] == "power"
    assert described["s1"]["calibration"] == "sigma0"
    assert "calibrated to sigma0 by its SAFE vectors" in described["s1"]["evidence"]
    assert described["s1"]["dates"] == ["2017-06-13"]
    assert described["warnings"][0]["code"] == "s1_gcps"
    # Whole numbers of DN and the thin plate through the control points: 0.1 dB, 5 dB are 1 sigma.
    assert found.shape == expected.shape
    measured = (expected != 0) & (found != 0)
    assert measured.mean() > 0.97
    assert np.median(np.abs(found - expected)[measured]) * 5 < 0.1
    assert np.corrcoef(found[measured], expected[measured])[0, 1] > 0.99


def test_raw_numbers_without_their_calibration_are_refused(
    whole: Pair, safe: Path, spec: ModelSpec
) -> None:
    shutil.rmtree(safe / "annotation")
    with pytest.raises(RadiometryError, match="calibrate to sigma0 first"):
        open_scene([whole[0]], [RasterSource(str(safe))], spec)


def test_calibrated_numbers_with_control_points_are_warped_with_a_warning(
    whole: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    with rasterio.open(whole[1].path) as dataset:
        values, place, crs = dataset.read(), dataset.transform, dataset.crs
    source = write_raster("gcps.tif", values, ("VV", "VH"), None, None, nodata=np.nan)
    to_control_points(source.path, place, crs)
    with open_scene([whole[0]], [whole[1]], spec) as scene:
        expected = radar(scene)
    with open_scene([whole[0]], [source], spec) as scene:
        assert [w.code for w in scene_warnings(scene)] == ["s1_gcps"]
        assert scene.overlap == pytest.approx(1, abs=0.01)
        found = radar(scene)
    measured = (expected != 0) & (found != 0)
    assert np.corrcoef(found[measured], expected[measured])[0, 1] > 0.99


@pytest.mark.parametrize(
    "text",
    ["", "<a/>", calibration_xml()[:-40], calibration_xml().replace("40", "x", 1),
     calibration_xml().replace("<line>0", "<line>-500"),
     "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"],
    ids=["empty", "nothing", "cut", "word", "order", "entities"],
)  # fmt: skip
def test_a_damaged_calibration_is_refused(text: str, tmp_path: Path) -> None:
    xml = tmp_path / "calibration.xml"
    xml.write_text(text)
    with pytest.raises(SourceError, match=r"calibration\.xml"):
        read_calibration(str(xml))


def test_vectors_are_interpolated_in_both_directions(tmp_path: Path) -> None:
    xml = tmp_path / "c.xml"
    xml.write_text(calibration_xml())
    rows, cols = np.array([-20.0, 0, 7.25, 199.5, 470, 600]), np.array([0.0, 3.5, 100, 239])
    dn = np.full((6, 4), 1000.0)
    found = read_calibration(str(xml)).sigma0(dn, rows, cols)
    expected = 1e6 / factor(rows[:, None], cols[None, :]) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_vectors_that_were_written_again_are_read_again(tmp_path: Path) -> None:
    xml = tmp_path / "c.xml"
    xml.write_text(calibration_xml())
    before = read_calibration(str(xml)).values[0][0]
    xml.write_text(calibration_xml().replace(str(before), "1234.5678"))
    assert read_calibration(str(xml)).values[0][0] == 1234.5678
