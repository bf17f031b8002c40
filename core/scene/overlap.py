"""Where Sentinel-2, Sentinel-1 and the area asked for meet, and what to say where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS

from ..contract.errors import CrsError, NoOverlapError
from .areas import Area, parse_area
from .geometry import Geometry, crs_name
from .grid import TileGrid
from .sources import Found


def check_overlap(grid: Geometry, s2: Sequence[Geometry], s1: Found) -> float:
    """Return the share of Sentinel-2 that Sentinel-1 covers, 0 to 1; 1 where none is needed.

    Raises NoOverlapError where they do not meet, with both places in words.
    """
    if not s1.parts:
        return 1.0
    optical = shapely.union_all([part.footprint(grid.crs) for part in s2])
    radar = shapely.union_all([_covered(part.bands.values(), grid.crs) for part in s1.parts])
    share = float(optical.intersection(radar).area / optical.area)
    if share > 0:
        return min(share, 1.0)
    places = "; ".join(part.geometry.in_words() for part in s1.parts[:3])
    raise NoOverlapError(
        f"Sentinel-1 and Sentinel-2 do not overlap. Sentinel-2 covers {s2[0].in_words()}; "
        f"Sentinel-1 covers {places}. Choose a pair of the same place, or check the CRS of both "
        "layers."
    )


def nothing_selected(grid: TileGrid, wkts: list[str], own: CRS) -> NoOverlapError:
    """Return the error of a selection without tiles: outside, or too small."""
    side = grid.tile_size * grid.geometry.pixel_size_m
    areas = [parse_area(wkt, "area", own) for wkt in wkts]
    # In the CRS of the area both can be compared by eye.
    shown = areas[0].crs if areas else grid.geometry.crs
    advice = (
        f"It holds no centre of a tile of {side:.0f} m: choose a larger area or a smaller stride."
        if all(_touches(area, grid.geometry) for area in areas)
        else "Choose an area inside the scene, and check that it is in the CRS of Sentinel-2."
    )
    return NoOverlapError(
        f"No tile lies in the extent or area of interest. The scene covers "
        f"{_bounds(_outline(grid.geometry, shown))} in {crs_name(shown)}, the area asked for "
        f"{'; '.join(_asked(area, shown) for area in areas)}. {advice}"
    )


def _touches(area: Area, geometry: Geometry) -> bool:
    return bool(_outline(geometry, area.crs, area).intersects(area.shape))


def _outline(geometry: Geometry, crs: CRS, area: Area | None = None) -> Any:
    """Return a scene's outline in ``crs``, at the area's side of the antimeridian; or nothing."""
    try:
        outline = geometry.footprint(crs)
    except CrsError:
        return shapely.Polygon()
    if area is None:
        return outline

    def moved(points: np.ndarray) -> np.ndarray:
        return np.column_stack(area.places(points[:, 0], points[:, 1], crs))

    return shapely.make_valid(shapely.transform(outline, moved))


def _asked(area: Area, shown: CRS) -> str:
    place = "" if area.crs == shown else f" in {crs_name(area.crs)}"
    return _bounds(area.shape) + place


def _covered(bands: Any, crs: CRS) -> Any:
    """Return where all bands of a part are."""
    outlines = [band.geometry.footprint(crs) for band in bands]
    return shapely.intersection_all(outlines)


def _bounds(area: Any) -> str:
    if area.is_empty:
        return "nothing"
    west, south, east, north = area.bounds
    return f"x {west:.6g} to {east:.6g}, y {south:.7g} to {north:.7g}"
