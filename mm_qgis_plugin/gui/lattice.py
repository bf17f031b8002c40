"""The lines between the tiles of a grid, in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ..report import GridFacts

Point = tuple  # (x, y)
Tile = tuple  # (row, column)

# Straight lines of the grid are curves in another CRS.
SEGMENTS = 24
# One per pixel of a whole scene would paint for seconds, and show nothing but colour.
MOST_LINES = 1500
MOST_TILES = 10_000
"""So many are drawn one by one; of more, the box around them."""
_MOST_CELLS = 300_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Window:
    """Some of the tiles: columns and rows, first and last included."""

    first_column: int
    last_column: int
    first_row: int
    last_row: int

    @property
    def count(self) -> int:
        """How many tiles there are."""
        columns = self.last_column - self.first_column + 1
        return columns * (self.last_row - self.first_row + 1)


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


def centres(grid: GridFacts, window: Window) -> Iterator[tuple[Tile, Point]]:
    """Yield the tiles of a window with their centres in the CRS of the grid."""
    half = grid.tile_size / 2
    for row in range(window.first_row, window.last_row + 1):
        for column in range(window.first_column, window.last_column + 1):
            pixel = (column * grid.stride + half, row * grid.stride + half)
            yield (row, column), _placed(grid.transform, pixel)


def lattice(grid: GridFacts, window: Window | None) -> list[list[Point]]:
    """Return the lines of a whole window, each a list of points in the CRS of the grid."""
    if window is None:
        return []
    xs = _lines(grid, window.first_column, window.last_column)
    ys = _lines(grid, window.first_row, window.last_row)
    upright = [((x, ys[0]), (x, ys[-1])) for x in _thinned(xs)]
    level = [((xs[0], y), (xs[-1], y)) for y in _thinned(ys)]
    return [_line(grid, *ends, SEGMENTS) for ends in (*upright, *level)]


def tile_lattice(grid: GridFacts, tiles: Collection[Tile]) -> list[list[Point]] | None:
    """Return the lines around these tiles and no others; None where they are too many to draw.

    Where tiles overlap, a line stands where each of them begins, and around all that they cover.
    """
    xs = _edges(grid, sorted({column for _, column in tiles}))
    ys = _edges(grid, sorted({row for row, _ in tiles}))
    if len(xs) * len(ys) > _MOST_CELLS:
        return None
    covered = _covered(grid, tiles, xs, ys)
    upright = _walls(covered, xs, ys, grid.stride)
    turned = [list(line) for line in zip(*covered)]
    level = [((x, y), (u, v)) for (y, x), (v, u) in _walls(turned, ys, xs, grid.stride)]
    longest = max(xs[-1] - xs[0], ys[-1] - ys[0])
    lines = []
    for first, last in (*upright, *level):
        length = abs(last[0] - first[0]) + abs(last[1] - first[1])
        lines.append(_line(grid, first, last, math.ceil(SEGMENTS * length / longest)))
    return lines


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
    # A centre on the edge is inside, whatever rounding says.
    low = max(0, math.ceil((min(values) - half) / grid.stride - _ROUNDING))
    high = min(last, math.floor((max(values) - half) / grid.stride + _ROUNDING))
    return (low, high) if low <= high else None


def _edges(grid: GridFacts, numbers: Sequence[int]) -> list[int]:
    """Return where tiles begin and end, in pixels, with the lattice between overlapping ones."""
    starts = [number * grid.stride for number in numbers]
    ends = [start + grid.tile_size for start in starts]
    if grid.stride >= grid.tile_size:
        return sorted({*starts, *ends})
    return sorted({*range(starts[0], ends[-1], grid.stride), *ends})


def _lines(grid: GridFacts, first: int, last: int) -> list[int]:
    """Return the edges to draw of tiles in a row: inside it overlapping ones only begin."""
    edges = _edges(grid, range(first, last + 1))
    if grid.stride >= grid.tile_size:
        return edges
    return [edge for edge in edges[:-1] if edge % grid.stride == 0] + edges[-1:]


def _covered(
    grid: GridFacts, tiles: Collection[Tile], xs: list[int], ys: list[int]
) -> list[list[bool]]:
    """Return, by row and column of the cells between the edges, whether a tile lies there."""
    column_of = {x: number for number, x in enumerate(xs)}
    row_of = {y: number for number, y in enumerate(ys)}
    change = [[0] * len(xs) for _ in ys]
    for row, column in tiles:
        left, top = column * grid.stride, row * grid.stride
        right, bottom = left + grid.tile_size, top + grid.tile_size
        for y, sign in ((row_of[top], 1), (row_of[bottom], -1)):
            change[y][column_of[left]] += sign
            change[y][column_of[right]] -= sign
    columns = [accumulate(column) for column in zip(*change)]
    rows = [list(accumulate(row)) for row in zip(*columns)]
    return [[count > 0 for count in row[:-1]] for row in rows[:-1]]


def _walls(
    covered: list[list[bool]], xs: list[int], ys: list[int], stride: int
) -> Iterator[tuple[Point, Point]]:
    """Yield the ends of upright lines: around what is covered, and inside where tiles begin."""
    for number, x in enumerate(xs):
        is_start = x % stride == 0
        first: int | None = None
        for row in range(len(ys)):
            cells = covered[row] if row < len(covered) else [False] * len(xs)
            left = number > 0 and cells[number - 1]
            right = number < len(xs) - 1 and cells[number]
            if left != right or (left and is_start):
                first = row if first is None else first
            elif first is not None:
                yield (x, ys[first]), (x, ys[row])
                first = None


def _thinned(values: list[int]) -> list[int]:
    step = math.ceil(len(values) / MOST_LINES)
    return values if step == 1 else [*values[:-1:step], values[-1]]


def _line(grid: GridFacts, first: Point, last: Point, segments: int) -> list[Point]:
    (x, y), (u, v) = first, last
    shares = [number / segments for number in range(segments + 1)]
    return [_placed(grid.transform, (x + (u - x) * share, y + (v - y) * share)) for share in shares]
