"""A scene shared out among reading threads, so that hardly a block is unpacked by two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from .blocks import huge_blocks
from .grid import Tile
from .reader import ReadPlan

# Fewer tiles than this are read before another thread has opened its files.
LEAST_TILES = 64
# Columns or rows of tiles; blocks on an edge between two shares are unpacked twice.
_LEAST_LINES = 8


def shares(plan: ReadPlan, tiles: Sequence[Tile], most: int) -> list[list[Tile]]:
    """Return tiles in ``most`` parts or fewer, each for a thread with files of its own.

    Vertical panels of about as many tiles each: together they keep two rows of blocks, as one
    thread does. Rasters stored in strips as wide as they are are shared out by rows, those in
    huge blocks not at all.
    """
    count = min(most, len(tiles) // LEAST_TILES)
    if count < 2 or huge_blocks(plan.bands):
        return [list(tiles)]
    if any(b.block[1] >= b.geometry.width for b in plan.bands):
        return _shared(tiles, count, lambda tile: tile.row)
    return _shared(tiles, count, lambda tile: tile.col)


def _shared(tiles: Sequence[Tile], count: int, line_of: Callable[[Tile], int]) -> list[list[Tile]]:
    """Cut tiles between two lines (rows or columns), near to where each part would end."""
    lines = [list(found) for _, found in groupby(sorted(tiles, key=line_of), key=line_of)]
    count = max(1, min(count, len(lines) // _LEAST_LINES))
    ends = np.cumsum([len(line) for line in lines])
    cuts = np.searchsorted(ends, len(tiles) * np.arange(1, count) / count) + 1
    parts = (lines[a:b] for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True))
    return [sorted(tile for line in part for tile in line) for part in parts if part]
