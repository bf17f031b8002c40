"""A Sentinel-1 / Sentinel-2 pair, opened, understood and ready to be read in tiles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import rasterio

from ..contract.channels import INDEX_BANDS, RGB, base_bands
from ..contract.errors import CrsError, JobError, NoOverlapError
from ..contract.job import RasterSource
from ..contract.scene_options import SceneOptions
from ..contract.spec import ChannelSpec, ModelSpec
from .ahead import read_ahead
from .areas import parse_area
from .geometry import Geometry, covered_share, crs_name
from .grid import SAME_SIZE, Tile, TileGrid, lay_grid
from .missing import check_complete
from .pixels import GDAL_OPTIONS, Band
from .radiometry import S1Verdict, S2Verdict, SceneWarning, judge_s1, judge_s2
from .reader import Batch, ReadPlan, read_batches
from .sampling import sample_bands
from .sources import Found, find_bands
from .warp import stacks

DEFAULT_OPTIONS = SceneOptions()
# UTM stays within 0.1 %; Web Mercator is off by half at 48 degrees.
MAX_DISTORTION = 0.05


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

    ``stride`` is in pixels, None means the tile size. Every refusal is a MultimodalError that
    says what to do: missing channels, no CRS, units that are none, no overlap.
    """
    with rasterio.Env(**GDAL_OPTIONS):
        return _open(s2, s1, spec, stride)


def _open(
    s2: Sequence[RasterSource], s1: Sequence[RasterSource], spec: ModelSpec, stride: int | None
) -> Scene:
    wanted_s2, wanted_s1 = base_bands(spec.s2_names), base_bands(spec.s1_names)
    found_s2 = find_bands(s2, "s2", wanted_s2)
    found_s1 = find_bands(s1, "s1", wanted_s1)
    check_complete(found_s2, wanted_s2, found_s1, wanted_s1)
    optical_bands = [found_s2.bands[name] for name in wanted_s2]
    _check_one_crs(optical_bands)
    finest = _finest(optical_bands)
    grid = lay_grid(finest, spec.tile_size, spec.ground_resolution, stride)
    overlap = _overlap(grid.geometry, found_s1)
    optical, radar = _judge(found_s2, found_s1)
    return Scene(spec, grid, found_s2, found_s1, optical, radar, overlap, finest)


@dataclass(frozen=True)
class Scene:
    """An understood pair; files are opened only while they are read, by the thread that reads."""

    spec: ModelSpec
    grid: TileGrid
    s2: Found
    s1: Found
    s2_verdict: S2Verdict
    s1_verdict: S1Verdict | None
    overlap: float
    finest: Geometry
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
        """CRS of the grid, of the result and of extents, as WKT."""
        return self.grid.crs_wkt

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, in words."""
        return tuple(warning.message for warning in self._warnings())

    def select(self, extent_wkt: str | None = None, aoi_wkt: str | None = None) -> tuple[Tile, ...]:
        """Return the tiles whose centre lies inside both polygons, in row-major order.

        The polygons are WKT in the CRS of the grid, or EWKT. NoOverlapError where no tile is left.
        """
        tiles = self.grid.select(extent_wkt, aoi_wkt)
        if not tiles:
            raise _nothing_selected(self.grid, [wkt for wkt in (extent_wkt, aoi_wkt) if wkt])
        return tiles

    def batches(
        self,
        tiles: Sequence[Tile],
        batch_size: int,
        min_valid: float,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Batch]:
        """Read tiles on a thread ahead of the caller and yield batches in row-major order.

        A tile with a smaller share of valid pixels than ``min_valid`` in either sensor is
        skipped with its reason. At a cancel the iterator ends. A scene too wide for the block
        cache is read in vertical panels, row-major within each.
        """
        if batch_size < 1:
            raise JobError(f"The batch size must be at least 1 here, not {batch_size}.")
        plan = self._plan()
        return read_ahead(
            lambda stopped: read_batches(plan, tiles, batch_size, min_valid, stopped),
            lambda: self._closed.is_set() or is_cancelled(),
        )

    def describe(
        self, extent_wkt: str | None = None, aoi_wkt: str | None = None, min_valid: float = 0.75
    ) -> dict[str, Any]:
        """Return what was understood as plain values for JSON.

        Physical Sentinel-2 reflectance = (DN + ``s2.offset``) * ``s2.scale``; ``overlap`` is
        the share of Sentinel-2 that Sentinel-1 covers.
        """
        grid, verdict, radar = self.grid, self.s2_verdict, self.s1_verdict
        return {
            "s2": {
                **_describe(self.s2), "offset": verdict.offset, "scale": verdict.scale,
                "evidence": verdict.evidence,
            },
            "s1": {
                **_describe(self.s1), "unit": radar.unit if radar else None,
                "evidence": radar.evidence if radar else "the model needs no Sentinel-1",
            },
            "grid": {
                "crs": crs_name(grid.geometry.crs), "transform": list(grid.transform)[:6],
                "width": grid.width, "height": grid.height, "tiles": len(grid),
            },
            "overlap": self.overlap,
            "warnings": [{"code": w.code, "message": w.message} for w in self._warnings()],
        }  # fmt: skip

    def _warnings(self) -> list[SceneWarning]:
        radar = self.s1_verdict.warnings if self.s1_verdict else ()
        return [
            *self.s2_verdict.warnings, *radar,
            *_grid_warnings(self.finest, self.spec.ground_resolution),
            *_overlap_warnings(self.overlap),
        ]  # fmt: skip

    def _plan(self) -> ReadPlan:
        s2 = [(band, _resampling(name, self.spec.s2)) for name, band in self.s2.bands.items()]
        s1 = [(band, _resampling(name, self.spec.s1)) for name, band in self.s1.bands.items()]
        return ReadPlan(
            self.grid, self.spec, tuple(stacks(s2, "s2", None)),
            tuple(stacks(s1, "s1", self.s1_verdict)), self.s2_verdict,
        )  # fmt: skip


def _judge(s2: Found, s1: Found) -> tuple[S2Verdict, S1Verdict | None]:
    visible = [s2.bands[name] for name in RGB if name in s2.bands]
    optical = judge_s2(sample_bands(visible), tuple(s2.bands.values()), s2.product)
    if not s1.bands:
        return optical, None
    radar = tuple(s1.bands.values())
    return optical, judge_s1(sample_bands(radar, sentinels=True), radar)


def _check_one_crs(bands: Sequence[Band]) -> None:
    first = bands[0].geometry.crs
    for band in bands:
        crs = band.geometry.crs
        if crs != first and crs_name(crs) != crs_name(first):
            raise CrsError(
                f"The Sentinel-2 rasters are in several coordinate systems ({crs_name(first)}, "
                f"{crs_name(crs)}): reproject them to one (in QGIS: Raster > Projections > Warp).",
            )


def _finest(bands: Sequence[Band]) -> Geometry:
    """Return the geometry of the finest band; among equals that of the first in model order."""
    return min((band.geometry for band in bands), key=lambda geometry: geometry.pixel_size_m)


def _overlap(grid: Geometry, s1: Found) -> float:
    others = [band.geometry for band in s1.bands.values()]
    share = covered_share(grid, others)
    if share <= 0:
        raise NoOverlapError(
            f"Sentinel-1 and Sentinel-2 do not overlap. Sentinel-2 covers {grid.in_words()}; "
            f"Sentinel-1 covers {others[0].in_words()}. Choose a pair of the same place, or check "
            "the CRS of both layers."
        )
    return share


def _nothing_selected(grid: TileGrid, wkts: list[str]) -> NoOverlapError:
    side = grid.tile_size * grid.geometry.pixel_size_m
    own = grid.geometry.footprint()
    areas = [parse_area(wkt, "area", grid.geometry.crs) for wkt in wkts]
    touches = all(own.intersects(area) for area in areas)
    asked = "; ".join(map(_bounds, areas))
    advice = (
        f"It holds no centre of a tile of {side:.0f} m: choose a larger area or a smaller stride."
        if touches
        else "Choose an area inside the scene, and check that it is in the CRS of Sentinel-2."
    )
    return NoOverlapError(
        f"No tile lies in the extent or area of interest. The scene covers {_bounds(own)} in "
        f"{crs_name(grid.geometry.crs)}, the area asked for {asked}. {advice}"
    )


def _bounds(area: Any) -> str:
    if area.is_empty:
        return "nothing"
    west, south, east, north = area.bounds
    return f"x {west:.6g} to {east:.6g}, y {south:.7g} to {north:.7g}"


def _grid_warnings(finest: Geometry, resolution: float) -> list[SceneWarning]:
    warnings = []
    size, scale = finest.pixel_size_m, finest.ground_scale()
    if abs(size / resolution - 1) > SAME_SIZE:
        warnings.append(SceneWarning("s2_resampled", (
            f"The finest Sentinel-2 band has pixels of {size:.4g} m; all bands were resampled to "
            f"the {resolution:g} m of the model."
        )))  # fmt: skip
    if abs(scale - 1) > MAX_DISTORTION:
        warnings.append(SceneWarning("distorted_crs", (
            f"In {crs_name(finest.crs)} a metre of the map is {scale:.2f} m on the ground here, so "
            "the model sees everything at the wrong size. Reproject Sentinel-2 to its UTM zone."
        )))  # fmt: skip
    return warnings


def _overlap_warnings(overlap: float) -> list[SceneWarning]:
    if overlap > 0.99:
        return []
    return [SceneWarning("partial_overlap", (
        f"Sentinel-1 covers {int(overlap * 100)} % of Sentinel-2; tiles outside are skipped."
    ))]  # fmt: skip


def _resampling(band: str, channels: Sequence[ChannelSpec]) -> str:
    """Return the resampling of a band: its own channel's, else that of an index made from it."""
    own = {channel.name: channel.resampling for channel in channels}
    users = (own[name] for name, parts in INDEX_BANDS.items() if name in own and band in parts)
    return own[band] if band in own else next(users)


def _describe(found: Found) -> dict[str, Any]:
    crs = sorted({crs_name(band.geometry.crs) for band in found.bands.values()})
    return {
        "bands": {
            name: {
                "path": band.name, "band": band.index,
                "pixel_size_m": round(band.geometry.pixel_size_m, 6),
            }
            for name, band in found.bands.items()
        },
        "missing": [],
        "crs": ", ".join(crs) or None,
    }  # fmt: skip
