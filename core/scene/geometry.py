"""Where a raster lies: CRS, transform and size, its footprint and what two of them share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as transform_points

from ..contract.errors import CrsError

_METRES_PER_DEGREE = 111_320.0
_WGS84 = CRS.from_epsg(4326)
# Points an edge: a straight edge is a curve in another projection.
_EDGE_POINTS = 21


@dataclass(frozen=True)
class Geometry:
    """A raster's place on Earth; ``transform`` maps (column, row) of pixel corners to (x, y)."""

    crs: CRS
    transform: Affine
    width: int
    height: int

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Length of a pixel's sides in units of the CRS, along columns and along rows."""
        t = self.transform
        return math.hypot(t.a, t.d), math.hypot(t.b, t.e)

    @cached_property
    def metres_per_unit(self) -> float:
        """Metres in one unit of the CRS; about 111 km for a degree."""
        return _METRES_PER_DEGREE if self.crs.is_geographic else self.crs.linear_units_factor[1]

    @property
    def pixel_size_m(self) -> float:
        """Side of a pixel in metres (geometric mean of the two)."""
        return math.sqrt(math.prod(self.pixel_size)) * self.metres_per_unit

    def upright(self) -> Geometry:
        """Return the same pixels counted from the upper left corner (north-up, not mirrored)."""
        turned = self
        if turned.transform.determinant > 0:
            turned = turned._flipped(1, -1)
        if turned.transform.a < 0 and turned.transform.e > 0:
            turned = turned._flipped(-1, -1)
        return turned

    def footprint(self, crs: CRS | None = None) -> shapely.Polygon:
        """Return the outline in ``crs`` (its own where None); CrsError where it has no image."""
        xs, ys = self._outline()
        if crs is not None and crs != self.crs:
            xs, ys = project(xs, ys, self.crs, crs)
        finite = np.isfinite(xs) & np.isfinite(ys)
        if finite.sum() < 3:
            raise CrsError(
                "A raster lies outside the area where the other raster's coordinate system is "
                "defined. Check the CRS of both layers.",
            )
        return shapely.make_valid(shapely.Polygon(np.column_stack([xs[finite], ys[finite]])))

    def in_words(self) -> str:
        """Return the extent in longitude and latitude, as a person would say it."""
        west, south, east, north = self.footprint(_WGS84).bounds
        return (
            f"longitude {west:.3f} to {east:.3f}, latitude {south:.3f} to {north:.3f} "
            f"({crs_name(self.crs)})"
        )

    def ground_scale(self) -> float:
        """Return true metres per metre of the CRS in the middle of the raster (1 in UTM)."""
        x, y = apply(self.transform, self.width / 2, self.height / 2)
        step = 100.0 / self.metres_per_unit
        lon, lat = project(np.array([x, x + step]), np.array([y, y]), self.crs, _WGS84)
        east = (lon[1] - lon[0]) * math.cos(math.radians(lat[0]))
        return math.hypot(east, lat[1] - lat[0]) * _METRES_PER_DEGREE / 100.0

    def _flipped(self, x: int, y: int) -> Geometry:
        corner = apply(self.transform, self.width if x < 0 else 0, self.height if y < 0 else 0)
        t = self.transform
        turned = Affine(t.a * x, t.b * y, corner[0], t.d * x, t.e * y, corner[1])
        return Geometry(self.crs, turned, self.width, self.height)

    def _outline(self) -> tuple[np.ndarray, np.ndarray]:
        along = np.linspace(0.0, 1.0, _EDGE_POINTS)[:-1]
        zero, one = np.zeros_like(along), np.ones_like(along)
        cols = np.concatenate([along, one, 1 - along, zero]) * self.width
        rows = np.concatenate([zero, along, one, 1 - along]) * self.height
        return apply(self.transform, cols, rows)


def apply(transform: Affine, cols: Any, rows: Any) -> tuple[Any, Any]:
    """Return (x, y) of pixel positions, numbers or arrays."""
    t = transform
    return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f


def combine(outer: Affine, inner: Affine) -> Affine:
    """Return the transform that applies ``inner``, then ``outer``.

    Affine 2 knows only ``*`` and affine 3 deprecates it; this reads the same with both.
    """
    o, i = outer, inner
    x, y = apply(outer, inner.c, inner.f)
    return Affine(
        o.a * i.a + o.b * i.d, o.a * i.b + o.b * i.e, x,
        o.d * i.a + o.e * i.d, o.d * i.b + o.e * i.e, y,
    )  # fmt: skip


def project(
    xs: np.ndarray, ys: np.ndarray, source: CRS, target: CRS
) -> tuple[np.ndarray, np.ndarray]:
    """Return points in another CRS, in the order (x, y); not finite where they have no image."""
    try:
        moved = transform_points(source, target, xs.tolist(), ys.tolist())
    except CRSError as problem:
        raise CrsError(
            f"No transformation from {crs_name(source)} to {crs_name(target)} is known "
            f"({problem}). Reproject one of the rasters first.",
        ) from problem
    except CPLE_BaseError:
        # One point that PROJ refuses takes all others with it.
        if len(xs) == 1:
            return np.array([np.nan]), np.array([np.nan])
        halves = (slice(None, len(xs) // 2), slice(len(xs) // 2, None))
        parts = [project(xs[half], ys[half], source, target) for half in halves]
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
    return np.asarray(moved[0], dtype=float), np.asarray(moved[1], dtype=float)


def covered_share(area: Geometry, by: list[Geometry]) -> float:
    """Return the share of ``area`` that all of ``by`` cover together, 0 to 1."""
    outline = area.footprint()
    common = outline
    for geometry in by:
        common = common.intersection(geometry.footprint(area.crs))
    return float(common.area / outline.area)


def crs_name(crs: CRS) -> str:
    """Return ``EPSG:32633`` where the CRS has a code, else the name in its WKT."""
    authority = crs.to_authority()
    if authority:
        return ":".join(authority)
    parts = crs.to_wkt().split('"')
    return parts[1] if len(parts) > 1 else "an unnamed CRS"
