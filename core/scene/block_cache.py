"""How much of a scene GDAL keeps unpacked, and how wide a strip that allows to read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..memory import free_memory
from .grid import TileGrid
from .pixels import BLOCK_CACHE
from .warp import Stack

# What is kept where that spares unpacking blocks again: a Sentinel-2 tile with Sentinel-1 needs
# 460 MB as JPEG 2000 of 1,024 px, 400 MB as GeoTIFF of 512 px.
LARGE_CACHE = 512 * 2**20
# Of the free memory at most this part goes into the larger cache.
_SHARE = 4


def cache_bytes(stacks: Iterable[Stack], grid: TileGrid) -> int:
    """Return the size of the block cache for reading a scene row by row.

    Two rows of blocks of the whole scene where they fit into :data:`LARGE_CACHE`: a row of tiles
    may lie on both. A wider scene is read in panels, with the usual cache.
    """
    needed = int(1.1 * _per_column(stacks, grid) * (grid.width + grid.tile_size))
    free = free_memory()
    fits = needed <= LARGE_CACHE and (free is None or needed * _SHARE <= free)
    return max(BLOCK_CACHE, needed) if fits else BLOCK_CACHE


def panel_width(stacks: Iterable[Stack], grid: TileGrid, cache: int, least: int) -> int:
    """Return how many grid pixels of two rows of blocks fit into a cache, ``least`` at least."""
    per_column = _per_column(stacks, grid)
    whole = grid.width + grid.tile_size
    return whole if per_column * whole <= cache else max(least, int(cache / per_column))


def _per_column(stacks: Iterable[Stack], grid: TileGrid) -> float:
    """Return the bytes that a column of grid pixels has in two rows of blocks."""
    total = 0.0
    for stack in stacks:
        pixels = grid.geometry.pixel_size_m / stack.geometry.pixel_size_m
        for band in stack.bands:
            rows, columns = band.block
            # A strip as wide as the raster is decoded whole whatever the panel: no gain.
            if columns < stack.geometry.width:
                total += 2 * rows * pixels * np.dtype(band.dtype).itemsize
    return total
