"""The tested tiles as a GeoPackage: what they are, what was decided, and how sure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS

from ..contract.classes import slugify
from ..contract.errors import RuntimeMissingError
from ..scene.geometry import apply, project
from ..scene.grid import TileGrid
from .vectors import load_pyogrio

TABLE_FILE = "tested_tiles.gpkg"
LAYER = "tested_tiles"
_WGS84 = CRS.from_epsg(4326)


def write_table(
    path: Path, rows: Sequence[Mapping[str, Any]], outlines: Sequence[Any], classes: Sequence[str]
) -> str | None:
    """Write the layer and return its name; None where nothing was tested, or without pyogrio.

    Args:
        path: of the GeoPackage.
        rows: tested tiles as of :func:`multimodal.training.report.errors_part`.
        outlines: their polygons in longitude and latitude.
        classes: their names.
    """
    try:
        pyogrio = load_pyogrio()
    except RuntimeMissingError:
        return None  # class rasters need it not
    if not rows:
        return None
    slugs = slugify(classes)
    columns: dict[str, np.ndarray] = {
        "truth": _texts("; ".join(row["truth"]) for row in rows),
        "decided": _texts("; ".join(row["decided"]) for row in rows),
        "wrong": np.array([row["wrong"] for row in rows], dtype=np.int32),
        "scene": np.array([row["scene"] for row in rows], dtype=np.int32),
        "fold": np.array([row["fold"] for row in rows], dtype=np.int32),
    }
    for n, slug in enumerate(slugs):
        columns[f"p_{slug}"] = np.array([row["p"][n] for row in rows])
    pyogrio.raw.write(
        os.fspath(path), np.array([shapely.to_wkb(shape) for shape in outlines], dtype=object),
        list(columns.values()), list(columns), crs="EPSG:4326", geometry_type="Polygon",
        layer=LAYER, driver="GPKG",
    )  # fmt: skip
    return TABLE_FILE


def outline(grid: TileGrid, row: int, col: int) -> Any:
    """Return the polygon of a tile in longitude and latitude, by its first pixel."""
    size = grid.tile_size
    cols = np.array([col, col + size, col + size, col], dtype=float)
    rows = np.array([row + size, row + size, row, row], dtype=float)
    return shapely.Polygon(
        np.column_stack(project(*apply(grid.transform, cols, rows), grid.geometry.crs, _WGS84))
    )


def _texts(values: Any) -> np.ndarray:
    return np.array(list(values), dtype=object)
