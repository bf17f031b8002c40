"""Spatial blocks: what is near each other is never on both sides of a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .claims import PRESENT
from .extras import load_extra

MOST_FOLDS = 5
DEFAULT_TILES = 5
"""Side of a block in tiles, unless the user says otherwise."""
_METRES_PER_DEGREE = 111_320.0
_EARTH_RADIUS = 6_371_000.0
# Tiles of a grid that touch share no pixel; their centres are rounded to one.
_OVERLAP = 0.98


@dataclass(frozen=True)
class Fold:
    """Positions of the tiles to train on, and of those to test on. No two of them overlap."""

    train: np.ndarray
    test: np.ndarray


def block_numbers(places: np.ndarray, side_m: float) -> np.ndarray:
    """Return a number for each tile, the same for all in one block.

    Blocks are squares of about ``side_m`` metres on the Earth, whatever the scene: the same
    place at two dates, or in two UTM zones, is one block.

    Args:
        places: longitude and latitude (N, 2) of the tiles' centres.
        side_m: metres.
    """
    step = side_m / _METRES_PER_DEGREE
    rows = np.floor(places[:, 1] / step)
    widest = step / np.maximum(np.cos(np.radians((rows + 0.5) * step)), 1e-6)
    cols = np.floor(places[:, 0] / widest)
    _, numbers = np.unique(np.column_stack([rows, cols]), axis=0, return_inverse=True)
    return np.asarray(numbers).reshape(-1)


def make_folds(
    blocks: np.ndarray, says: np.ndarray, places: np.ndarray, tile_m: float,
    most: int = MOST_FOLDS,
) -> list[Fold]:  # fmt: skip
    """Return folds of whole blocks, alike in their classes; none where there is one block.

    A tile that overlaps one that is tested on is not trained on.

    Args:
        blocks: number of each tile's block (N,).
        says: int8 (N, classes), 1 where a class is present.
        places: longitude and latitude (N, 2).
        tile_m: side of a tile in metres.
        most: folds at most.
    """
    numbers = np.unique(blocks)
    count = min(most, len(numbers))
    if count < 2:
        return []
    owner = _spread([(says[blocks == n] == PRESENT).sum(axis=0) for n in numbers], count)
    fold_of = owner[np.searchsorted(numbers, blocks)]
    near = _overlapping(places, tile_m)
    folds = []
    for fold in range(count):
        test = fold_of == fold
        touched = np.zeros(len(blocks), dtype=bool)
        touched[near[test[near[:, 0]], 1]] = True
        folds.append(Fold(np.flatnonzero(~test & ~touched), np.flatnonzero(test)))
    return [fold for fold in folds if len(fold.train) and len(fold.test)]


def _spread(tallies: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Give each block a fold: the fullest blocks first, each where it evens out the classes."""
    totals = np.maximum(np.sum(tallies, axis=0), 1)
    sums = np.zeros((count, len(totals)))
    sizes = np.zeros(count)
    owner = np.zeros(len(tallies), dtype=int)
    # Every fold gets a block before any gets two.
    for turn, number in enumerate(
        np.argsort([-np.sum(t / totals) for t in tallies], kind="stable")
    ):
        choices = np.flatnonzero(sizes == 0) if turn < count else np.arange(count)
        costs = [_unevenness(sums, int(fold), tallies[number], totals) for fold in choices]
        best = int(choices[int(np.argmin(costs))])
        owner[number] = best
        sums[best] += tallies[number]
        sizes[best] += 1
    return owner


def _unevenness(sums: np.ndarray, fold: int, more: np.ndarray, totals: np.ndarray) -> float:
    trial = sums.copy()
    trial[fold] += more
    return float((trial / totals).std(axis=0).sum())


def _overlapping(places: np.ndarray, tile_m: float) -> np.ndarray:
    """Return all pairs (M, 2) of tiles that share ground, in both orders."""
    lon, lat = np.radians(places[:, 0]), np.radians(places[:, 1])
    sphere = _EARTH_RADIUS * np.column_stack(
        [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    )
    tree = load_extra("scipy.spatial").cKDTree(sphere)
    pairs = tree.query_pairs(tile_m * np.sqrt(2), output_type="ndarray")
    first, second = pairs[:, 0], pairs[:, 1]
    turn = (lon[first] - lon[second] + np.pi) % (2 * np.pi) - np.pi
    across = np.abs(turn * np.cos(lat[first])) * _EARTH_RADIUS
    along = np.abs(lat[first] - lat[second]) * _EARTH_RADIUS
    shared = pairs[np.maximum(across, along) < _OVERLAP * tile_m]
    return np.concatenate([shared, shared[:, ::-1]])
