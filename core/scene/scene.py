"""A Sentinel-1 / Sentinel-2 pair, opened, understood and ready to be read in tiles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import rasterio
from rasterio.crs import CRS

from ..contract.channels import base_bands
from ..contract.errors import CrsError, JobError
from ..contract.job import RasterSource
from ..contract.scene_options import SceneOptions
from ..contract.spec import ModelSpec
from .ahead import read_ahead
from .geometry import Geometry
from .grid import Tile, TileGrid
from .layout import lay_grid
from .mask import CloudMask, choose_mask
from .missing import check_complete
from .optical import SAMPLED, S2Verdict, judge_s2
from .overlap import check_overlap, nothing_selected
from .parts import Part
from .pixels import LOOKING_OPTIONS
from .planning import read_plan
from .radar import S1Verdict, judge_s1
from .radiometry import SceneWarning
from .reader import Batch, read_batches
from .sampling import Sample, sample_bands
from .sources import Found, find_bands

DEFAULT_OPTIONS = SceneOptions()


def open_scene(
    s2: Sequence[RasterSource],
    s1: Sequence[RasterSource],
    spec: ModelSpec,
    *,
    stride: int | None = None,
    mask: RasterSource | None = None,
    options: SceneOptions = DEFAULT_OPTIONS,
) -> Scene:
    """Open a pair for a model: find its channels, decide its units and lay the tile grid.

    Several sources of a sensor hold its bands together, or are parts of a mosaic, the first
    given on top. ``stride`` is in pixels, None means the tile size; ``mask`` is a raster of cloud
    classes where none lies beside Sentinel-2, or another one is meant.

    Every refusal is a MultimodalError that says what to do: missing channels, no CRS, units that
    are none, no overlap; a DecisionError asks for what only the user can know.
    """
    with rasterio.Env(**LOOKING_OPTIONS):
        return _open(s2, s1, spec, stride, mask, options)


@dataclass(frozen=True)
class Judged:
    """A part of one sensor with what was decided about its numbers."""

    part: Part
    sample: Sample
    verdict: S2Verdict | S1Verdict


@dataclass(frozen=True)
class Scene:
    """An understood pair; files are opened only while they are read, by the thread that reads."""

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
    _closed: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop every reading thread; their iterators end."""
        self._closed.set()

    @property
    def crs_wkt(self) -> str:
        """CRS of the grid and of the result, as WKT."""
        return self.grid.crs_wkt

    @property
    def area_crs(self) -> CRS:
        """CRS of extents and areas given as plain WKT: that of the first Sentinel-2 raster."""
        return self.optical[0].part.geometry.crs

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, in words, the most costly first."""
        return tuple(warning.message for warning in self.scene_warnings)

    @property
    def scene_warnings(self) -> tuple[SceneWarning, ...]:
        """What the user should know, the most costly first."""
        from .advice import scene_warnings

        return scene_warnings(self)

    def select(self, extent_wkt: str | None = None, aoi_wkt: str | None = None) -> tuple[Tile, ...]:
        """Return the tiles whose centre lies inside both polygons, in row-major order.

        The polygons are WKT in :attr:`area_crs`, or EWKT. NoOverlapError where no tile is left.
        """
        tiles = self.grid.select(extent_wkt, aoi_wkt, self.area_crs)
        if not tiles:
            asked = [wkt for wkt in (extent_wkt, aoi_wkt) if wkt]
            raise nothing_selected(self.grid, asked, self.area_crs)
        return tiles

    def batches(
        self,
        tiles: Sequence[Tile],
        batch_size: int,
        min_valid: float,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Batch]:
        """Read tiles on a thread ahead of the caller and yield batches in row-major order.

        A tile with a smaller share of valid pixels than ``min_valid`` in either sensor, or with
        more cloud than the options allow, is skipped with its reason. At a cancel the iterator
        ends. A scene too wide for the block cache is read in vertical panels, row-major within
        each.
        """
        if batch_size < 1:
            raise JobError(f"The batch size must be at least 1 here, not {batch_size}.")
        plan = read_plan(self)
        return read_ahead(
            lambda stopped: read_batches(plan, tiles, batch_size, min_valid, stopped),
            lambda: self._closed.is_set() or is_cancelled(),
        )

    def describe(
        self, extent_wkt: str | None = None, aoi_wkt: str | None = None, min_valid: float = 0.75
    ) -> dict[str, Any]:
        """Return what was understood as plain values for JSON; see :mod:`.report`."""
        from .report import describe

        return describe(self, extent_wkt, aoi_wkt, min_valid)


def _open(
    s2: Sequence[RasterSource], s1: Sequence[RasterSource], spec: ModelSpec, stride: int | None,
    mask: RasterSource | None, options: SceneOptions,
) -> Scene:  # fmt: skip
    wanted_s2, wanted_s1 = base_bands(spec.s2_names), base_bands(spec.s1_names)
    found_s2 = find_bands(s2, "s2", wanted_s2)
    found_s1 = find_bands(s1, "s1", wanted_s1)
    filled = check_complete(found_s2, wanted_s2, found_s1, wanted_s1, options.fill_missing)
    geometries = _optical_geometries(found_s2)
    grid = lay_grid(
        geometries, spec.tile_size, spec.ground_resolution, stride,
        any_pixel_size=options.any_pixel_size,
    )  # fmt: skip
    # Raw numbers make a pair useless wherever it lies; an offset is asked about only of a pair.
    radar = tuple(_judged_s1(part, options) for part in found_s1.parts) if wanted_s1 else ()
    overlap = check_overlap(grid.geometry, geometries, found_s1)
    optical = tuple(_judged_s2(part, options) for part in found_s2.parts)
    return Scene(
        spec, grid, found_s2, found_s1, optical, radar, overlap,
        choose_mask(found_s2, mask, options.mask_classes), filled, options,
    )  # fmt: skip


def _optical_geometries(found: Found) -> list[Geometry]:
    geometries = [part.geometry for part in found.parts]
    for part, geometry in zip(found.parts, geometries, strict=True):
        if geometry.gcps:
            raise CrsError(
                f"'{part.files[0]}' is placed by ground control points only, not by a map grid. "
                "Warp it to UTM first (in QGIS: Raster > Projections > Warp).",
                path=part.files[0],
            )
    return geometries


def _judged_s2(part: Part, options: SceneOptions) -> Judged:
    looked_at = [part.bands[name] for name in SAMPLED if name in part.bands]
    sample = sample_bands(looked_at or list(part.bands.values())[:1], "s2")
    bands = tuple(part.bands.values())
    return Judged(part, sample, judge_s2(sample.values, bands, part.product, options.s2_offset))


def _judged_s1(part: Part, options: SceneOptions) -> Judged:
    bands = tuple(part.bands.values())
    sample = sample_bands(bands, "s1")
    return Judged(part, sample, judge_s1(sample.values, bands, options.s1_unit))
