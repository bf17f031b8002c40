"""A Sentinel-1 / Sentinel-2 pair, opened, understood and ready to be read in tiles."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import rasterio

from ..ahead import Produce, read_ahead
from ..contract.channels import base_bands
from ..contract.errors import CrsError, JobError
from ..contract.job import RasterSource
from ..contract.scene_options import SceneOptions
from ..contract.spec import ModelSpec
from .advice import scene_warnings
from .blocks import check_blocks
from .geometry import Geometry
from .grid import Tile
from .judging import constant_channels, judged_s1, judged_s2
from .layout import lay_grid
from .mask import choose_mask
from .missing import check_complete
from .overlap import check_overlap
from .pixels import LOOKING_OPTIONS
from .planning import read_plan
from .radiometry import SceneWarning
from .reader import Batch, read_batches
from .report import describe
from .sharing import shares
from .sources import Found, find_bands
from .stopping import stopped_by
from .understood import Understood

DEFAULT_OPTIONS = SceneOptions()


def open_scene(
    s2: Sequence[RasterSource],
    s1: Sequence[RasterSource],
    spec: ModelSpec,
    *,
    stride: int | None = None,
    mask: RasterSource | None = None,
    options: SceneOptions = DEFAULT_OPTIONS,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Scene:
    """Open a pair for a model: find its channels, decide its units and lay the tile grid.

    Several sources of a sensor hold its bands together, or are parts of a mosaic, the first
    given on top. ``stride`` is in pixels, None means the tile size; ``mask`` is a raster of cloud
    classes where none lies beside Sentinel-2, or another one is meant.

    Every refusal is a MultimodalError that says what to do: missing channels, no CRS, units that
    are none, no overlap; a DecisionError asks for what only the user can know. At a cancel it is
    a CancelledError, before the next file or window is read.
    """
    with stopped_by(is_cancelled), rasterio.Env(**LOOKING_OPTIONS):
        return _open(s2, s1, spec, stride, mask, options)


@dataclass(frozen=True)
class Scene(Understood):
    """An understood pair; files are opened only while they are read, by the thread that reads."""

    _closed: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop every reading thread; their iterators end."""
        self._closed.set()

    @cached_property
    def _warnings(self) -> tuple[SceneWarning, ...]:
        """Worked out once: a run asks for them at its start, for its report and at its end."""
        return scene_warnings(self)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, in words, the most costly first."""
        return tuple(warning.message for warning in self._warnings)

    @property
    def files(self) -> tuple[str, ...]:
        """Every name that is opened to read the tiles, with those of calibration vectors."""
        bands = read_plan(self).bands
        names = [*(b.path for b in bands), *(b.calibration for b in bands if b.calibration)]
        return tuple(dict.fromkeys(names))

    def batches(
        self,
        tiles: Sequence[Tile],
        batch_size: int,
        min_valid: float,
        is_cancelled: Callable[[], bool] = lambda: False,
        readers: int = 1,
    ) -> Iterator[Batch]:
        """Read tiles on threads ahead of the caller and yield batches, row-major for one thread.

        A tile with a smaller share of valid pixels than ``min_valid`` in either sensor, or with
        more cloud than the options allow, is skipped with its reason. At a cancel the iterator
        ends. A scene too wide for the block cache is read in vertical panels, row-major within
        each. Of several ``readers`` each has a part of the scene, and a part of ``batch_size``.
        """
        if batch_size < 1:
            raise JobError(f"The batch size must be at least 1 here, not {batch_size}.")
        plan = read_plan(self)
        parts = shares(plan, tiles, readers)
        each = math.ceil(batch_size / len(parts))

        def reader(part: Sequence[Tile]) -> Produce[Batch]:
            return lambda stopped: read_batches(plan, part, each, min_valid, stopped, len(parts))

        return read_ahead(
            [reader(part) for part in parts],
            lambda: self._closed.is_set() or is_cancelled(),
            name="scene-reader", waiting="waiting",
        )  # fmt: skip

    def describe(
        self,
        extent_wkt: str | None = None,
        aoi_wkt: str | None = None,
        min_valid: float = 0.75,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Return what was understood as plain values for JSON; see :mod:`.report`."""
        with stopped_by(is_cancelled):
            return describe(self, self._warnings, extent_wkt, aoi_wkt, min_valid)


def _open(
    s2: Sequence[RasterSource], s1: Sequence[RasterSource], spec: ModelSpec, stride: int | None,
    mask: RasterSource | None, options: SceneOptions,
) -> Scene:  # fmt: skip
    wanted_s2, wanted_s1 = base_bands(spec.s2_names), base_bands(spec.s1_names)
    found_s2 = find_bands(s2, "s2", wanted_s2)
    found_s1 = find_bands(s1, "s1", wanted_s1)
    lacking = check_complete(found_s2, wanted_s2, found_s1, wanted_s1, options.fill_missing)
    check_blocks((*found_s2.all_bands, *found_s1.all_bands))
    geometries = _optical_geometries(found_s2)
    grid = lay_grid(
        geometries, spec.tile_size, spec.ground_resolution, stride,
        any_pixel_size=options.any_pixel_size,
    )  # fmt: skip
    # Raw numbers make a pair useless wherever it lies; an offset is asked about only of a pair.
    radar = tuple(judged_s1(part, options) for part in found_s1.parts) if wanted_s1 else ()
    overlap = check_overlap(grid.geometry, geometries, found_s1)
    optical = judged_s2(found_s2.parts, options)
    return Scene(
        spec, grid, found_s2, found_s1, optical, radar, overlap,
        choose_mask(found_s2, mask, options.mask_classes),
        constant_channels(spec, (*optical, *radar), lacking), options,
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
