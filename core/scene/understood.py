"""What was found out about a pair of scenes, before anything is read for the model."""

from __future__ import annotations

from dataclasses import dataclass

from rasterio.crs import CRS

from ..contract.scene_options import SceneOptions
from ..contract.spec import ModelSpec
from .grid import Tile, TileGrid
from .mask import CloudMask
from .optical import S2Verdict
from .overlap import nothing_selected
from .parts import Part
from .radar import S1Verdict
from .sampling import Sample
from .sources import Found


@dataclass(frozen=True)
class Judged:
    """A part of one sensor with what was decided about its numbers."""

    part: Part
    sample: Sample
    verdict: S2Verdict | S1Verdict


@dataclass(frozen=True)
class Understood:
    """A pair: its bands, units, grid and mask.

    ``optical`` and ``radar`` are the parts of the two mosaics, usually one each; ``filled`` names
    the channels that get their training mean.
    """

    spec: ModelSpec
    grid: TileGrid
    s2: Found
    s1: Found
    optical: tuple[Judged, ...]
    radar: tuple[Judged, ...]
    overlap: float
    mask: CloudMask | None
    filled: tuple[str, ...]
    options: SceneOptions

    @property
    def crs_wkt(self) -> str:
        """CRS of the grid and of the result, as WKT."""
        return self.grid.crs_wkt

    @property
    def area_crs(self) -> CRS:
        """CRS of extents and areas given as plain WKT: that of the first Sentinel-2 raster."""
        return self.optical[0].part.geometry.crs

    def select(self, extent_wkt: str | None = None, aoi_wkt: str | None = None) -> tuple[Tile, ...]:
        """Return the tiles whose centre lies inside both polygons, in row-major order.

        The polygons are WKT in :attr:`area_crs`, or EWKT. NoOverlapError where no tile is left.
        """
        tiles = self.grid.select(extent_wkt, aoi_wkt, self.area_crs)
        if not tiles:
            asked = [wkt for wkt in (extent_wkt, aoi_wkt) if wkt]
            raise nothing_selected(self.grid, asked, self.area_crs)
        return tiles
