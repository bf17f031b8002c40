"""The lattice of the tile grid: pure numbers, then on a real canvas."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
)

from mm_qgis_plugin.gui.lattice import (
    MOST_LINES,
    Window,
    lattice,
    tile_lattice,
    tile_window,
    whole_window,
)
from mm_qgis_plugin.gui.tile_grid import TileGrid
from mm_qgis_plugin.report import GridFacts

UTM = "EPSG:32633"
GRID = GridFacts(
    crs=UTM, crs_wkt=UTM, transform=(10.0, 0.0, 344400.0, 0.0, -10.0, 5295600.0), width=240,
    height=480, tiles=8, tiles_valid=7, tile_size=120, stride=120, columns=2, rows=4,
)  # fmt: skip
NOWHERE = (QgsGeometry(), QgsCoordinateReferenceSystem())


def ends(lines: list) -> set[tuple]:
    return {(line[0], line[-1]) for line in lines}


def test_lines_run_between_the_tiles() -> None:
    lines = lattice(GRID, whole_window(GRID))
    assert len(lines) == 3 + 5
    xs, ys = (344400.0, 345600.0, 346800.0), [5295600.0 - 1200 * row for row in range(5)]
    assert ends(lines) == {
        *(((x, ys[0]), (x, ys[-1])) for x in xs),
        *(((xs[0], y), (xs[-1], y)) for y in ys),
    }


def test_overlapping_tiles_share_their_lines_and_gaps_have_both_edges() -> None:
    half = replace(GRID, stride=60, columns=3, rows=7)
    assert len(lattice(half, whole_window(half))) == 5 + 9
    gaps = replace(GRID, stride=240, columns=1, rows=2)
    assert len(lattice(gaps, whole_window(gaps))) == 2 + 4


def all_tiles(grid: GridFacts) -> list[tuple]:
    return [(row, column) for row in range(grid.rows) for column in range(grid.columns)]


def segments(lines: list) -> set[tuple]:
    """Return the lines' ends in pixels of GRID."""
    return {
        tuple((round((x - 344400) / 10), round((5295600 - y) / 10)) for x, y in sorted(pair))
        for pair in ((line[0], line[-1]) for line in lines)
    }


@pytest.mark.parametrize("stride", [120, 60, 50])
def test_all_tiles_one_by_one_are_the_whole_lattice(stride: int) -> None:
    columns, rows = 120 // stride + 1, 360 // stride + 1
    grid = replace(GRID, stride=stride, columns=columns, rows=rows)
    one_by_one = segments(tile_lattice(grid, all_tiles(grid)))
    assert one_by_one == segments(lattice(grid, whole_window(grid)))


def test_tiles_with_gaps_are_separate_cells() -> None:
    gaps = replace(GRID, stride=240, columns=1, rows=2)
    boxes = {
        ((0, y), (120, y)) for y in (0, 120, 240, 360)
    } | {((x, y + 120), (x, y)) for x in (0, 120) for y in (0, 240)}  # fmt: skip
    assert segments(tile_lattice(gaps, all_tiles(gaps))) == boxes


def test_tiles_that_touch_at_a_corner() -> None:
    lines = segments(tile_lattice(GRID, [(0, 0), (1, 1)]))
    assert ((0, 0), (120, 0)) in lines
    assert ((0, 120), (240, 120)) in lines, "the lower side of one, the upper side of the other"
    assert ((120, 0), (240, 0)) not in lines
    assert len(lines) == 6


def test_overlapping_tiles_have_their_outline_at_every_corner() -> None:
    half = replace(GRID, stride=50, columns=3, rows=7)
    lines = segments(tile_lattice(half, [(0, 0), (0, 1), (1, 0)]))
    # An L of 170 pixels that lacks its last corner.
    assert ((170, 120), (170, 0)) in lines
    assert ((0, 170), (120, 170)) in lines
    assert ((100, 170), (100, 0)) in lines, "a start is drawn as far as tiles reach"
    assert ((150, 120), (150, 0)) in lines


def test_an_area_selects_the_tiles_whose_centres_it_holds() -> None:
    one = [(345700.0, 5294500.0), (346700.0, 5295500.0)]
    assert tile_window(GRID, one) == Window(1, 1, 0, 0)
    assert tile_window(GRID, [(345610.0, 5295590.0), (345620.0, 5295580.0)]) is None
    assert tile_window(GRID, [(0.0, 0.0), (1e7, 1e7)]) == Window(0, 1, 0, 3)


def test_rotated_and_south_up_grids() -> None:
    turned = replace(GRID, transform=(8.0, 6.0, 344400.0, 6.0, -8.0, 5295600.0))
    lines = lattice(turned, whole_window(turned))
    corner = (344400.0 + 8 * 240 + 6 * 480, 5295600.0 + 6 * 240 - 8 * 480)
    assert any(line[-1] == pytest.approx(corner) for line in lines)
    upward = replace(GRID, transform=(10.0, 0.0, 344400.0, 0.0, 10.0, 5290800.0))
    inside = [(345700.0, 5290900.0), (346700.0, 5291900.0)]
    assert tile_window(upward, inside) == Window(1, 1, 0, 0)


@pytest.mark.parametrize("change", [{"transform": ()}, {"tile_size": 0}, {"columns": 0}])
def test_a_grid_that_is_not_known_is_not_drawn(change: dict) -> None:
    assert lattice(replace(GRID, **change), whole_window(replace(GRID, **change))) == []


def test_as_many_lines_as_can_be_seen() -> None:
    dense = replace(GRID, stride=1, columns=10000, rows=10000)
    assert len(lattice(dense, whole_window(dense))) <= 2 * (MOST_LINES + 1)


@pytest.fixture
def tiles(qgis_new_project, qgis_iface):
    canvas = qgis_iface.mapCanvas()
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem(UTM))
    before = len(canvas.scene().items())
    drawn = TileGrid(canvas)
    yield drawn
    drawn.shut_down()
    assert len(canvas.scene().items()) == before


def test_the_canvas_shows_it_in_its_own_crs(tiles: TileGrid, qgis_iface) -> None:
    tiles.show(GRID, *NOWHERE)
    assert tiles.geometry().boundingBox() == QgsRectangle(344400, 5290800, 346800, 5295600)
    qgis_iface.mapCanvas().setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
    box = tiles.geometry().boundingBox()
    assert box.xMinimum() == pytest.approx(12.92, abs=0.05)
    assert box.yMaximum() == pytest.approx(47.79, abs=0.05)
    tiles.clear()
    assert not tiles.is_shown
    assert tiles.geometry().isEmpty()


def test_an_area_in_another_crs(tiles: TileGrid) -> None:
    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    there = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem(UTM), degrees, QgsProject.instance()
    )
    area = QgsGeometry.fromRect(QgsRectangle(345700, 5294500, 346700, 5295500))
    area.transform(there)
    tiles.show(GRID, area, degrees)
    assert tiles.geometry().boundingBox() == QgsRectangle(345600, 5294400, 346800, 5295600)


def two_corners(grid: GridFacts) -> QgsGeometry:
    """Two squares, around the centres of the first and of the last tile."""
    a, b, c, d, e, f = grid.transform
    squares = []
    for x, y in ((60, 60), ((grid.columns - 1) * grid.stride + 60,
                            (grid.rows - 1) * grid.stride + 60)):  # fmt: skip
        centre = QgsGeometry.fromPointXY(QgsPointXY(a * x + b * y + c, d * x + e * y + f))
        squares.append(centre.buffer(100, 2))
    return QgsGeometry.unaryUnion(squares)


@pytest.mark.parametrize(
    "transform",
    [GRID.transform, (8.0, 6.0, 344400.0, 6.0, -8.0, 5295600.0),
     (10.0, 0.0, 344400.0, 0.0, 10.0, 5290800.0)],
)  # fmt: skip
@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
def test_polygons_show_the_tiles_that_run_and_no_box(
    tiles: TileGrid, transform: tuple, crs: str
) -> None:
    grid = replace(GRID, transform=transform)
    area, own = two_corners(grid), QgsCoordinateReferenceSystem(crs)
    area.transform(
        QgsCoordinateTransform(QgsCoordinateReferenceSystem(UTM), own, QgsProject.instance())
    )
    assert tiles.show(grid, area, own)
    drawn = tiles.geometry()
    assert drawn.length() == pytest.approx(2 * 4 * 1200)
    cells = QgsGeometry.polygonize([drawn])
    assert cells.area() == pytest.approx(2 * 1200**2)


def test_very_many_tiles_of_an_area_are_a_box(tiles: TileGrid) -> None:
    dense = replace(GRID, stride=1, columns=121, rows=361)
    area = QgsGeometry.fromRect(QgsRectangle(344400, 5290800, 346800, 5295600))
    assert not tiles.show(dense, area, QgsCoordinateReferenceSystem(UTM))
    assert tiles.geometry().boundingBox() == QgsRectangle(344400, 5290800, 346800, 5295600)


def test_ten_thousand_tiles_are_drawn_soon(tiles: TileGrid) -> None:
    grid = replace(GRID, stride=60, columns=100, rows=100)
    area = QgsGeometry.fromPointXY(QgsPointXY(374700, 5265300)).buffer(30000, 50)
    started = time.monotonic()
    assert tiles.show(grid, area, QgsCoordinateReferenceSystem(UTM))
    assert time.monotonic() - started < 1.0


def test_an_area_without_tiles_shows_none(tiles: TileGrid) -> None:
    area = QgsGeometry.fromRect(QgsRectangle(0, 0, 10, 10))
    tiles.show(GRID, area, QgsCoordinateReferenceSystem(UTM))
    assert not tiles.is_shown


def test_a_whole_sentinel_2_tile_is_drawn_at_once(tiles: TileGrid, qgis_iface) -> None:
    qgis_iface.mapCanvas().setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    started = time.monotonic()
    tiles.show(replace(GRID, width=10980, height=10980, columns=92, rows=92), *NOWHERE)
    assert tiles.geometry().constGet().numGeometries() == 2 * 93
    assert time.monotonic() - started < 0.5
