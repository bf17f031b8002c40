"""What a user picked as a sensor's rasters: layers of the project, files, folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from qgis.core import QgsCoordinateReferenceSystem, QgsProject, QgsRasterLayer

from ..about import tr
from ..core.contract.job import RasterSource
from ..layers import crs_of_path, path_source, raster_source
from ..source_pattern import set_pattern, source_pattern


@dataclass(frozen=True)
class Pick:
    """A layer by its id, or a path; exactly one of the two."""

    layer_id: str = ""
    path: str = ""

    def layer(self) -> QgsRasterLayer | None:
        """Return the layer; None for a path, and where it left the project."""
        layer = QgsProject.instance().mapLayer(self.layer_id) if self.layer_id else None
        return layer if isinstance(layer, QgsRasterLayer) else None

    def is_there(self) -> bool:
        """Return whether it can still be used; a missing file is told later, in words."""
        return bool(self.path) or self.layer() is not None

    def name(self) -> str:
        """Return what the user knows it by."""
        layer = self.layer()
        return layer.name() if layer is not None else PurePath(self.path).name

    def source(self, bands: dict[str, int]) -> RasterSource:
        """Return it as the worker opens it; SourceError where it cannot."""
        layer = self.layer()
        return path_source(self.path, bands) if layer is None else raster_source(layer, bands)

    def crs(self) -> QgsCoordinateReferenceSystem:
        """Return its CRS; CrsError where a path tells none."""
        layer = self.layer()
        return crs_of_path(self.path) if layer is None else layer.crs()

    def pattern(self) -> str:
        """Return which kind of raster it is."""
        layer = self.layer()
        if layer is None:
            return source_pattern(self.path, 0)
        return source_pattern(layer.source(), layer.bandCount())


def pattern_of(picks: Sequence[Pick]) -> str:
    """Return the kind of rasters that are used together."""
    return set_pattern(pick.pattern() for pick in picks)


def picks_title(picks: Sequence[Pick]) -> str:
    """Return ``optical`` or ``optical and 2 more``."""
    if len(picks) < 2:
        return picks[0].name() if picks else ""
    return tr("{} and {} more").format(picks[0].name(), len(picks) - 1)
