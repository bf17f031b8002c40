"""Where a raster lies: CRS, transform or control points, size, footprint, what two share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import shapely
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import GCPTransformer
from rasterio.warp import transform as transform_points

from ..contract.errors import CrsError

_METRES_PER_DEGREE = 111_320.0
_WGS84 = CRS.from_epsg(4326)
# Points an edge: a straight edge is a curve in another projection.
_EDGE_POINTS = 21
# UTM stays within 0.1 %; Web Mercator is off by half at 48 degrees.
MAX_DISTORTION = 0.05
# Metres, feet or degrees: what is farther from the origin lies in no CRS.
_FARTHEST = 1e10
_POLE = 90.0
# Beyond these latitudes there is no UTM, but Universal Polar Stereographic.
_UPS_NORTH, _UPS_SOUTH = 84.0, -80.0


@dataclass(frozen=True)
class Geometry:
    """A raster's place on Earth; ``transform`` maps (column, row) of pixel corners to (x, y).

    Where the raster is placed by control points alone, ``gcps`` holds (row, column, x, y) of
    each, and ``transform`` only comes near.
    """

    crs: CRS
    transform: Affine
    width: int
    height: int
    gcps: tuple[tuple[float, float, float, float], ...] = ()

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
        """Side of a pixel in metres (geometric mean of the two), true where the CRS is far off."""
        size = math.sqrt(math.prod(self.pixel_size)) * self.metres_per_unit
        return size * self.ground_scale if self.is_distorted else size

    @property
    def is_distorted(self) -> bool:
        """Whether a metre of the CRS is something else on the ground here."""
        return abs(self.ground_scale - 1) > MAX_DISTORTION

    @cached_property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude of the middle; CrsError where it has none."""
        lon, lat = self._middle
        if not self.is_on_earth:
            raise CrsError(
                f"The middle of a raster in {crs_name(self.crs)} lies nowhere on Earth. Check its "
                "CRS and its position."
            )
        return lon, lat

    @property
    def is_on_earth(self) -> bool:
        """Whether the middle has a longitude and a latitude."""
        lon, lat = self._middle
        return math.isfinite(lon) and abs(lat) <= _POLE

    @cached_property
    def _middle(self) -> tuple[float, float]:
        x, y = apply(self.transform, self.width / 2, self.height / 2)
        lon, lat = project(np.array([x]), np.array([y]), self.crs, _WGS84)
        return float(lon[0]), float(lat[0])

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
        return _footprint(self, crs)

    def _footprint(self, crs: CRS | None) -> shapely.Polygon:
        xs, ys = self._outline()
        if crs is not None and crs != self.crs:
            xs, ys = project(xs, ys, self.crs, crs)
        finite = np.isfinite(xs) & np.isfinite(ys)
        if finite.sum() < 3:
            raise CrsError(
                f"A raster in {crs_name(self.crs)} lies outside the area where the other raster's "
                f"coordinate system ({crs_name(crs or self.crs)}) is defined. Check the CRS of "
                "both layers.",
            )
        return shapely.make_valid(shapely.Polygon(np.column_stack([xs[finite], ys[finite]])))

    def in_words(self) -> str:
        """Return the extent in longitude and latitude, as a person would say it."""
        west, south, east, north = self.footprint(_WGS84).bounds
        return (
            f"longitude {west:.3f} to {east:.3f}, latitude {south:.3f} to {north:.3f} "
            f"({crs_name(self.crs)})"
        )

    @cached_property
    def ground_scale(self) -> float:
        """True metres in a metre of the CRS in the middle of the raster (1 in UTM)."""
        x, y = apply(self.transform, self.width / 2, self.height / 2)
        step = 100.0 / self.metres_per_unit
        xs, ys = np.array([x, x + step, x]), np.array([y, y, y + step])
        lon, lat = project(xs, ys, self.crs, _WGS84)
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            return 1.0
        east = (lon[1:] - lon[0]) * math.cos(math.radians(lat[0]))
        lengths = np.hypot(east, lat[1:] - lat[0]) * _METRES_PER_DEGREE / 100.0
        scale = math.sqrt(math.prod(lengths.tolist()))
        # A step over the antimeridian.
        return scale if scale < 100 else 1.0

    def pixels_of(self, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (columns, rows) of points in the raster's CRS."""
        if self.crs.is_geographic:
            # 181 degrees east is 179 west: take the one that lies at the raster.
            middle = apply(self.transform, self.width / 2, self.height / 2)[0]
            xs = xs + 360.0 * np.round((middle - xs) / 360.0)
        if not self.gcps:
            cols, rows = apply(~self.transform, xs, ys)
            return cols, rows
        with GCPTransformer(self.control_points(), tps=True) as exact:
            rows, cols = exact.rowcol(xs.tolist(), ys.tolist(), op=float)
        return np.asarray(cols, dtype=float), np.asarray(rows, dtype=float)

    def control_points(self, row: int = 0, col: int = 0) -> list[GroundControlPoint]:
        """Return the control points of the part of the raster that begins at (row, col)."""
        return [GroundControlPoint(r - row, c - col, x, y) for r, c, x, y in self.gcps]

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
        if not self.gcps:
            xs, ys = apply(self.transform, cols, rows)
            return xs, ys
        with GCPTransformer(self.control_points(), tps=True) as exact:
            xs, ys = exact.xy(rows.tolist(), cols.tolist(), offset="ul")
        return np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)


@lru_cache(maxsize=4096)
def _footprint(geometry: Geometry, crs: CRS | None) -> shapely.Polygon:
    """Asked again and again while the parts of a mosaic are told apart."""
    return geometry._footprint(crs)


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
    # PROJ turns a longitude of 1e15 round and round, for ever.
    sane = (np.abs(xs) < _FARTHEST) & (np.abs(ys) < _FARTHEST)
    if not sane.all():
        moved = np.full((2, len(xs)), np.nan)
        if sane.any():
            moved[:, sane] = project(xs[sane], ys[sane], source, target)
        return moved[0], moved[1]
    return _project(xs, ys, source, target)


def _project(
    xs: np.ndarray, ys: np.ndarray, source: CRS, target: CRS
) -> tuple[np.ndarray, np.ndarray]:
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
        parts = [_project(xs[half], ys[half], source, target) for half in halves]
        return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
    return np.asarray(moved[0], dtype=float), np.asarray(moved[1], dtype=float)


def shared(first: Geometry, second: Geometry) -> tuple[float, float]:
    """Return what two rasters share: part of the smaller one, and part of both together."""
    # In degrees a raster over the antimeridian would have two ends.
    crs = metric_crs(*first.centre) if first.crs.is_geographic else first.crs
    a, b = first.footprint(crs), second.footprint(crs)
    common = a.intersection(b).area
    together = a.area + b.area - common
    return common / max(min(a.area, b.area), 1e-30), common / max(together, 1e-30)


def metric_crs(longitude: float, latitude: float) -> CRS:
    """Return the UTM zone of a place, or Universal Polar Stereographic near the poles."""
    if latitude >= _UPS_NORTH:
        return CRS.from_epsg(5041)
    if latitude < _UPS_SOUTH:
        return CRS.from_epsg(5042)
    zone = int((longitude + 180.0) % 360.0 // 6) + 1
    return CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)


def crs_name(crs: CRS) -> str:
    """Return ``EPSG:32633`` where the CRS has a code, else the name in its WKT."""
    authority = crs.to_authority()
    if authority:
        return ":".join(authority)
    parts = crs.to_wkt().split('"')
    return parts[1] if len(parts) > 1 else "an unnamed CRS"
