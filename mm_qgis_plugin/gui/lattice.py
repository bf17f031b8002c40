"""The lines between the tiles of a grid, in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..report import GridFacts

Point = tuple  # (x, y)

# Straight lines of the grid are curves in another CRS.
SEGMENTS = 24
# One per pixel of a whole scene would paint for seconds, and show nothing but colour.
MOST_LINES = 1500


@dataclass(frozen=True)
class Window:
    """Some of the tiles: columns and rows, first and last included."""

    first_column: int
    last_column: int
    first_row: int
    last_row: int


def whole_window(grid: GridFacts) -> Window | None:
    """Return all tiles; None where the grid is not known well enough to be drawn."""
    if not (grid.transform and grid.tile_size > 0 and grid.stride > 0):
        return None
    if grid.columns < 1 or grid.rows < 1:
        return None
    return Window(0, grid.columns - 1, 0, grid.rows - 1)


def tile_window(grid: GridFacts, points: Iterable[Point]) -> Window | None:
    """Return the tiles whose centres lie in the box around points of the grid's CRS."""
    whole = whole_window(grid)
    pixels = [pixel_of(grid.transform, point) for point in points] if whole else []
    if whole is None or not pixels:
        return None
    columns = _inside(grid, [x for x, _ in pixels], whole.last_column)
    rows = _inside(grid, [y for _, y in pixels], whole.last_row)
    return Window(*columns, *rows) if columns and rows else None


def lattice(grid: GridFacts, window: Window | None) -> list[list[Point]]:
    """Return the lines around these tiles, each a list of points in the CRS of the grid."""
    if window is None:
        return []
    xs = _edges(grid, window.first_column, window.last_column)
    ys = _edges(grid, window.first_row, window.last_row)
    upright = ([(x, y) for y in _steps(ys[0], ys[-1])] for x in _thinned(xs))
    level = ([(x, y) for x in _steps(xs[0], xs[-1])] for y in _thinned(ys))
    lines = [*upright, *level]
    return [[_placed(grid.transform, pixel) for pixel in line] for line in lines]


def pixel_of(transform: tuple[float, ...], point: Point) -> Point:
    """Return where a point of the CRS lies in the grid, in pixels."""
    a, b, c, d, e, f = transform
    x, y = point[0] - c, point[1] - f
    area = a * e - b * d
    return ((e * x - b * y) / area, (a * y - d * x) / area)


def _placed(transform: tuple[float, ...], pixel: Point) -> Point:
    a, b, c, d, e, f = transform
    x, y = pixel
    return (a * x + b * y + c, d * x + e * y + f)


def _inside(grid: GridFacts, values: list[float], last: int) -> tuple[int, int] | None:
    half = grid.tile_size / 2
    low = max(0, math.ceil((min(values) - half) / grid.stride))
    high = min(last, math.floor((max(values) - half) / grid.stride))
    return (low, high) if low <= high else None


def _edges(grid: GridFacts, first: int, last: int) -> list[int]:
    """Return where tiles begin and, unless the next one begins before that, where they end."""
    starts = [number * grid.stride for number in range(first, last + 1)]
    ends = [start + grid.tile_size for start in starts]
    return sorted({*starts, *(ends if grid.stride >= grid.tile_size else ends[-1:])})


def _thinned(values: list[int]) -> list[int]:
    step = math.ceil(len(values) / MOST_LINES)
    return values if step == 1 else [*values[:-1:step], values[-1]]


def _steps(first: float, last: float) -> Iterator[float]:
    for number in range(SEGMENTS + 1):
        yield first + (last - first) * number / SEGMENTS
