"""Several rasters of one sensor: bands together, or parts of a mosaic, in one zone or in two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.warp import Resampling, calculate_default_transform, reproject

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import DecisionError, MissingChannelsError, SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import ModelSpec
from multimodal.scene import Scene, open_scene

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]
Pair = tuple[RasterSource, RasterSource]
Box = tuple[slice, slice]

# Pieces of a 480 x 240 scene that overlap: rows, columns.
PIECES: tuple[Box, ...] = (
    (slice(0, 260), slice(0, 240)),
    (slice(220, 480), slice(0, 130)),
    (slice(200, 480), slice(100, 240)),
)


def tensors(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    batches = list(scene.batches(scene.select(), 64, 0.0))
    return np.concatenate([b.s2 for b in batches]), np.concatenate([b.s1 for b in batches])


def cut(source: RasterSource, box: Box, write: Write, name: str, **profile: object) -> RasterSource:
    """Write a piece of a raster as a raster of its own."""
    rows, cols = box
    with rasterio.open(source.path) as dataset:
        values = dataset.read()[:, rows, cols]
        t = dataset.transform
        place = Affine(t.a, 0, t.c + cols.start * t.a, 0, t.e, t.f + rows.start * t.e)
        return write(
            name, values, dataset.descriptions, place, dataset.crs, nodata=dataset.nodata, **profile
        )


@pytest.fixture
def whole(sample_scenes: list[Pair]) -> Pair:
    """The scene of 480 x 240 pixels."""
    return next(pair for pair in sample_scenes if "37-38_87-90" in pair[0].path)


def test_pieces_in_any_order_equal_the_whole(
    whole: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    s2 = [cut(whole[0], box, write_raster, f"s2_{n}.tif") for n, box in enumerate(PIECES)]
    s1 = [cut(whole[1], box, write_raster, f"s1_{n}.tif") for n, box in enumerate(PIECES)]
    with open_scene([whole[0]], [whole[1]], spec) as scene:
        expected, transform = tensors(scene), scene.grid.transform
    for optical, radar in ((s2, s1), (s2[::-1], [*s1[1:], s1[0]]), ([whole[0]], s1)):
        with open_scene(optical, radar, spec) as scene:
            described = scene.describe()
            assert (scene.grid.width, scene.grid.height) == (240, 480)
            assert scene.grid.transform.almost_equals(transform)
            assert described["overlap"] == pytest.approx(1)
            assert len(described["s1"]["parts"]) == 3
            for found, clean in zip(tensors(scene), expected, strict=True):
                np.testing.assert_array_equal(found, clean)


def test_bands_of_several_sizes_and_files_are_one_part(
    shared_data: Path, write_raster: Write, spec: ModelSpec
) -> None:
    patch = next((shared_data / "ben_v2" / "patches").glob("*_26_57"))
    files = sorted(patch.glob("S2*.tif"))
    with open_scene([RasterSource(str(patch))], [RasterSource(str(patch))], spec) as scene:
        expected = tensors(scene)
    sources = [RasterSource(str(file)) for file in reversed(files)]
    radar = [RasterSource(str(file)) for file in sorted(patch.glob("S1*.tif"))]
    with open_scene(sources, radar, spec) as scene:
        assert len(scene.optical) == 1
        for found, clean in zip(tensors(scene), expected, strict=True):
            np.testing.assert_array_equal(found, clean)


def test_folders_of_bands_side_by_side_are_parts(
    whole: Pair, write_raster: Write, spec: ModelSpec, tmp_path: Path
) -> None:
    for folder, box in (("west", (slice(0, 480), slice(0, 120))),
                        ("east", (slice(0, 480), slice(120, 240)))):  # fmt: skip
        piece = cut(whole[0], box, write_raster, f"{folder}.tif")
        with rasterio.open(piece.path) as dataset:
            for number, name in enumerate(S2_BANDS, start=1):
                write_raster(
                    f"both/{folder}/T33_{name}.tif", dataset.read([number]), (),
                    dataset.transform, dataset.crs, nodata=0,
                )  # fmt: skip
    with open_scene([whole[0]], [whole[1]], spec) as scene:
        expected = tensors(scene)[0]
    with open_scene([RasterSource(str(tmp_path / "both"))], [whole[1]], spec) as scene:
        assert len(scene.optical) == 2
        assert [len(judged.part.files) for judged in scene.optical] == [12, 12]
        np.testing.assert_array_equal(tensors(scene)[0], expected)


def test_parts_in_two_utm_zones_fit_at_the_seam(
    whole: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    north = (slice(0, 240), slice(0, 240))
    home = cut(whole[0], north, write_raster, "home.tif")
    with rasterio.open(whole[0].path) as dataset:
        values, place, crs = dataset.read(), dataset.transform, dataset.crs
        bounds = dataset.bounds
    other, width, height = calculate_default_transform(
        crs, "EPSG:32632", values.shape[2], values.shape[1], *bounds, resolution=10
    )
    moved = np.zeros((12, height, width), values.dtype)
    reproject(values, moved, src_transform=place, src_crs=crs, dst_transform=other,
              dst_crs="EPSG:32632", resampling=Resampling.nearest)  # fmt: skip
    away = write_raster("away.tif", moved, S2_BANDS, other, "EPSG:32632", nodata=0)
    clean, origin, _ = picture(open_scene([whole[0]], [whole[1]], spec))
    found, corner, described = picture(open_scene([home, away], [whole[1]], spec))
    assert described["s2"]["crs"] == "EPSG:32632, EPSG:32633"
    assert described["grid"]["crs"] == "EPSG:32633"
    shift = (np.array(origin) - corner) / 10
    np.testing.assert_allclose(shift, shift.round(), atol=1e-6)  # on the pixels of the first part
    col, row = abs(shift).round().astype(int)
    found = found[:, row : row + 480, col : col + 240]
    measured = (clean[:, :240] != 0).any(axis=0)
    np.testing.assert_array_equal(found[:, :240][:, measured], clean[:, :240][:, measured])
    # Warped there and back by nearest neighbour: a pixel is its own or that beside it.
    south, same = found[:, 260:470, 10:230], clean[:, 260:470, 10:230]
    assert np.median(np.abs(south - same)) < 0.05
    assert np.corrcoef(south[:12].ravel(), same[:12].ravel())[0, 1] > 0.95
    assert (south == 0).all(axis=0).mean() <= (same == 0).all(axis=0).mean() + 0.01  # no gap


def picture(scene: Scene) -> tuple[np.ndarray, tuple[float, float], dict]:
    """Return Sentinel-2 of all tiles side by side, its upper left corner, and the report."""
    with scene:
        grid = scene.grid
        image = np.zeros((14, grid.rows * 120, grid.columns * 120), np.float32)
        for batch in scene.batches(scene.select(), 64, 0.0):
            good = [read.tile for read in batch.reads if read.status == "ok"]
            for tile, values in zip(good, batch.s2, strict=True):
                rows, cols = tile.row * 120, tile.col * 120
                image[:, rows : rows + 120, cols : cols + 120] = values
        return image, (grid.transform.c, grid.transform.f), scene.describe()


def test_each_part_has_units_of_its_own(whole: Pair, write_raster: Write, spec: ModelSpec) -> None:
    """Half of it reflectance with an offset in its metadata, half plain DN; radar power and dB."""
    left, right = (slice(0, 480), slice(0, 120)), (slice(0, 480), slice(120, 240))
    plain = cut(whole[0], right, write_raster, "plain.tif")
    piece = cut(whole[0], left, write_raster, "left.tif")
    with rasterio.open(piece.path) as dataset:
        dn, place, crs = dataset.read(), dataset.transform, dataset.crs
    shifted = np.where(dn > 0, dn + 1000, 0).astype(np.uint16)
    stated = write_raster(
        "stated.tif", shifted, S2_BANDS, place, crs, nodata=0, scale_offset=(1e-4, -0.1)
    )
    decibels = cut(whole[1], right, write_raster, "db.tif")
    piece = cut(whole[1], left, write_raster, "left_s1.tif")
    with rasterio.open(piece.path) as dataset:
        power = write_raster(
            "power.tif", 10 ** (dataset.read() / 10), ("VV", "VH"), place, crs, nodata=np.nan
        )
    with open_scene([whole[0]], [whole[1]], spec) as scene:
        expected = tensors(scene)
    with open_scene([stated, plain], [decibels, power], spec) as scene:
        described = scene.describe()
        assert [part["offset"] for part in described["s2"]["parts"]] == [pytest.approx(-1000), 0]
        assert [part["unit"] for part in described["s1"]["parts"]] == ["db", "power"]
        for found, clean in zip(tensors(scene), expected, strict=True):
            np.testing.assert_allclose(found, clean, atol=2e-5)


def test_a_part_without_a_band_is_named(whole: Pair, write_raster: Write, spec: ModelSpec) -> None:
    good = cut(whole[0], PIECES[0], write_raster, "good.tif")
    piece = cut(whole[0], PIECES[1], write_raster, "piece.tif")
    with rasterio.open(piece.path) as dataset:
        poor = write_raster(
            "poor.tif", dataset.read()[:11], S2_BANDS[:11], dataset.transform, dataset.crs
        )
    with pytest.raises(MissingChannelsError, match=r"poor\.tif") as caught:
        open_scene([good, poor], [whole[1]], spec)
    assert caught.value.details["missing"] == ["B12"]


def test_parts_on_two_continents_are_refused(
    whole: Pair, write_raster: Write, optical: Make, spec: ModelSpec
) -> None:
    far = write_raster("far.tif", optical(), S2_BANDS, crs="EPSG:32733")
    with pytest.raises(SourceError, match="one area"):
        open_scene([whole[0], far], [whole[1]], spec)


def test_parts_of_days_far_apart_are_warned_of(
    whole: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    first = cut(whole[0], PIECES[0], write_raster, "S2A_MSIL2A_20170613T101031.tif")
    second = cut(whole[0], PIECES[1], write_raster, "S2A_MSIL2A_20170713T101031.tif")
    with open_scene([first, second], [whole[1]], spec) as scene:
        described = scene.describe()
    assert described["s2"]["dates"] == ["2017-06-13", "2017-07-13"]
    assert [warning["code"] for warning in described["warnings"]] == ["mosaic_dates"]


def test_an_answer_about_the_offset_is_for_the_parts_about_which_it_is_asked(
    whole: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    halves = (slice(0, 240), slice(0, 240)), (slice(240, 480), slice(0, 240))
    clean = [cut(whole[0], box, write_raster, f"h{n}.tif") for n, box in enumerate(halves)]
    with rasterio.open(clean[1].path) as dataset:
        values, place = dataset.read(), dataset.transform
        lifted = np.where(values == 0, 0, values + 1000).astype(np.uint16)
        mixed = write_raster("lifted.tif", lifted, S2_BANDS, place, dataset.crs, nodata=0)
    with open_scene(clean, [whole[1]], spec) as scene:
        expected = tensors(scene)
    with pytest.raises(DecisionError) as caught:
        open_scene([clean[0], mixed], [whole[1]], spec)
    assert caught.value.details["decision"] == "s2_offset"
    options = SceneOptions(s2_offset=-1000.0)
    with open_scene([clean[0], mixed], [whole[1]], spec, options=options) as scene:
        assert [part["offset"] for part in scene.describe()["s2"]["parts"]] == [0, -1000]
        for found, wanted in zip(tensors(scene), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
