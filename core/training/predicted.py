"""A result of ``classify`` as it is compared with a reference: tiles, decisions, probabilities."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from affine import Affine

from ..contract.errors import JobError, MultimodalError, SourceError
from ..contract.result import LAYER, OK, RUN_TABLE, probability_field
from ..contract.spec import ModelSpec, spec_from_dict
from ..scene.geometry import Geometry
from ..scene.grid import TileGrid
from .figures import decided
from .vectors import VectorLayer, read_vectors

# Rounding of corners, in pixels.
_SLACK = 0.05


@dataclass(frozen=True)
class Predicted:
    """The classified tiles of a result.

    ``places`` is int32 (N, 2), row and column of first pixels in ``grid``, which is laid around
    the tiles; ``found`` probabilities (N, classes), ``passed`` bool (N, classes).
    """

    path: str
    spec: ModelSpec
    grid: TileGrid
    places: np.ndarray
    found: np.ndarray
    passed: np.ndarray


def read_predictions(path: str) -> Predicted:
    """Read the tiles with status ``ok`` of a GeoPackage that ``classify`` wrote.

    Raises:
        SourceError: it cannot be read; JobError: it is no result, or has no classified tile.
    """
    spec = _spec_of(path)
    layer = read_vectors(path, LAYER, polygons=True)
    good = np.array([status == OK for status in layer.columns["status"]])
    if not good.any():
        raise JobError(f"'{path}' has no classified tile: finish the run first.")
    names = [probability_field(item.slug) for item in spec.classes]
    missing = [name for name in names if name not in layer.columns]
    if missing:
        raise JobError(f"'{path}' has no field '{missing[0]}': restore the result as it was.")
    found = np.column_stack([layer.columns[name].astype(float)[good] for name in names])
    grid, places = _laid(layer, good, spec)
    multi = spec.task == "multilabel"
    return Predicted(
        path, spec, grid, places, found, decided(found, np.array(spec.thresholds), multi)
    )


def _spec_of(path: str) -> ModelSpec:
    if not os.path.isfile(path):
        raise SourceError(f"'{path}' is not a file: choose a result of classify.", path=path)
    try:
        with closing(
            sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
        ) as base:
            (text,) = base.execute(f"SELECT spec FROM {RUN_TABLE}").fetchone()
        return spec_from_dict(json.loads(text))
    except (sqlite3.Error, TypeError, ValueError, MultimodalError) as problem:
        raise JobError(
            f"'{path}' is no result of classify ({problem}): choose the GeoPackage that it wrote."
        ) from problem


def _laid(layer: VectorLayer, good: np.ndarray, spec: ModelSpec) -> tuple[TileGrid, np.ndarray]:
    """Return a grid of pixels around the tiles, and where each begins."""
    bounds = shapely.bounds(layer.shapes)
    pixel = float(np.median(bounds[:, 2] - bounds[:, 0])) / spec.tile_size
    left, top = float(bounds[:, 0].min()), float(bounds[:, 3].max())
    cols, rows = (bounds[:, 0] - left) / pixel, (top - bounds[:, 3]) / pixel
    places = np.column_stack([rows, cols])[good]
    sides = (bounds[:, 2:] - bounds[:, :2])[good] / pixel
    is_square = np.allclose(shapely.area(layer.shapes[good]) / pixel**2, sides.prod(axis=1))
    if not (is_square and np.abs(sides - spec.tile_size).max() < _SLACK
            and np.abs(places - places.round()).max() < _SLACK):  # fmt: skip
        raise JobError(
            f"The tiles of '{layer.name}' are no lattice of north-up squares: they were edited, "
            "or the scene is turned. Warp Sentinel-2 to UTM and classify again."
        )
    places = places.round().astype(np.int32)
    size = spec.tile_size
    height, width = (int(n) + size for n in places.max(axis=0))
    geometry = Geometry(layer.crs, Affine(pixel, 0, left, 0, -pixel, top), width, height)
    return TileGrid(geometry, size, 1), places
