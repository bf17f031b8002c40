"""Which rows and columns of a tile grid an area can reach at all: the rest is not looked at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from .areas import Area
from .geometry import Geometry

# Cells along each side by which an area in another CRS is looked for.
_CELLS = 48
# Share of a cell's longer side that its edges may bulge in another CRS.
_BULGE = 0.5
# Nearer to a pole the box around a cell's corners need not hold the cell.
_NO_POLE = 85.0


class Lattice(Protocol):
    """What a tile grid tells of its centres."""

    @property
    def geometry(self) -> Geometry:
        """Where it lies."""

    @property
    def rows(self) -> int:
        """Rows of tiles."""

    @property
    def columns(self) -> int:
        """Tiles in a row."""

    def centres(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (x, y) of tile centres."""


Ends = tuple[int, int]


def candidates(grid: Lattice, areas: Iterable[Area]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns outside of which no tile centre lies in all areas."""
    rows, cols = (0, grid.rows - 1), (0, grid.columns - 1)
    for area in areas:
        if area.shape.is_empty:
            return np.arange(0), np.arange(0)
        # What is left is looked at anew, in finer cells, while that helps.
        while True:
            before = _count(rows) * _count(cols)
            rows, cols = _narrowed(grid, area, rows, cols)
            if _count(rows) * _count(cols) > before / 2 or before <= _CELLS**2:
                break
    return np.arange(rows[0], rows[1] + 1), np.arange(cols[0], cols[1] + 1)


def _narrowed(grid: Lattice, area: Area, rows: Ends, cols: Ends) -> tuple[Ends, Ends]:
    """Return the rows and columns of the cells that the box around an area may touch."""
    if not (_count(rows) and _count(cols)):
        return (0, -1), (0, -1)
    row, col = _marks(rows), _marks(cols)
    x, y = area.places(*_points(grid, row, col), grid.geometry.crs)
    cells = _boxes(x.reshape(len(row), len(col)), y.reshape(len(row), len(col)))
    low_x, low_y, high_x, high_y = cells
    west, south, east, north = area.shape.bounds
    apart = (high_x < west) | (low_x > east) | (high_y < south) | (low_y > north)
    if area.crs.is_geographic:
        apart &= (np.abs(low_y) < _NO_POLE) & (np.abs(high_y) < _NO_POLE)
    # What has no image is not apart: comparisons with NaN are false.
    at_row, at_col = np.nonzero(~apart)
    if not len(at_row):
        return (0, -1), (0, -1)
    return (
        (int(row[at_row.min()]), int(row[at_row.max() + 1])),
        (int(col[at_col.min()]), int(col[at_col.max() + 1])),
    )


def _points(grid: Lattice, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row, col = np.meshgrid(rows, cols, indexing="ij")
    return grid.centres(row.ravel(), col.ravel())


def _marks(ends: Ends) -> np.ndarray:
    """Return the rows or columns that bound the cells, at least two."""
    marks = np.linspace(*ends, min(_count(ends), _CELLS) + 1).round().astype(int)
    found = np.unique(marks)
    return found if len(found) > 1 else np.repeat(found, 2)


def _boxes(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the box (west, south, east, north) around each cell of a lattice of corners."""
    xs, ys = (
        np.stack([axis[:-1, :-1], axis[:-1, 1:], axis[1:, :-1], axis[1:, 1:]]) for axis in (x, y)
    )
    low_x, high_x, low_y, high_y = xs.min(0), xs.max(0), ys.min(0), ys.max(0)
    with np.errstate(invalid="ignore"):
        margin = np.maximum(high_x - low_x, high_y - low_y) * _BULGE
        return low_x - margin, low_y - margin, high_x + margin, high_y + margin


def _count(ends: Ends) -> int:
    return max(ends[1] - ends[0] + 1, 0)
