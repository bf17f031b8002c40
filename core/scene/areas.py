"""Areas that restrict a run: WKT, or EWKT where it has a CRS of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from ..contract.errors import JobError
from .geometry import project

_EWKT = re.compile(r"\s*SRID=(\d+);(.*)", re.I | re.S)
_KINDS = ("Polygon", "MultiPolygon", "GeometryCollection")
_TURN = 360.0


@dataclass(frozen=True)
class Area:
    """A valid polygon in its own CRS: one of the whole world has no image in a UTM zone."""

    shape: Any
    crs: CRS

    def __post_init__(self) -> None:
        shapely.prepare(self.shape)

    def holds(self, xs: np.ndarray, ys: np.ndarray, crs: CRS) -> np.ndarray:
        """Return whether each point of ``crs`` lies in the polygon or on its edge."""
        x, y = self.places(xs, ys, crs)
        known = np.isfinite(x) & np.isfinite(y)
        inside = np.zeros(len(x), dtype=bool)
        inside[known] = shapely.intersects_xy(self.shape, x[known], y[known])
        return inside

    def places(self, xs: np.ndarray, ys: np.ndarray, crs: CRS) -> tuple[np.ndarray, np.ndarray]:
        """Return points of ``crs`` in the polygon's, on its side of the antimeridian."""
        if crs != self.crs:
            xs, ys = project(xs, ys, crs, self.crs)
        if self.crs.is_geographic and not self.shape.is_empty:
            west, _, east, _ = self.shape.bounds
            xs = xs + _TURN * np.round(((west + east) / 2 - xs) / _TURN)
        return xs, ys


def parse_area(text: str, name: str, crs: CRS) -> Area:
    """Return a polygon.

    Args:
        text: WKT in ``crs``, or EWKT (``SRID=4326;POLYGON ...``) in the CRS of its EPSG code.
        name: what the polygon is, for the error.
        crs: that of plain WKT.

    Raises:
        JobError: not WKT, not a polygon, or in a CRS that is unknown.
    """
    coded = _EWKT.fullmatch(text)
    shape = _from_wkt(coded[2] if coded else text, name)
    return Area(shapely.force_2d(shape), _known(int(coded[1]), name) if coded else crs)


def _from_wkt(wkt: str, name: str) -> Any:
    try:
        area = shapely.from_wkt(wkt)
    except (shapely.errors.ShapelyError, TypeError, ValueError) as problem:
        raise JobError(
            f"The {name} is not a polygon in WKT ({problem}). Choose or draw it again."
        ) from problem
    if area is None or area.geom_type not in _KINDS:
        kind = "nothing" if area is None else f"a {area.geom_type}"
        raise JobError(f"The {name} must be a polygon, not {kind}.")
    if not np.isfinite(shapely.get_coordinates(area)).all():
        raise JobError(f"The {name} has coordinates that are no numbers. Choose or draw it again.")
    return shapely.make_valid(area)


def _known(code: int, name: str) -> CRS:
    try:
        return CRS.from_epsg(code)
    except CRSError as problem:
        raise JobError(
            f"The {name} has the CRS EPSG:{code}, which is unknown: reproject it to the CRS of "
            "Sentinel-2."
        ) from problem
