"""Anywhere on Earth: degrees, Web Mercator, over the antimeridian, near the poles, other sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import CrsError, SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import ModelSpec
from multimodal.scene import Scene, open_scene
from multimodal.scene.advice import scene_warnings
from multimodal.scene.geometry import metric_crs, project

Write = Callable[..., RasterSource]
Expected = Callable[[Affine, str], tuple[np.ndarray, np.ndarray]]
SIDE = 240  # pixels: two tiles
# Of a raster of 2.4 km whose middle lies on the antimeridian, at 65 degrees north.
NEAR_180 = Affine(10, 0, 640_200, 0, -10, 7_211_400)


@pytest.fixture(scope="module")
def smooth() -> np.ndarray:
    """Optical bands without noise, so that resampling changes little."""
    rows, cols = np.mgrid[0:SIDE, 0:SIDE] / 60
    waves = [1500 + 400 * np.sin(rows + n) + 300 * np.cos(cols * 1.3 - n) for n in range(12)]
    return np.stack(waves).round().astype(np.uint16)


@pytest.fixture(scope="module")
def smooth_radar() -> np.ndarray:
    rows, cols = np.mgrid[0:SIDE, 0:SIDE] / 60
    return np.stack([-11 + np.sin(rows + cols), -18 + np.cos(rows - cols)]).astype(np.float32)


def moved(
    values: np.ndarray, place: Affine, crs: str, to: str, size: float
) -> tuple[np.ndarray, Affine]:
    """Return values and transform of a raster in another CRS, bilinear, pixels of ``size``."""
    side = np.linspace(0, SIDE, 13)
    c, r = (axis.ravel() for axis in np.meshgrid(side, side))
    target = CRS.from_user_input(to)
    xs, ys = project(place.c + c * place.a, place.f + r * place.e, CRS.from_user_input(crs), target)
    if target.is_geographic and np.ptp(xs) > 180:
        xs = xs % 360  # over the antimeridian: on to 180.1
    transform = Affine(size, 0, xs.min(), 0, -size, ys.max())
    columns, rows = int(np.ptp(xs) / size), int(np.ptp(ys) / size)
    out = np.full((len(values), rows, columns), np.nan, np.float32)
    reproject(
        values.astype(np.float32), out, src_transform=place, src_crs=crs, dst_transform=transform,
        dst_crs=to, resampling=Resampling.bilinear, dst_nodata=np.nan,
    )  # fmt: skip
    return out, transform


def at(scene: Scene, xs: np.ndarray, ys: np.ndarray, crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Return normalised S2 and S1 (channels, points) at places on Earth; NaN where no tile is."""
    grid = scene.grid
    xs, ys = project(xs, ys, CRS.from_user_input(crs), grid.geometry.crs)
    cols, rows = grid.geometry.pixels_of(xs, ys)
    cols, rows = np.floor(cols).astype(int), np.floor(rows).astype(int)
    s2, s1 = np.full((14, len(xs)), np.nan), np.full((2, len(xs)), np.nan)
    for batch in scene.batches(scene.select(), 16, 0.0):
        good = [read.tile for read in batch.reads if read.status == "ok"]
        for tile, optical, radar in zip(good, batch.s2, batch.s1, strict=True):
            here = (rows // 120 == tile.row) & (cols // 120 == tile.col)
            s2[:, here] = optical[:, rows[here] % 120, cols[here] % 120]
            s1[:, here] = radar[:, rows[here] % 120, cols[here] % 120]
    return s2, s1


def points(place: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Return a lattice of places well inside a raster of ``SIDE`` x ``SIDE`` pixels."""
    rows, cols = np.mgrid[30 : SIDE - 30 : 11, 30 : SIDE - 30 : 11]
    return place.c + (cols.ravel() + 0.5) * place.a, place.f + (rows.ravel() + 0.5) * place.e


@pytest.fixture(scope="module")
def expected_at(
    write_shared: Write, smooth: np.ndarray, smooth_radar: np.ndarray, spec: ModelSpec
) -> Expected:
    """Return what the clean pair at a place holds at its points."""

    @cache
    def read(place: Affine, crs: str) -> tuple[np.ndarray, np.ndarray]:
        s2 = write_shared("clean_s2.tif", smooth, S2_BANDS, place, crs)
        s1 = write_shared("clean_s1.tif", smooth_radar, ("VV", "VH"), place, crs)
        with open_scene([s2], [s1], spec) as clean:
            return at(clean, *points(place), crs)

    return read


def assert_equal_on_earth(
    scene: Scene, clean: tuple[np.ndarray, np.ndarray], place: Affine, crs: str
) -> None:
    """Smooth fields resampled once or twice stay within a twentieth of a standard deviation."""
    with scene:
        for found, expected in zip(at(scene, *points(place), crs), clean, strict=True):
            assert not np.isnan(expected).any()
            assert (found == 0).mean() < 0.01  # no hole
            assert np.nanmax(np.abs(found - expected)) < 0.12
            assert np.nanmedian(np.abs(found - expected)) < 0.03


@pytest.mark.parametrize(
    ("place", "crs", "s2_crs", "s1_crs", "expected"),
    [
        (NEAR_180, "EPSG:32660", "EPSG:32660", "EPSG:32601", "EPSG:32660"),
        (NEAR_180, "EPSG:32660", "EPSG:4326", "EPSG:32601", None),
        (NEAR_180, "EPSG:32660", "EPSG:32601", "EPSG:4326", "EPSG:32601"),
        (Affine(10, 0, 5e5, 0, -10, 5.3e6), "EPSG:32633", "EPSG:4326", "EPSG:4326", "EPSG:32633"),
        (Affine(10, 0, 5e5, 0, -10, 5.3e6), "EPSG:32633", "EPSG:3857", "EPSG:32633", "EPSG:32633"),
        (Affine(10, 0, 5e5, 0, -10, 6.2e6), "EPSG:32733", "EPSG:4326", "EPSG:32733", "EPSG:32733"),
        (Affine(10, 0, 2.6e6, 0, -10, 2.1e6), "EPSG:5041", "EPSG:5041", "EPSG:4326", "EPSG:5041"),
        (Affine(10, 0, 3.04e6, 0, -10, 2.1e6), "EPSG:5042", "EPSG:4326", "EPSG:5042", "EPSG:5042"),
        (Affine(10, 0, 4e5, 0, -10, -1e6), "EPSG:3413", "EPSG:3413", "EPSG:4326", "EPSG:3413"),
    ],
)  # fmt: skip
def test_pairs_in_any_two_systems_are_brought_together(
    place: Affine, crs: str, s2_crs: str, s1_crs: str, expected: str | None,
    write_raster: Write, smooth: np.ndarray, smooth_radar: np.ndarray, spec: ModelSpec,
    expected_at: Expected,
) -> None:  # fmt: skip
    pair = []
    for name, values, bands, target in (
        ("s2.tif", smooth, S2_BANDS, s2_crs), ("s1.tif", smooth_radar, ("VV", "VH"), s1_crs),
    ):  # fmt: skip
        # Finer than 10 m, so that little is lost on the way.
        degrees = 1e-4 if crs in ("EPSG:5041", "EPSG:5042") else 6e-5
        size = degrees if CRS.from_user_input(target).is_geographic else 10.0
        warped, transform = moved(values, place, crs, target, size)
        pair.append(write_raster(name, warped, bands, transform, target, nodata=np.nan))
    scene = open_scene([pair[0]], [pair[1]], spec)
    if expected:
        assert scene.describe()["grid"]["crs"] == expected
    assert_equal_on_earth(scene, expected_at(place, crs), place, crs)


def test_degrees_beyond_180_are_the_same_place(
    write_raster: Write, smooth: np.ndarray, smooth_radar: np.ndarray, spec: ModelSpec,
    expected_at: Expected,
) -> None:  # fmt: skip
    """A raster from 179.97 to 180.03 degrees, and its twin from -180.03 to -179.97."""
    s1 = write_raster("s1.tif", smooth_radar, ("VV", "VH"), NEAR_180, "EPSG:32660")
    step = 1e-4
    place = Affine(2 * step, 0, 179.973, 0, -step, 64.9985)
    degrees = np.full((12, 270, 270), np.nan, np.float32)
    reproject(
        smooth.astype(np.float32), degrees, src_transform=NEAR_180, src_crs="EPSG:32660",
        dst_transform=place, dst_crs="EPSG:4326", resampling=Resampling.bilinear,
        dst_nodata=np.nan,
    )  # fmt: skip
    for turn in (0, -360):
        own = Affine(place.a, 0, place.c + turn, 0, place.e, place.f)
        s2 = write_raster("s2.tif", degrees, S2_BANDS, own, "EPSG:4326", nodata=np.nan)
        scene = open_scene([s2], [s1], spec)
        assert scene.describe()["overlap"] > 0.3
        assert scene.describe()["grid"]["crs"] in ("EPSG:32601", "EPSG:32660")
        with scene:
            found = at(scene, *points(NEAR_180), "EPSG:32660")[0]
        expected = expected_at(NEAR_180, "EPSG:32660")[0]
        there = ~np.isnan(found).any(axis=0) & (found != 0).all(axis=0)
        assert there.mean() > 0.3
        assert np.median(np.abs(found - expected)[:, there]) < 0.05


@pytest.mark.parametrize(
    ("longitude", "latitude", "code"),
    [(0, 0, 32631), (-180, 10, 32601), (180, 10, 32601), (179.9, -10, 32760), (14.5, 48, 32633),
     (10, 83.9, 32632), (10, 84, 5041), (10, -79.9, 32732), (10, -80.1, 5042), (190, 5, 32602)],
)  # fmt: skip
def test_the_zone_of_a_place(longitude: float, latitude: float, code: int) -> None:
    assert metric_crs(longitude, latitude) == CRS.from_epsg(code)


def test_pixels_far_from_the_models_are_refused_unless_the_user_insists(
    write_raster: Write, smooth: np.ndarray, smooth_radar: np.ndarray, spec: ModelSpec
) -> None:
    coarse = Affine(100, 0, 5e5, 0, -100, 5.3e6)
    s2 = write_raster("s2.tif", smooth, S2_BANDS, coarse)
    s1 = write_raster("s1.tif", smooth_radar, ("VV", "VH"), coarse)
    with pytest.raises(SourceError, match="100 m") as caught:
        open_scene([s2], [s1], spec)
    assert caught.value.details["decision"] == "any_pixel_size"
    with open_scene([s2], [s1], spec, options=SceneOptions(any_pixel_size=True)) as scene:
        assert scene.grid.width == 10 * SIDE
        assert [warning.code for warning in scene_warnings(scene)] == ["s2_coarse", "s1_coarse"]


def test_an_extent_is_in_the_crs_of_sentinel_2_whatever_the_grid(
    write_raster: Write, smooth: np.ndarray, smooth_radar: np.ndarray, spec: ModelSpec
) -> None:
    place = Affine(10, 0, 5e5, 0, -10, 5.3e6)
    warped, transform = moved(smooth, place, "EPSG:32633", "EPSG:4326", 1e-4)
    s2 = write_raster("s2.tif", warped, S2_BANDS, transform, "EPSG:4326", nodata=np.nan)
    s1 = write_raster("s1.tif", smooth_radar, ("VV", "VH"), place)
    west, north = transform.c, transform.f
    box = f"POLYGON (({west} {north}, {west + 0.02} {north}, {west + 0.02} {north - 0.015}, " \
          f"{west} {north - 0.015}, {west} {north}))"  # fmt: skip
    with open_scene([s2], [s1], spec) as scene:
        assert [tile.tile_id for tile in scene.select(box)] == [0]
        assert scene.describe(box)["selected"] == 1
        assert len(scene.select()) == len(scene.grid)


def test_optical_control_points_are_refused(
    write_raster: Write, smooth: np.ndarray, smooth_radar: np.ndarray, spec: ModelSpec
) -> None:
    s1 = write_raster("s1.tif", smooth_radar, ("VV", "VH"))
    s2 = write_raster("s2.tif", smooth, S2_BANDS, crs='LOCAL_CS["paper",UNIT["metre",1]]')
    with pytest.raises(CrsError, match="paper"):
        open_scene([s2], [s1], spec)
