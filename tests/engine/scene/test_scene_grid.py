"""The lattice: covers, does not overlap, keeps its numbers."""

from __future__ import annotations

import math
import timeit

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_geom

from multimodal.contract.errors import CrsError, JobError, SourceError
from multimodal.scene.geometry import Geometry, apply, crs_name, project
from multimodal.scene.grid import Tile, TileGrid
from multimodal.scene.layout import lay_grid
from multimodal.scene.overlap import nothing_selected

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


WORLD = (
    "SRID=4326;POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))",
    "SRID=4326;POLYGON ((-75 -10, 105 -10, 105 85, -75 85, -75 -10))",
    "SRID=3857;POLYGON ((-2e7 -2e7, 2e7 -2e7, 2e7 2e7, -2e7 2e7, -2e7 -2e7))",
)


@pytest.mark.parametrize("wkt", WORLD)
def test_an_area_larger_than_the_utm_zone_can_show_holds_the_scene(wkt: str) -> None:
    lattice = grid(600, 600)
    assert lattice.select(wkt) == lattice.select()
    half = shapely.box(331_200, 5_328_000, 333_600, 5_334_000).wkt
    assert lattice.select(wkt, half) == lattice.select(half)


def brute(lattice: TileGrid, area: shapely.Polygon, code: int) -> list[int]:
    """The tiles of an area by the definition, without any shortcut."""
    tiles = lattice.select()
    rows, cols = (np.array([getattr(tile, axis) for tile in tiles]) for axis in ("row", "col"))
    xs, ys = lattice.centres(rows, cols)
    x, y = transform_points(lattice.geometry.crs, CRS.from_epsg(code), xs.tolist(), ys.tolist())
    inside = shapely.intersects_xy(area, x, y)
    return [tile.tile_id for tile, held in zip(tiles, inside, strict=True) if held]


@given(
    st.tuples(*[st.floats(-0.1, 1.1)] * 4), st.sampled_from([4326, 3857, 32632, 3035]),
    st.sampled_from([(10_980, 10_980), (120, 60_000), (60_000, 120)]),
    st.sampled_from([0.0, 25.0]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_an_area_in_another_crs_selects_what_lies_in_it_there(
    box: tuple[float, float, float, float], code: int, size: tuple[int, int], angle: float
) -> None:
    lattice = grid(*size, 240, angle)
    west, south, east, north = lattice.geometry.footprint(CRS.from_epsg(code)).bounds
    xs = sorted((west + box[0] * (east - west), west + box[1] * (east - west)))
    ys = sorted((south + box[2] * (north - south), south + box[3] * (north - south)))
    area = shapely.box(xs[0], ys[0], xs[1], ys[1])
    chosen = [tile.tile_id for tile in lattice.select(area.wkt, area_crs=CRS.from_epsg(code))]
    assert chosen == brute(lattice, area, code)


@pytest.mark.parametrize("turn", [-360, 0, 360])
def test_an_area_at_the_antimeridian_may_count_either_way(turn: int) -> None:
    transform = Affine(10, 0, 810_000, 0, -10, 1_900_000)  # UTM 1N would be -180 at 180 km
    lattice = lay_grid([Geometry(CRS.from_epsg(32660), transform, 2400, 1200)], 120, 10, None)
    east = lattice.geometry.footprint(CRS.from_epsg(4326))
    assert east.bounds[0] < -179  # it lies on both sides
    assert east.bounds[2] > 179
    area = shapely.box(180 + turn, 10, 185 + turn, 20).wkt
    right = [tile.col for tile in lattice.select(f"SRID=4326;{area}")]
    left = shapely.box(175 + turn, 10, 180 + turn, 20).wkt
    others = [tile.col for tile in lattice.select(f"SRID=4326;{left}")]
    assert len(right) + len(others) == len(lattice)
    assert min(right) > 0
    assert min(others) == 0


@pytest.mark.parametrize("pole", [5041, 5042])
def test_an_area_around_a_pole(pole: int) -> None:
    transform = Affine(10, 0, 1_990_000, 0, -10, 2_010_000)
    lattice = lay_grid([Geometry(CRS.from_epsg(pole), transform, 2000, 2000)], 120, 10, None)
    south, north = (89.95, 90) if pole == 5041 else (-90, -89.95)
    area = shapely.box(-180, south, 180, north)
    chosen = [tile.tile_id for tile in lattice.select(f"SRID=4326;{area.wkt}")]
    assert chosen == brute(lattice, area, 4326)
    assert 10 < len(chosen) < len(lattice)


def test_a_small_area_in_another_crs_is_found_in_millions_of_tiles() -> None:
    few = shapely.box(332_000, 5_332_000, 332_100, 5_332_100)
    lattice = grid(10_980, 10_980, 1)
    moved = transform_geom(UTM, CRS.from_epsg(4326), shapely.geometry.mapping(few))
    chosen = lattice.select(f"SRID=4326;{shapely.geometry.shape(moved).wkt}")
    assert len(chosen) == pytest.approx(100, abs=25)


def test_what_holds_no_tile_is_told_in_the_crs_of_the_area() -> None:
    lattice = grid(240, 240)
    far = nothing_selected(lattice, ["SRID=4326;POLYGON ((1 1, 2 1, 2 2, 1 1))"], UTM).message
    assert "covers x 12.7" in far
    assert "in EPSG:4326, the area asked for x 1 to 2, y 1 to 2. Choose an area inside" in far
    tiny = shapely.box(331_210, 5_333_980, 331_220, 5_333_990).wkt
    text = nothing_selected(lattice, [tiny, WORLD[0]], UTM).message
    assert "in EPSG:32633, the area asked for x 331210 to 331220" in text
    assert "; x -180 to 180, y -90 to 90 in EPSG:4326. It holds no centre" in text


def test_a_full_scene_is_selected_at_once() -> None:
    lattice = grid(10_980, 10_980, 120)
    box = lattice.geometry.footprint().wkt
    best = min(timeit.repeat(lambda: lattice.select(box), number=1, repeat=5))
    assert len(lattice.select(box)) == len(lattice) > 8_000
    assert best < 0.05


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


# Mosaics: the grid covers all parts, on the pixels of the first.

offsets = st.integers(-900, 900)


def corners(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y) of points all around a raster, its corners among them."""
    along = np.linspace(0, 1, 9)
    zero, one = np.zeros(9), np.ones(9)
    cols = np.concatenate([along, along, zero, one]) * geometry.width
    rows = np.concatenate([zero, one, along, along]) * geometry.height
    return apply(geometry.transform, cols, rows)


def assert_covers(lattice: TileGrid, geometry: Geometry, slack: float = 0.02) -> None:
    """Demand that every point of a raster's edge lies on the grid; ``slack`` in pixels."""
    x, y = corners(geometry)
    if geometry.crs != lattice.geometry.crs:
        x, y = project(x, y, geometry.crs, lattice.geometry.crs)
    cols, rows = apply(~lattice.transform, x, y)
    assert cols.min() >= -slack
    assert rows.min() >= -slack
    assert cols.max() <= lattice.width + slack
    assert rows.max() <= lattice.height + slack


def assert_tiled(lattice: TileGrid) -> None:
    """Demand that the tiles reach over the whole grid, and none lies beside it."""
    last = (lattice.rows - 1, lattice.columns - 1)
    for count, pixels in zip(last, (lattice.height, lattice.width), strict=True):
        start = count * lattice.stride
        assert start < pixels
        assert start + max(lattice.tile_size, lattice.stride) >= pixels


@st.composite
def mosaics(draw: st.DrawFn) -> list[Geometry]:
    """Rasters of one zone: the first of 10 m, the others of 10 or 20 m and off its pixels."""
    angle = math.radians(draw(st.sampled_from([0.0, 25.0, 90.0, -140.0])))
    parts = []
    for size in [10.0, *draw(st.lists(st.sampled_from([10.0, 20.0]), max_size=3))]:
        a, b = size * math.cos(angle), size * math.sin(angle)
        x, y = 331_200 + 7.3 * draw(offsets), 5_334_000 + 7.3 * draw(offsets)
        flip = draw(st.sampled_from([1, -1]))  # south-up
        place = Affine(a, b * flip, x, b, -a * flip, y)
        parts.append(Geometry(UTM, place, draw(sizes), draw(sizes)))
    return parts


@given(mosaics(), st.sampled_from([60, 120, 130]))
@settings(max_examples=150, deadline=None)
def test_the_grid_of_a_mosaic_covers_every_part_and_keeps_the_first_ones_pixels(
    parts: list[Geometry], stride: int
) -> None:
    lattice = lay_grid(parts, 120, 10.0, stride)
    for part in parts:
        assert_covers(lattice, part)
    assert_tiled(lattice)
    first = parts[0].upright()
    cols, rows = apply(~lattice.transform, *apply(first.transform, 0.0, 0.0))
    assert (cols, rows) == pytest.approx((round(cols), round(rows)), abs=1e-4)
    assert tuple(lattice.transform)[0:2] == tuple(first.transform)[0:2]
    # No wider than what is covered, but for the rounding to whole pixels.
    x, y = (np.concatenate(axis) for axis in zip(*map(corners, parts), strict=True))
    cols, rows = apply(~lattice.transform, x, y)
    assert cols.min() < 1 and rows.min() < 1  # noqa: PT018
    assert lattice.width - cols.max() < 1 and lattice.height - rows.max() < 1  # noqa: PT018


@given(mosaics(), st.integers(0, 10_000), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_tile_of_a_mosaic_keeps_its_id_and_place_under_any_extent(
    parts: list[Geometry], one: int, other: int
) -> None:
    lattice = lay_grid(parts, 120, 10.0, None)
    every = {tile.tile_id: tile for tile in lattice.select()}
    assert len(every) == len(lattice)
    picked = [every[n % len(every)] for n in (one, other)]
    areas = [shapely.Polygon(lattice.corners(tile)) for tile in picked]
    for area in (*areas, shapely.union_all(areas), shapely.union_all(areas).envelope):
        chosen = lattice.select(area.wkt)
        assert {tile.tile_id for tile in chosen} <= set(every)
        assert all(every[tile.tile_id] == tile for tile in chosen)
    both = lattice.select(shapely.union_all(areas).buffer(0.01).wkt)
    assert set(picked) <= set(both)


# Degrees: a metric grid in the zone of the middle.


def in_degrees(lon: float, lat: float, width: int = 500, height: int = 400) -> Geometry:
    """Return a raster with its upper left corner there and pixels of about 10 m."""
    size = 10 / 111_320
    across = size / max(math.cos(math.radians(lat)), 0.02)
    return Geometry(CRS.from_epsg(4326), Affine(across, 0, lon, 0, -size, lat), width, height)


@given(st.integers(1, 60), st.floats(0.1, 5.9), st.floats(-79.5, 83.9))
@settings(max_examples=200, deadline=None)
def test_degrees_get_a_grid_in_metres_in_the_utm_zone_of_their_middle(
    zone: int, within: float, lat: float
) -> None:
    raster = in_degrees(-180 + 6 * (zone - 1) + within, lat)
    lon_middle, lat_middle = raster.centre
    zone_of_middle = int((lon_middle + 180) % 360 // 6) + 1
    code = (32600 if lat_middle >= 0 else 32700) + zone_of_middle
    lattice = lay_grid([raster], 120, 10.0, None)
    assert crs_name(lattice.geometry.crs) == f"EPSG:{code}"
    assert_metric(lattice, raster)


def assert_metric(lattice: TileGrid, raster: Geometry) -> None:
    assert_covers(lattice, raster)
    assert_tiled(lattice)
    t = lattice.transform
    assert tuple(t)[:6] == (10, 0, t.c, 0, -10, t.f)
    assert (t.c % 10, t.f % 10) == (0, 0)
    # About as large as the raster: UTM turns it, and stretches by less than a part in 100.
    assert lattice.width < 1.6 * raster.width
    assert lattice.height < 1.8 * raster.height


@given(st.floats(-180, 179.9), st.floats(84.1, 89.0), st.sampled_from([5041, 5042]))
@settings(max_examples=60, deadline=None)
def test_near_the_poles_the_grid_is_polar_stereographic(lon: float, lat: float, code: int) -> None:
    raster = in_degrees(lon, lat if code == 5041 else -lat, 200, 100)
    lattice = lay_grid([raster], 120, 10.0, None)
    assert crs_name(lattice.geometry.crs) == f"EPSG:{code}"
    assert_covers(lattice, raster)
    assert_tiled(lattice)


@pytest.mark.parametrize("lat", [0.02, 51.5, -17.8, 71.0, -70.0])
@pytest.mark.parametrize(("lon", "zone"), [(179.9, 60), (179.96, 60), (179.99, 1), (-179.99, 1)])
def test_a_raster_over_the_antimeridian_has_one_grid_whichever_way_it_counts(
    lat: float, lon: float, zone: int
) -> None:
    raster = in_degrees(lon, lat)
    turned = in_degrees(lon + (360 if lon < 0 else -360), lat)
    grids = [lay_grid([geometry], 120, 10.0, None) for geometry in (raster, turned)]
    code = int(crs_name(grids[0].geometry.crs).removeprefix("EPSG:"))
    assert code // 100 == (326 if lat >= 0 else 327)
    assert code % 100 in ({1, 60} if lon > 0 else {zone})
    for lattice, geometry in zip(grids, (raster, turned), strict=True):
        assert_metric(lattice, geometry)
    assert grids[0] == grids[1]


@given(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.sampled_from([179.98, -179.98, 12.0, -60.0]))
@settings(max_examples=60, deadline=None)
def test_a_mosaic_in_degrees_is_covered_also_over_the_antimeridian(
    east: float, north: float, lon: float
) -> None:
    other = lon + east
    other -= 360 * round(other / 360)  # as products do: 179.99, then -179.99
    parts = [in_degrees(lon, 48.0), in_degrees(other, 48.0 + north)]
    lattice = lay_grid(parts, 120, 10.0, None)
    for part in parts:
        assert_covers(lattice, part)
    assert_tiled(lattice)
    assert max(lattice.width, lattice.height) < 5000


@given(st.sampled_from([(32660, 32601), (32633, 32632), (32760, 32701)]), st.floats(-70, 70))
@settings(max_examples=60, deadline=None)
def test_parts_in_neighbouring_zones_are_covered_in_the_zone_of_the_first(
    codes: tuple[int, int], lat: float
) -> None:
    """Both lie at the border of the zones: 6 degrees wide, so 3 from each central meridian."""
    lat = abs(lat) if codes[0] < 32700 else -abs(lat)
    border = 180.0 if codes[0] % 100 == 60 else 12.0
    parts = []
    for code in codes:
        crs = CRS.from_epsg(code)
        x, y = project(np.array([border]), np.array([lat]), CRS.from_epsg(4326), crs)
        corner = round(float(x[0]) / 10) * 10 - 1500, round(float(y[0]) / 10) * 10 + 1500
        parts.append(Geometry(crs, Affine(10, 0, corner[0], 0, -10, corner[1]), 300, 300))
    lattice = lay_grid(parts, 120, 10.0, None)
    assert crs_name(lattice.geometry.crs) == f"EPSG:{codes[0]}"
    for part in parts:
        assert_covers(lattice, part)
    assert max(lattice.width, lattice.height) < 400
