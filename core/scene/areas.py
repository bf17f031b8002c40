"""Areas that restrict a run: WKT, or EWKT where it has a CRS of its own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from ..contract.errors import JobError
from .geometry import crs_name, project

_EWKT = re.compile(r"\s*SRID=(\d+);(.*)", re.I | re.S)
_KINDS = ("Polygon", "MultiPolygon", "GeometryCollection")
# A straight edge is a curve in another projection: points are added to this share of its box.
_EDGE_SHARE = 0.02


def parse_area(text: str, name: str, crs: CRS, own: CRS | None = None) -> Any:
    """Return a polygon as a valid geometry in ``crs``.

    Args:
        text: WKT in ``own``, or EWKT (``SRID=4326;POLYGON ...``) in the CRS of its EPSG code.
        name: what the polygon is, for the error.
        own: the CRS of plain WKT; ``crs`` where None.

    Raises:
        JobError: not WKT, not a polygon, or not to be had in ``crs``.
    """
    coded = _EWKT.fullmatch(text)
    area = _from_wkt(coded[2] if coded else text, name)
    if coded:
        own = _known(int(coded[1]), name)
    return area if own is None else _projected(area, name, own, crs)


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


def _projected(area: Any, name: str, own: CRS, crs: CRS) -> Any:
    if own == crs or area.is_empty:
        return area
    west, south, east, north = area.bounds
    length = max(east - west, north - south) * _EDGE_SHARE
    fine = shapely.segmentize(area, length) if length > 0 else area

    def moved(points: np.ndarray) -> np.ndarray:
        return np.column_stack(project(points[:, 0], points[:, 1], own, crs))

    projected = shapely.transform(shapely.force_2d(fine), moved)
    if not np.isfinite(shapely.get_coordinates(projected)).all():
        raise JobError(
            f"The {name} ({crs_name(own)}) reaches outside the area where the CRS of Sentinel-2 is "
            "defined: choose a smaller area around the scene."
        )
    return shapely.make_valid(projected)
