"""Where a dataset lies, or the refusal that is due."""

from __future__ import annotations

from typing import Any

from rasterio.crs import CRS
from rasterio.transform import from_gcps

from ..contract.errors import CrsError, SourceError
from ..contract.source_identity import without_credentials
from .geometry import Geometry, crs_name

_FEWEST_GCPS = 4


def geometry_of(dataset: Any, override: CRS | None) -> Geometry:
    """Return where a raster lies; ``override`` is the CRS that the user gave it.

    A raster with control points alone is placed by them. Raises CrsError without a CRS or a
    position on Earth, SourceError for a damaged geotransform.
    """
    shown = without_credentials(dataset.name)
    points, points_crs = dataset.gcps
    by_points = dataset.transform.is_identity and len(points) >= _FEWEST_GCPS
    crs = override or (points_crs if by_points or not dataset.crs else dataset.crs)
    _check(dataset, crs, by_points, shown)
    if by_points:
        own = tuple((p.row, p.col, p.x, p.y) for p in points)
        placed = Geometry(crs, from_gcps(points), dataset.width, dataset.height, own)
    else:
        placed = Geometry(crs, dataset.transform, dataset.width, dataset.height)
    if not placed.is_on_earth:
        raise CrsError(
            f"'{shown}' lies nowhere on Earth: its coordinates are beyond what its CRS "
            f"({crs_name(crs)}) can show. Assign the right CRS to the layer, or georeference it "
            "again.",
            path=shown,
        )
    return placed


def _check(dataset: Any, crs: CRS | None, by_points: bool, shown: str) -> None:
    """Refuse a raster without a CRS, without a position, or with a damaged one."""
    if not crs:
        raise CrsError(
            f"'{shown}' has no coordinate reference system. In QGIS set it by right click on the "
            "layer > Layer CRS; on the command line use gdal_edit.py -a_srs EPSG:code.",
            path=shown,
        )
    if dataset.transform.is_identity and not by_points:
        raise _unplaced(shown, len(dataset.gcps[0]))
    if not (crs.is_projected or crs.is_geographic):
        raise CrsError(
            f"The CRS '{crs_name(crs)}' of '{shown}' is no map projection and no longitude and "
            "latitude. Assign the right CRS to the layer.",
            path=shown,
        )
    if dataset.transform.is_degenerate and not by_points:
        raise SourceError(
            f"The pixels of '{shown}' have no area: its geotransform is damaged. Export the "
            "raster again.",
            path=shown,
        )


def _unplaced(shown: str, points: int) -> CrsError:
    why = "it has no geotransform"
    if points:
        why += (
            f", and {points} ground control point{'s are' if points > 1 else ' is'} too few: "
            f"{_FEWEST_GCPS} are needed"
        )
    return CrsError(
        f"'{shown}' has no position on Earth: {why}. Georeference it, or choose the raster it was "
        "made from.",
        path=shown,
    )
