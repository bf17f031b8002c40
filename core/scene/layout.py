"""Where the tile grid is laid: on the pixels of Sentinel-2, or in metres of our own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from affine import Affine

from ..contract.errors import CrsError, SourceError
from .geometry import Geometry, apply, crs_name, metric_crs
from .grid import TileGrid

# A relative difference of pixel sizes below this is rounding.
SAME_SIZE = 1e-6
# Beyond this many times the ground resolution, upsampling would invent the picture.
MAX_COARSER = 3.0
# Below this part of it the averaging of pixels would take longer than the model.
MAX_FINER = 50.0
# Pixels; 5,000 km at 10 m: parts that far apart are no scene.
_MAX_SIDE = 500_000


def lay_grid(
    parts: Sequence[Geometry],
    tile_size: int,
    resolution: float,
    stride: int | None,
    *,
    any_pixel_size: bool = False,
) -> TileGrid:
    """Return the grid of a scene at ``resolution`` metres; it covers all ``parts``.

    Where the first raster's pixels have that size already, the grid is that raster's own,
    exactly; its CRS is kept where it has metres. In degrees, or where the metres are far from
    those on the ground, the grid is laid in the UTM zone (or UPS) of its middle, at multiples
    of the resolution. Raises CrsError for a CRS that can hold none, SourceError for pixels that
    cannot serve.
    """
    first = parts[0]
    _check_crs(first)
    _check_pixels(parts, resolution, any_pixel_size)
    if needs_metric(first):
        whole = _metric(parts, resolution)
    else:
        whole = _extended(_at_resolution(first.upright(), resolution), parts[1:])
    if max(whole.width, whole.height) > _MAX_SIDE:
        raise SourceError(
            f"The Sentinel-2 rasters lie {max(whole.width, whole.height)} pixels apart: choose "
            "rasters of one area."
        )
    return TileGrid(whole, tile_size, tile_size if stride is None else stride)


def needs_metric(geometry: Geometry) -> bool:
    """Return whether the grid of a raster is laid in another CRS than its own."""
    return geometry.crs.is_geographic or geometry.is_distorted


def _at_resolution(geometry: Geometry, resolution: float) -> Geometry:
    size = resolution / geometry.metres_per_unit
    x, y = geometry.pixel_size
    if abs(x / size - 1) > SAME_SIZE or abs(y / size - 1) > SAME_SIZE:
        return _resized(geometry, size / x, size / y)
    return geometry


def _resized(geometry: Geometry, x: float, y: float) -> Geometry:
    t = geometry.transform
    transform = Affine(t.a * x, t.b * y, t.c, t.d * x, t.e * y, t.f)
    width = math.ceil(geometry.width / x - SAME_SIZE * geometry.width)
    height = math.ceil(geometry.height / y - SAME_SIZE * geometry.height)
    return Geometry(geometry.crs, transform, max(width, 1), max(height, 1))


def _extended(base: Geometry, others: Sequence[Geometry]) -> Geometry:
    """Return the base's lattice of pixels, as large as the others need."""
    left, top, right, bottom = 0, 0, base.width, base.height
    for other in others:
        points = shapely.get_coordinates(other.footprint(base.crs))
        cols, rows = apply(~base.transform, points[:, 0], points[:, 1])
        # A corner that is off by rounding asks for no further pixel.
        left = min(left, math.floor(cols.min() + 0.01))
        top = min(top, math.floor(rows.min() + 0.01))
        right = max(right, math.ceil(cols.max() - 0.01))
        bottom = max(bottom, math.ceil(rows.max() - 0.01))
    x, y = apply(base.transform, left, top)
    t = base.transform
    moved = Affine(t.a, t.b, x, t.d, t.e, y) if (left, top) != (0, 0) else t
    return Geometry(base.crs, moved, right - left, bottom - top)


def _metric(parts: Sequence[Geometry], resolution: float) -> Geometry:
    crs = metric_crs(*parts[0].centre)
    bounds = np.array([part.footprint(crs).bounds for part in parts])
    west, south = bounds[:, :2].min(axis=0)
    east, north = bounds[:, 2:].max(axis=0)
    left, top = math.floor(west / resolution), math.ceil(north / resolution)
    width = max(1, math.ceil(east / resolution) - left)
    height = max(1, top - math.floor(south / resolution))
    corner = left * resolution, top * resolution
    transform = Affine(resolution, 0.0, corner[0], 0.0, -resolution, corner[1])
    return Geometry(crs, transform, width, height)


def _check_crs(geometry: Geometry) -> None:
    if not (geometry.crs.is_projected or geometry.crs.is_geographic):
        raise CrsError(
            f"The coordinate system '{crs_name(geometry.crs)}' of Sentinel-2 is not a map "
            "projection. Assign the right CRS to the layer, or reproject the raster to UTM.",
        )


def _check_pixels(parts: Sequence[Geometry], resolution: float, any_size: bool) -> None:
    t = parts[0].transform
    x, y = parts[0].pixel_size
    if abs(t.a * t.b + t.d * t.e) > 1e-6 * x * y:
        raise SourceError(
            "The pixels of Sentinel-2 are not rectangles (sheared geotransform). Warp the raster "
            "to its UTM zone first (in QGIS: Raster > Projections > Warp)."
        )
    for part in parts:
        size = part.pixel_size_m
        if size > MAX_COARSER * resolution and not any_size:
            raise _too_far(size, resolution, "it would see a blur. Choose the full-resolution")
        if size < resolution / MAX_FINER and not any_size:
            raise _too_far(size, resolution, "that is no Sentinel-2 picture. Choose the original")


def _too_far(size: float, resolution: float, why: str) -> SourceError:
    return SourceError(
        f"The finest Sentinel-2 band has pixels of {size:.4g} m, the model works at "
        f"{resolution:g} m: {why} raster, or insist (--any-pixel-size; in QGIS 'Any pixel size').",
        pixel_size_m=size,
        decision="any_pixel_size",
    )
