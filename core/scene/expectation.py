"""How many tiles will have enough pixels, from the sample that was read anyway."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rasterio.crs import CRS

from .geometry import project
from .grid import TileGrid
from .sampling import Sample

# Points that are looked up in all, and the fewest along each axis of a tile.
_ALL_POINTS = 400_000
_FEWEST_POINTS = 5
# More tiles than this are counted by an evenly spread choice of them.
_MOST_TILES = 20_000


def expected_valid(
    grid: TileGrid, tile_ids: Sequence[int] | np.ndarray, s2: Sequence[Sample],
    s1: Sequence[Sample], min_valid: float, clouds: Sequence[Sample] = (), max_cloud: float = 1.0,
) -> int:  # fmt: skip
    """Return how many of the tiles are likely to be classified.

    Args:
        tile_ids: which tiles of the grid, (N,).
        s1: empty where the model needs no radar.
        clouds: shares of cloud instead of valid pixels, for ``max_cloud``.
    """
    if not len(tile_ids):
        return 0
    step = -(-len(tile_ids) // _MOST_TILES)
    chosen = np.asarray(tile_ids[::step])
    rows, cols = np.divmod(chosen, grid.columns)
    x, y = _points(grid, rows, cols)
    enough = np.ones(len(chosen), dtype=bool)
    for samples in (s2, s1):
        if samples:
            share = _share(samples, x, y, grid.geometry.crs).mean(axis=1)
            enough &= (share >= min_valid) & (share > 0)
    if clouds:
        enough &= _share(clouds, x, y, grid.geometry.crs).mean(axis=1) <= max_cloud
    return round(float(enough.mean()) * len(tile_ids))


def _points(grid: TileGrid, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y) of points in each tile, (tiles, points) each."""
    count = math.isqrt(_ALL_POINTS // len(rows))
    count = min(max(count, _FEWEST_POINTS), grid.tile_size)
    inner = (np.arange(count) + 0.5) / count * grid.tile_size
    across, down = (part.ravel() for part in np.meshgrid(inner, inner))
    half = grid.tile_size / 2
    shift_x, shift_y = (across - half) / grid.stride, (down - half) / grid.stride
    return grid.centres(rows[:, None] + shift_y[None, :], cols[:, None] + shift_x[None, :])


def _share(samples: Sequence[Sample], x: np.ndarray, y: np.ndarray, crs: CRS) -> np.ndarray:
    best = np.zeros(x.shape)
    for sample in samples:
        xs, ys = x.ravel(), y.ravel()
        if sample.geometry.crs != crs:
            xs, ys = project(xs, ys, crs, sample.geometry.crs)
        cols, rows = sample.geometry.pixels_of(xs, ys)
        known = np.isfinite(cols) & np.isfinite(rows)
        found = sample.valid_at(np.where(known, cols, -1), np.where(known, rows, -1))
        best = np.maximum(best, found.reshape(x.shape))
    return best
