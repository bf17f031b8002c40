"""Where labelled tiles lie: centred on a label, on whole pixels of the scene's grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from affine import Affine
from rasterio.crs import CRS

from ..contract.errors import JobError
from ..scene.geometry import apply, project
from ..scene.grid import TileGrid

# A polygon larger than a tile gets further ones beside that of its centre, where it covers
# at least so much of them.
_FURTHER_SHARE = 0.5
_MOST_A_SHAPE = 10_000


@dataclass(frozen=True)
class Frame:
    """The pixels of a scene that whole tiles of ``size`` pixels are cut from."""

    width: int
    height: int
    size: int

    @property
    def outline(self) -> Any:
        """The scene as a polygon in pixels."""
        return shapely.box(0, 0, self.width, self.height)

    def tile_at(self, x: float, y: float) -> tuple[int, int]:
        """Return (row, column) of the first pixel of the tile around a point, moved inside."""
        half = self.size / 2
        row = min(max(round(y - half), 0), max(self.height - self.size, 0))
        return row, min(max(round(x - half), 0), max(self.width - self.size, 0))

    def box(self, tile: tuple[int, int]) -> Any:
        """Return a tile as a polygon in pixels."""
        row, col = tile
        return shapely.box(col, row, col + self.size, row + self.size)

    def is_centred(self, tile: tuple[int, int], x: float, y: float) -> bool:
        """Tell whether a tile was not moved, to a pixel."""
        half = self.size / 2
        return max(abs(tile[1] + half - x), abs(tile[0] + half - y)) <= 1


@dataclass
class Places:
    """Tiles by position, each with the numbers of the shapes that it was laid for."""

    tiles: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    outside: list[int] = field(default_factory=list)
    moved: int = 0


def frame_of(grid: TileGrid) -> Frame:
    """Return the pixels of a grid."""
    return Frame(grid.width, grid.height, grid.tile_size)


def to_pixels(shapes: np.ndarray, crs: CRS, grid: TileGrid) -> np.ndarray:
    """Return shapes of a CRS in pixels (column, row) of a grid; None where they have no image."""
    inverse: Affine = ~grid.transform

    def moved(points: np.ndarray) -> np.ndarray:
        xs, ys = points[:, 0], points[:, 1]
        if crs != grid.geometry.crs:
            xs, ys = project(xs, ys, crs, grid.geometry.crs)
        # Thousandths of a pixel are rounding, and would let neighbours overlap.
        return np.column_stack(apply(inverse, xs, ys)).round(3)

    found = np.empty(len(shapes), dtype=object)
    for number, shape in enumerate(shapes):
        image = shapely.transform(shape, moved)
        there = bool(np.isfinite(shapely.get_coordinates(image)).all())
        found[number] = shapely.make_valid(image) if there else None
    return found


def lay_tiles(shapes: np.ndarray, frame: Frame) -> Places:
    """Return the tiles of shapes in pixels: one around each point and the middle of each polygon.

    A polygon larger than a tile gets more of them, edge to edge with the first. A tile that would
    reach past the scene is moved inside.
    """
    places, scene = Places(), frame.outline
    shapely.prepare(scene)
    for number, shape in enumerate(shapes):
        inside = None if shape is None else shape.intersection(scene)
        if inside is None or inside.is_empty:
            places.outside.append(number)
            continue
        for x, y in _centres(inside, frame.size):
            tile = frame.tile_at(x, y)
            places.moved += not frame.is_centred(tile, x, y)
            owners = places.tiles.setdefault(tile, [])
            if number not in owners:
                owners.append(number)
    return places


def _centres(shape: Any, size: int) -> Iterator[tuple[float, float]]:
    """Yield the (column, row) of tile centres for the part of a shape that lies in the scene."""
    for part in shapely.get_parts(shape):
        if part.geom_type == "Point":
            yield part.x, part.y
        elif part.geom_type == "Polygon":
            yield from _centres_of_polygon(part, size)
        elif shapely.get_num_geometries(part) > 1 or part.geom_type.startswith("Multi"):
            yield from _centres(part, size)  # of a collection, as repairs make them


def _centres_of_polygon(polygon: Any, size: int) -> Iterator[tuple[float, float]]:
    middle = polygon.centroid
    if not polygon.contains(middle):
        middle = polygon.representative_point()
    yield middle.x, middle.y
    west, north, east, south = polygon.bounds
    columns = _steps(west - middle.x, east - middle.x, size)
    rows = _steps(north - middle.y, south - middle.y, size)
    if len(columns) * len(rows) > _MOST_A_SHAPE:
        raise JobError(
            f"One polygon covers more than {_MOST_A_SHAPE} tiles: draw smaller ones where you "
            "know the class, or give a class raster."
        )
    shapely.prepare(polygon)
    for row in rows:
        for col in columns:
            x, y = middle.x + col * size, middle.y + row * size
            box = shapely.box(x - size / 2, y - size / 2, x + size / 2, y + size / 2)
            if (row or col) and polygon.intersection(box).area >= _FURTHER_SHARE * size**2:
                yield x, y


def _steps(low: float, high: float, size: int) -> range:
    return range(int(low // size), int(-(-high // size)) + 1)
