"""The tile grid: cells of the whole Sentinel-2 scene, numbered once and for all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from ..contract.errors import JobError
from .areas import Area, parse_area
from .candidates import candidates
from .geometry import Geometry, apply

MAX_TILES = 5_000_000
# Centres that are projected in one go: each go costs PROJ a new start.
_TOGETHER = 65_536
Corner = tuple[float, float]


@dataclass(frozen=True, order=True)
class Tile:
    """One cell of the grid; sorts in row-major order."""

    tile_id: int
    row: int
    col: int


@dataclass(frozen=True)
class TileGrid:
    """Tiles of ``tile_size`` pixels every ``stride`` pixels over ``width`` x ``height`` pixels.

    ``transform`` maps (column, row) of the model's pixels to the CRS, from the upper left
    corner of the scene. Tiles exist until the scene is covered: those at the right and lower
    edge reach past it, and what lies outside counts as nodata.
    """

    geometry: Geometry
    tile_size: int
    stride: int

    def __post_init__(self) -> None:
        if self.stride < 1 or self.tile_size < 1:
            raise JobError("Stride and tile size must be at least 1 pixel.")

    @property
    def transform(self) -> Affine:
        """(column, row) of a pixel corner to (x, y)."""
        return self.geometry.transform

    @property
    def crs_wkt(self) -> str:
        """The CRS of every coordinate here."""
        return str(self.geometry.crs.to_wkt())

    @property
    def width(self) -> int:
        """Columns of pixels that the scene has."""
        return self.geometry.width

    @property
    def height(self) -> int:
        """Rows of pixels that the scene has."""
        return self.geometry.height

    @property
    def columns(self) -> int:
        """Tiles in a row of the whole scene."""
        return self._count(self.width)

    @property
    def rows(self) -> int:
        """Rows of tiles of the whole scene."""
        return self._count(self.height)

    def __len__(self) -> int:
        return self.rows * self.columns

    def tile(self, row: int, col: int) -> Tile:
        """Return the tile at a place in the lattice."""
        return Tile(row * self.columns + col, row, col)

    def corners(self, tile: Tile) -> tuple[Corner, Corner, Corner, Corner]:
        """Return lower left, lower right, upper right and upper left corner in the CRS."""
        left, top = tile.col * self.stride, tile.row * self.stride
        right, bottom = left + self.tile_size, top + self.tile_size
        a, b, c, d = (
            apply(self.transform, float(x), float(y))
            for x, y in ((left, bottom), (right, bottom), (right, top), (left, top))
        )
        return a, b, c, d

    def centres(self, rows: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (x, y) of tile centres."""
        half = self.tile_size / 2
        return apply(self.transform, cols * self.stride + half, rows * self.stride + half)

    def select(
        self,
        extent_wkt: str | None = None,
        aoi_wkt: str | None = None,
        area_crs: CRS | None = None,
    ) -> tuple[Tile, ...]:
        """Return the tiles whose centre lies inside both polygons, in row-major order.

        The polygons are WKT in ``area_crs`` (that of the grid where None), or EWKT; None does
        not restrict. May be empty. Raises JobError for what is no polygon, or for too many tiles.
        """
        areas = [
            parse_area(wkt, name, area_crs or self.geometry.crs)
            for wkt, name in ((extent_wkt, "extent"), (aoi_wkt, "area of interest"))
            if wkt is not None
        ]
        return tuple(self._inside(areas))

    def _inside(self, areas: list[Area]) -> Iterator[Tile]:
        rows, cols = candidates(self, areas)
        if len(rows) * len(cols) > MAX_TILES:
            raise JobError(
                f"A stride of {self.stride} pixels gives {len(rows) * len(cols)} tiles here, "
                f"the limit is {MAX_TILES}. Use a larger stride or a smaller extent."
            )
        together = max(1, _TOGETHER // max(len(cols), 1))
        columns = self.columns
        for start in range(0, len(rows), together):
            row, col = (axis.ravel() for axis in np.meshgrid(rows[start : start + together], cols,
                                                             indexing="ij"))  # fmt: skip
            inside = self._held(areas, row, col)
            for r, c in zip(row[inside].tolist(), col[inside].tolist(), strict=True):
                yield Tile(r * columns + c, r, c)

    def _held(self, areas: list[Area], rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Return whether the centres of tiles lie in all areas."""
        x, y = self.centres(rows, cols)
        inside = np.ones(len(x), dtype=bool)
        for area in areas:
            inside[inside] = area.holds(x[inside], y[inside], self.geometry.crs)
        return inside

    def _count(self, pixels: int) -> int:
        reach = max(self.tile_size, self.stride)
        return math.ceil(max(pixels - reach, 0) / self.stride) + 1
