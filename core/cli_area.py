"""Areas as a shell gives them: four numbers, WKT, or a GeoJSON file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .contract.errors import JobError
from .contract.json_file import read_json_file

_WKT = re.compile(r"\s*(SRID=\d+;\s*)?(MULTI)?[A-Z]+\s*[ZM]*\s*(\(.*\)|EMPTY)\s*", re.I | re.S)
_EPSG = re.compile(r"(?:urn:ogc:def:crs:)?EPSG:(?:[\d.]*:)?(\d+)", re.I)
_CRS84 = re.compile(r"(?:urn:ogc:def:crs:)?OGC:(?:[\d.]*:)?CRS84", re.I)
_WGS84 = 4326
_SURFACE = 2
_MAX_BYTES = 200_000_000
_OF_ANOTHER_SHAPE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


def extent_wkt(extent: Sequence[float] | None) -> str | None:
    """Return XMIN YMIN XMAX YMAX as a polygon."""
    if extent is None:
        return None
    west, south, east, north = extent
    if not (-math.inf < west < east < math.inf and -math.inf < south < north < math.inf):
        raise JobError("The extent is XMIN YMIN XMAX YMAX, in the CRS of Sentinel-2.")
    ring = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return f"POLYGON (({', '.join(f'{x!r} {y!r}' for x, y in ring)}))"


def aoi_wkt(text: str | None) -> str | None:
    """Return WKT as it is, or the polygons of a GeoJSON file as EWKT.

    A GeoJSON file is in WGS 84 (RFC 7946), unless a ``crs`` member says otherwise, as GDAL and
    QGIS write it; numbers that cannot be degrees are in the CRS of Sentinel-2.
    """
    if text is None or _WKT.fullmatch(text):
        return text
    import shapely

    payload = _read(text)
    try:
        shapes = [shapely.from_geojson(json.dumps(item)) for item in _geometries(payload)]
        area = shapely.union_all(shapely.make_valid(shapes))
    except _OF_ANOTHER_SHAPE + (shapely.errors.ShapelyError,) as problem:
        raise _no_geojson(text) from problem
    if shapely.get_dimensions(area) < _SURFACE:
        raise JobError(
            f"'{text}' has no polygons: draw or export the area of interest as polygons."
        )
    code = _code(payload, area.bounds, text)
    return f"SRID={code};{area.wkt}" if code else str(area.wkt)


def _read(text: str) -> Any:
    try:
        return read_json_file(text, _MAX_BYTES)
    except OSError as problem:
        raise JobError(
            f"'{text[:200]}' is neither WKT nor a file that can be read ({problem.strerror}). The "
            "area of interest is WKT in the CRS of Sentinel-2, or a GeoJSON file."
        ) from problem
    except ValueError as problem:
        raise _no_geojson(text) from problem


def _no_geojson(text: str) -> JobError:
    return JobError(
        f"'{text}' is no GeoJSON with polygons. Expected is a Polygon, a MultiPolygon, a Feature "
        "or a FeatureCollection of them, as QGIS exports it; or WKT in the CRS of Sentinel-2."
    )


def _geometries(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the geometries of a geometry, a feature or a collection; a feature may have none."""
    if item["type"] == "FeatureCollection":
        for feature in item["features"]:
            yield from _geometries(feature)
    elif item["type"] != "Feature":
        yield item
    elif item["geometry"] is not None:
        yield item["geometry"]


def _code(payload: Mapping[str, Any], bounds: Sequence[float], text: str) -> int | None:
    """Return the EPSG code of the coordinates, None for the CRS of Sentinel-2."""
    crs = payload.get("crs")
    if crs is None:
        west, south, east, north = bounds
        degrees = -360 <= west <= east <= 360 and -90 <= south <= north <= 90
        return _WGS84 if degrees else None
    properties = crs.get("properties") if isinstance(crs, Mapping) else {"name": crs}
    name = str(properties.get("name") if isinstance(properties, Mapping) else properties)
    if _CRS84.fullmatch(name):
        return _WGS84
    coded = _EPSG.fullmatch(name)
    if coded is None:
        raise JobError(
            f"The coordinates in '{text}' are in '{name}', which is no EPSG code: save the file "
            "in WGS 84 or in the CRS of Sentinel-2."
        )
    return int(coded[1])
