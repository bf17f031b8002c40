"""Where Sentinel-2, Sentinel-1 and the area asked for meet, and what to say where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import shapely
from rasterio.crs import CRS

from ..contract.errors import NoOverlapError
from .areas import parse_area
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
    scene = grid.geometry.footprint()
    areas = [parse_area(wkt, "area", grid.geometry.crs, own) for wkt in wkts]
    touches = all(scene.intersects(area) for area in areas)
    asked = "; ".join(map(_bounds, areas))
    advice = (
        f"It holds no centre of a tile of {side:.0f} m: choose a larger area or a smaller stride."
        if touches
        else "Choose an area inside the scene, and check that it is in the CRS of Sentinel-2."
    )
    return NoOverlapError(
        f"No tile lies in the extent or area of interest. The scene covers {_bounds(scene)} in "
        f"{crs_name(grid.geometry.crs)}, the area asked for {asked}. {advice}"
    )


def _covered(bands: Any, crs: CRS) -> Any:
    """Return where all bands of a part are."""
    outlines = [band.geometry.footprint(crs) for band in bands]
    return shapely.intersection_all(outlines)


def _bounds(area: Any) -> str:
    if area.is_empty:
        return "nothing"
    west, south, east, north = area.bounds
    return f"x {west:.6g} to {east:.6g}, y {south:.7g} to {north:.7g}"
