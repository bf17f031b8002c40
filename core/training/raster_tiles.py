"""From a class raster to labelled tiles: by the share of a tile that each class covers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from ..contract.errors import CrsError, JobError, SourceError
from ..scene.grid import TileGrid
from ..scene.special import check_openable
from .claims import ABSENT, PRESENT, UNKNOWN
from .class_table import ClassTable, check_spelling
from .tile_labels import TileLabels

DEFAULT_SHARE_ONE = 0.5
DEFAULT_SHARE_SEVERAL = 0.05
# A class raster has few values; what has more is a picture.
_MOST_VALUES = 500
_OPAQUE = 255
Shares = Mapping[int, float]


def tiles_of_raster(
    path: str,
    table: ClassTable,
    grid: TileGrid,
    *,
    multi: bool,
    min_share: float | None = None,
    places: np.ndarray | None = None,
) -> tuple[TileLabels, dict[str, str]]:
    """Return every whole tile of the scene's lattice that tells something, and colours by class.

    One class a tile is the one that covers ``min_share`` of it (half). Of several, each that
    covers ``min_share`` (5 %) is present; it is absent where even the pixels that are not known
    could not make it so.

    Args:
        path: a raster of whole numbers; its first band is read, nearest neighbour.
        table: what its values are called; values that it does not list are not known. Without
            one each value is a class.
        grid: of the scene; tiles are laid edge to edge from its corner.
        multi: several classes a tile.
        min_share: 0-1.
        places: row and column of the first pixels (N, 2) of the tiles to look at instead.

    Raises:
        SourceError: no raster; CrsError: without CRS; JobError: no whole numbers, no class.
    """
    starts = _lattice(grid) if places is None else list(map(tuple, places.tolist()))
    with _warped(path, grid) as (raster, colors):
        shares = [_shares(raster, row, col, grid.tile_size, path) for row, col in starts]
    values = sorted({value for tile in shares for value in tile})
    names = {value: name for value in values if (name := table.name(str(value))) is not None}
    check_spelling(names.values())
    classes = table.ordered(names.values())
    least = min_share if min_share is not None else (
        DEFAULT_SHARE_SEVERAL if multi else DEFAULT_SHARE_ONE
    )  # fmt: skip
    if not classes:
        raise JobError(
            f"'{Path(path).name}' has no value in the scene"
            f"{' that the class table names' if table.names else ''}: choose a raster of this "
            "area, or check the table."
        )
    found = _found(shares, names, classes)
    rows = [_several(row, least) if multi else _one(row, least) for row in found]
    there = [number for number, row in enumerate(rows) if row is not None]
    labels = TileLabels(
        classes, multi, np.array([starts[n] for n in there], dtype=np.int32).reshape(-1, 2),
        np.array([rows[n] for n in there], dtype=np.int8).reshape(-1, len(classes)),
        outside=sum(not tile for tile in shares),
        mixed=sum(bool((row >= DEFAULT_SHARE_SEVERAL).sum() > 1) for row in found),
        dropped=sum(bool(tile) and row is None for tile, row in zip(shares, rows, strict=True)),
    )  # fmt: skip
    return labels, {name: colors[value] for value, name in names.items() if value in colors}


def _lattice(grid: TileGrid) -> list[tuple[int, int]]:
    """Return the first pixels of all whole tiles, edge to edge."""
    size = grid.tile_size
    return [
        (row, col)
        for row in range(0, grid.height - size + 1, size)
        for col in range(0, grid.width - size + 1, size)
    ]


@contextmanager
def _warped(path: str, grid: TileGrid) -> Iterator[tuple[WarpedVRT, dict[int, str]]]:
    """Open a raster on the pixels of a grid, with the colours of its values."""
    check_openable(path)
    try:
        with rasterio.open(path) as dataset:
            if dataset.crs is None:
                raise CrsError(
                    f"'{path}' has no coordinate system: assign the right one and save it.",
                    path=path,
                )
            options: dict[str, Any] = {"add_alpha": True} if dataset.nodata is None else {}
            with WarpedVRT(
                dataset, crs=grid.geometry.crs, transform=grid.transform, width=grid.width,
                height=grid.height, resampling=Resampling.nearest, **options,
            ) as raster:  # fmt: skip
                yield raster, _colors(dataset)
    except RasterioError as problem:
        raise SourceError(
            f"'{path}' cannot be read as a class raster ({problem}): choose a raster of whole "
            "numbers, or a GeoPackage, GeoJSON or Shapefile.",
            path=path,
        ) from problem


def _colors(dataset: Any) -> dict[int, str]:
    if dataset.colorinterp[0] != ColorInterp.palette:
        return {}
    entries = dataset.colormap(1).items()
    return {value: f"#{red:02x}{green:02x}{blue:02x}" for value, (red, green, blue, _) in entries}


def _shares(raster: WarpedVRT, row: int, col: int, size: int, path: str) -> dict[int, float]:
    """Return the share of a tile that each value covers."""
    window = Window(col, row, size, size)
    values = raster.read(1, window=window)
    if raster.nodata is None:
        known = raster.read(raster.count, window=window) == _OPAQUE
    else:
        known = values != raster.nodata
    values = values[known]
    if values.dtype.kind == "f" and not (values == np.round(values)).all():
        raise JobError(
            f"'{Path(path).name}' holds numbers that are not whole: a class raster has one value "
            "for each class."
        )
    found, pixels = np.unique(values, return_counts=True)
    if len(found) > _MOST_VALUES:
        raise JobError(
            f"'{Path(path).name}' has more than {_MOST_VALUES} values in a tile: that is a "
            "picture, not a class raster."
        )
    return {int(value): count / size**2 for value, count in zip(found, pixels, strict=True)}


def _found(
    shares: list[dict[int, float]], names: Mapping[int, str], classes: tuple[str, ...]
) -> np.ndarray:
    """Return shares (tiles, classes); values of one name are added up."""
    place = {name: number for number, name in enumerate(classes)}
    found = np.zeros((len(shares), len(classes)))
    for row, tile in zip(found, shares, strict=True):
        for value, share in tile.items():
            if value in names:
                row[place[names[value]]] += share
    return found


def _one(shares: np.ndarray, least: float) -> np.ndarray | None:
    number = int(np.argmax(shares))
    if shares[number] < least or (shares == shares[number]).sum() > 1:
        return None
    row = np.full(len(shares), ABSENT, dtype=np.int8)
    row[number] = PRESENT
    return row


def _several(shares: np.ndarray, least: float) -> np.ndarray | None:
    unknown = max(0.0, 1.0 - float(shares.sum()))
    present = (shares >= least) & (shares > 0)
    absent = shares + unknown < max(least, np.finfo(float).eps)
    row = np.where(present, PRESENT, np.where(absent, ABSENT, UNKNOWN)).astype(np.int8)
    return None if (row == UNKNOWN).all() else row
