"""The lattice: covers, does not overlap, keeps its numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine

from multimodal.contract.errors import CrsError, JobError, SourceError
from multimodal.scene.geometry import Geometry
from multimodal.scene.grid import Tile, TileGrid
from multimodal.scene.layout import lay_grid

UTM = CRS.from_epsg(32633)
sizes = st.integers(1, 700)
strides = st.integers(1, 300)


def grid(width: int, height: int, stride: int = 120, angle: float = 0.0) -> TileGrid:
    turn = np.radians(angle)
    a, b = 10 * np.cos(turn), 10 * np.sin(turn)
    transform = Affine(a, b, 331_200.0, b, -a, 5_334_000.0)
    return lay_grid([Geometry(UTM, transform, width, height)], 120, 10.0, stride)


@given(sizes, sizes, st.integers(20, 300))
@settings(max_examples=40, deadline=None)
def test_tiles_cover_every_pixel_that_a_stride_up_to_the_size_can(
    w: int, h: int, stride: int
) -> None:
    stride = min(stride, 120)
    lattice = grid(w, h, stride)
    covered = np.zeros((h, w), dtype=np.uint16)
    for tile in lattice.select():
        top, left = tile.row * stride, tile.col * stride
        covered[top : top + 120, left : left + 120] += 1
    assert covered.min() >= 1
    if stride == 120:
        assert covered.max() == 1


@given(sizes, sizes, strides)
@settings(max_examples=60, deadline=None)
def test_every_tile_holds_a_pixel_and_ids_follow_the_lattice(w: int, h: int, stride: int) -> None:
    lattice = grid(w, h, stride)
    tiles = lattice.select()
    assert [tile.tile_id for tile in tiles] == list(range(len(lattice)))
    last = tiles[-1]
    assert (last.row, last.col) == (lattice.rows - 1, lattice.columns - 1)
    assert last.row * stride < h
    assert last.col * stride < w


@given(
    sizes, sizes, strides,
    st.tuples(*[st.floats(-0.2, 1.2)] * 4), st.sampled_from([0.0, 25.0, 90.0, -140.0]),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_an_extent_selects_cells_and_never_renumbers_them(
    w: int, h: int, stride: int, box: tuple[float, float, float, float], angle: float
) -> None:
    lattice = grid(w, h, max(stride, 20), angle)
    west, south, east, north = lattice.geometry.footprint().bounds
    xs = sorted((west + box[0] * (east - west), west + box[1] * (east - west)))
    ys = sorted((south + box[2] * (north - south), south + box[3] * (north - south)))
    area = shapely.box(xs[0], ys[0], xs[1] + 1, ys[1] + 1)
    chosen = lattice.select(area.wkt)
    expected = []
    for tile in lattice.select():
        corners = lattice.corners(tile)
        x, y = (sum(axis) / 4 for axis in zip(*corners, strict=True))
        inside = shapely.intersects_xy(area, x, y)
        near = area.exterior.distance(shapely.Point(x, y)) < 1e-3
        if inside or near:
            expected.append((tile, near))
    assert set(chosen) <= {tile for tile, _ in expected}
    assert {tile for tile, near in expected if not near} <= set(chosen)
    assert list(chosen) == sorted(chosen)


def test_corners_run_counter_clockwise_from_the_lower_left_and_lie_on_the_pixel_grid() -> None:
    lattice = grid(240, 600, 60)
    corners = lattice.corners(Tile(0, 2, 1))
    assert corners == (
        (331_800.0, 5_331_600.0), (333_000.0, 5_331_600.0),
        (333_000.0, 5_332_800.0), (331_800.0, 5_332_800.0),
    )  # fmt: skip
    assert shapely.LinearRing(corners).is_ccw


def test_both_polygons_restrict() -> None:
    lattice = grid(360, 360)
    left = shapely.box(331_200, 5_330_400, 333_600, 5_334_000).wkt
    top = shapely.box(331_200, 5_332_800, 334_800, 5_334_000).wkt
    assert [tile.tile_id for tile in lattice.select(left, top)] == [0, 1]
    assert lattice.select("POLYGON EMPTY") == ()


def test_a_south_up_raster_gives_the_grid_of_its_north_up_twin() -> None:
    up = lay_grid([Geometry(UTM, Affine(10, 0, 5e5, 0, 10, 5.2e6), 300, 200)], 120, 10, None)
    down = lay_grid([Geometry(UTM, Affine(10, 0, 5e5, 0, -10, 5.202e6), 300, 200)], 120, 10, None)
    assert up == down


def test_other_pixel_sizes_get_a_grid_at_the_ground_resolution_with_the_same_origin() -> None:
    lattice = lay_grid([Geometry(UTM, Affine(20, 0, 5e5, 0, -20, 5.3e6), 101, 60)], 120, 10, None)
    assert tuple(lattice.transform)[:6] == (10, 0, 5e5, 0, -10, 5.3e6)
    assert (lattice.width, lattice.height) == (202, 120)


def test_feet_are_converted_to_metres() -> None:
    feet = CRS.from_epsg(2263)  # New York, US survey feet
    lattice = lay_grid(
        [Geometry(feet, Affine(32.8, 0, 1e6, 0, -32.8, 2e5), 120, 120)], 120, 10, None
    )
    assert lattice.transform.a == pytest.approx(10 / (1200 / 3937))


@pytest.mark.parametrize(
    ("crs", "transform", "error", "words"),
    [
        ('LOCAL_CS["paper",UNIT["metre",1]]', Affine(10, 0, 0, 0, -10, 0), CrsError, "paper"),
        ("EPSG:32633", Affine(10, 5, 5e5, 0, -10, 5.3e6), SourceError, "Warp"),
        ("EPSG:32633", Affine(100, 0, 5e5, 0, -100, 5.3e6), SourceError, "100 m"),
    ],
)
def test_a_raster_that_cannot_hold_the_grid_is_refused(
    crs: str, transform: Affine, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        lay_grid([Geometry(CRS.from_user_input(crs), transform, 240, 240)], 120, 10, None)


@pytest.mark.parametrize("wkt", ["", "POLYGON ((1 2", "POINT (1 2)", "LINESTRING (0 0, 1 1)", "x"])
def test_what_is_no_polygon_is_refused(wkt: str) -> None:
    with pytest.raises(JobError, match="extent"):
        grid(240, 240).select(wkt)


def test_a_stride_that_makes_millions_of_tiles_is_refused() -> None:
    with pytest.raises(JobError, match="larger stride"):
        grid(10_980, 10_980, 1).select()
    few = shapely.box(332_000, 5_332_000, 332_100, 5_332_100).wkt
    assert len(grid(10_980, 10_980, 1).select(few)) == pytest.approx(100, abs=25)


def test_a_full_sentinel_2_tile_has_92_columns() -> None:
    assert grid(10_980, 10_980).columns == math.ceil(10_980 / 120) == 92
