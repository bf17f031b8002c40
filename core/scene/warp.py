"""Bands onto the grid: copied where they lie on it, resampled where they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject
from rasterio.windows import Window

from ..contract.errors import SourceError
from ..stages import stage
from .geometry import Geometry, apply, combine, project
from .pixels import (
    Band,
    FloatArray,
    blank_saturated,
    blank_zeros,
    open_raster,
    read_bands,
)
from .radar import AMPLITUDE, S1Verdict, to_db

# Pixels lie on the grid when they are off by less than this part of a pixel anywhere.
ON_GRID = 0.01
# From this many source pixels a grid pixel on, the mean of them is taken.
MANY = 4 / 3
# Grid pixels; GDAL's interpolated coordinates are exact to far below a pixel over this width.
CELL_WIDTH = 480


@dataclass(frozen=True)
class Stack:
    """Bands of the same geometry and resampling, read together.

    ``sensor`` is ``s2``, ``s1`` or ``mask``. Sentinel-1 is resampled in linear power: averaging
    logarithms is wrong.
    """

    bands: tuple[Band, ...]
    resampling: str
    sensor: str
    s1: S1Verdict | None = None
    floor: float = -math.inf  # raw values below it, and above the ceiling, are fill
    ceiling: float = math.inf

    @property
    def geometry(self) -> Geometry:
        """The geometry that all bands share."""
        return self.bands[0].geometry


@dataclass(frozen=True)
class Placement:
    """How a stack's pixels lie on the grid; ``to_source`` maps grid pixels to source pixels."""

    to_source: Affine | None
    is_on_grid: bool
    is_separable: bool
    ratio: float  # grid pixel / source pixel


def stacks(
    bands: Sequence[tuple[Band, str]],
    sensor: str,
    s1: S1Verdict | None = None,
    floor: float = -math.inf,
    ceiling: float = math.inf,
) -> list[Stack]:
    """Return (band, resampling) pairs grouped by geometry and resampling, order kept."""
    groups: dict[Any, list[Band]] = {}
    for band, resampling in bands:
        g = band.geometry
        key = (g.crs.to_wkt(), tuple(g.transform)[:6], g.width, g.height, g.gcps, resampling)
        groups.setdefault(key, []).append(band)
    return [
        Stack(tuple(members), key[-1], sensor, s1, floor, ceiling)
        for key, members in groups.items()
    ]


def place(geometry: Geometry, grid: Geometry) -> Placement:
    """Return how a raster lies on the grid."""
    ratio = grid.pixel_size_m / geometry.pixel_size_m
    if geometry.crs != grid.crs or geometry.gcps:
        return Placement(None, False, False, ratio)
    t = combine(~geometry.transform, grid.transform)
    separable = abs(t.b) * grid.height < ON_GRID and abs(t.d) * grid.width < ON_GRID
    drift = max(abs(abs(t.a) - 1) * grid.width, abs(abs(t.e) - 1) * grid.height)
    shift = max(abs(t.c - round(t.c)), abs(t.f - round(t.f)))
    return Placement(t, separable and drift < ON_GRID and shift < ON_GRID, separable, ratio)


class StackReader:
    """Reads windows of the grid from one stack. Not thread safe: one for each reading thread."""

    def __init__(self, stack: Stack, grid: Geometry, files: dict[str, Any]) -> None:
        self.stack = stack
        self._grid = grid
        self._files = files
        self._placement = place(stack.geometry, grid)
        self._by_index = self._placement.is_on_grid or (
            self._placement.is_separable
            and stack.resampling == "nearest"
            and self._placement.ratio < MANY
        )

    def reaches(self, row: int, col: int, height: int, width: int) -> bool:
        """Return whether the raster has pixels in a window of the grid."""
        return self._source_window(row, col, height, width) is not None

    def read(self, row: int, col: int, height: int, width: int) -> FloatArray:
        """Return values of a window of the grid, float32 (bands, height, width), nodata as NaN.

        The window may reach past the grid and the raster. Sentinel-1 comes in dB, Sentinel-2
        in raw values.
        """
        if self._by_index:
            return self._to_db(self._physical(self._indexed(row, col, height, width)))
        return self._warped(row, col, height, width)

    def _indexed(self, row: int, col: int, height: int, width: int) -> FloatArray:
        """Take for each grid pixel the source pixel under its centre."""
        t, geometry = self._placement.to_source, self.stack.geometry
        assert t is not None  # separable placements have one
        cols = _source_index(t.a, t.c, col, width, geometry.width)
        rows = _source_index(t.e, t.f, row, height, geometry.height)
        out = np.full((len(self.stack.bands), height, width), np.nan, dtype=np.float32)
        inside_rows, inside_cols = np.flatnonzero(rows >= 0), np.flatnonzero(cols >= 0)
        if not (inside_rows.size and inside_cols.size):
            return out
        rows, cols = rows[inside_rows], cols[inside_cols]
        window = Window(
            int(cols.min()), int(rows.min()), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1
        )
        values = self._values(window)
        for axis, places in ((1, rows - rows.min()), (2, cols - cols.min())):
            if not np.array_equal(places, np.arange(values.shape[axis])):
                values = values.take(places, axis=axis)
        if values.shape == out.shape:
            return values
        # Grid pixels with a source pixel lie side by side.
        out[:, _span(inside_rows), _span(inside_cols)] = values
        return out

    def _warped(self, row: int, col: int, height: int, width: int) -> FloatArray:
        """Warp in cells of the grid that lie still, and cut the window from them.

        GDAL interpolates coordinates along each line it is asked for: with lines that always
        start and end at the same place a pixel's value does not depend on the window.
        """
        first, last = col // CELL_WIDTH, (col + width - 1) // CELL_WIDTH
        cells = [self._cell(row, n * CELL_WIDTH, height) for n in range(first, last + 1)]
        left = col - first * CELL_WIDTH
        return np.concatenate(cells, axis=2)[:, :, left : left + width]

    def _cell(self, row: int, col: int, height: int) -> FloatArray:
        out = np.full((len(self.stack.bands), height, CELL_WIDTH), np.nan, dtype=np.float32)
        window = self._source_window(row, col, height, CELL_WIDTH)
        if window is None:
            return out
        values = self._to_power(self._physical(self._values(window)))
        source, target = self.stack.geometry, self._grid
        # The mean of two classes is a third one.
        many = self._placement.ratio >= MANY and self.stack.sensor != "mask"
        # A fixed scale, or GDAL derives one from each window and values depend on the window.
        scale = min(1.0, 1.0 / self._placement.ratio)
        try:
            with stage("warp"):
                reproject(
                    values, out, **_source_place(source, window), src_crs=source.crs,
                    dst_transform=combine(target.transform, Affine.translation(col, row)),
                    dst_crs=target.crs, src_nodata=np.nan, dst_nodata=np.nan,
                    resampling=Resampling["average" if many else self.stack.resampling],
                    XSCALE=scale, YSCALE=scale, UNIFIED_SRC_NODATA="NO",
                )  # fmt: skip
        except RasterioError as problem:
            raise SourceError(
                f"'{self.stack.bands[0].name}' cannot be warped to the grid of Sentinel-2 "
                f"({problem}). Warp it to the same CRS first (in QGIS: Raster > Projections > "
                "Warp)."
            ) from problem
        return self._from_power(out)

    def _values(self, window: Window) -> FloatArray:
        """Return raw values of all bands in a window of the source."""
        shape = (len(self.stack.bands), int(window.height), int(window.width))
        values = np.empty(shape, dtype=np.float32)
        by_path: dict[str, list[int]] = {}
        for position, band in enumerate(self.stack.bands):
            by_path.setdefault(band.path, []).append(position)
        for path, positions in by_path.items():
            bands = [self.stack.bands[position] for position in positions]
            with stage("read"):
                values[positions] = read_bands(self._files[path], bands, window)
        if self.stack.sensor != "mask":
            blank_zeros(values)
        if self.stack.sensor == "s2":
            blank_saturated(values, self.stack.bands)
        values[(values < self.stack.floor) | (values > self.stack.ceiling)] = np.nan
        return values

    def _source_window(self, row: int, col: int, height: int, width: int) -> Window | None:
        """Return the part of the source that a window of the grid needs, None if there is none."""
        outline = np.linspace(0.0, 1.0, 33)
        cols = col + width * np.concatenate([outline, outline, 0 * outline, 0 * outline + 1])
        rows = row + height * np.concatenate([0 * outline, 0 * outline + 1, outline, outline])
        x, y = apply(self._grid.transform, cols, rows)
        geometry = self.stack.geometry
        if geometry.crs != self._grid.crs:
            x, y = project(x, y, self._grid.crs, geometry.crs)
        finite = np.isfinite(x) & np.isfinite(y)
        if not finite.any():
            return None
        c, r = geometry.pixels_of(x[finite], y[finite])
        finite = np.isfinite(c) & np.isfinite(r)
        if not finite.any():
            return None
        c, r = c[finite], r[finite]
        margin = 3 + math.ceil(2 * self._placement.ratio)
        left, right = max(0, math.floor(c.min()) - margin), math.ceil(c.max()) + margin
        top, bottom = max(0, math.floor(r.min()) - margin), math.ceil(r.max()) + margin
        right, bottom = min(right, geometry.width), min(bottom, geometry.height)
        if left >= right or top >= bottom:
            return None
        return Window(left, top, right - left, bottom - top)

    def _physical(self, values: FloatArray) -> FloatArray:
        """Apply the verdict's scale to Sentinel-1; what needs none stays bit for bit."""
        verdict = self.stack.s1
        if verdict is None or (verdict.scale, verdict.offset) == (1.0, 0.0):
            return values
        return values * np.float32(verdict.scale) + np.float32(verdict.offset)

    def _to_power(self, values: FloatArray) -> FloatArray:
        verdict = self.stack.s1
        if verdict is None:
            return values
        if verdict.unit == AMPLITUDE:
            return values * values
        return values if verdict.is_linear else np.power(np.float32(10), values / np.float32(10))

    def _from_power(self, values: FloatArray) -> FloatArray:
        return values if self.stack.s1 is None else to_db(values).astype(np.float32)

    def _to_db(self, values: FloatArray) -> FloatArray:
        """Return what was only copied in dB; decibels stay bit for bit."""
        if self.stack.s1 is None or not self.stack.s1.is_linear:
            return values
        return self._from_power(self._to_power(values))


def _source_place(source: Geometry, window: Window) -> dict[str, Any]:
    """Return how GDAL is told where a window of the source lies."""
    if source.gcps:
        points = source.control_points(int(window.row_off), int(window.col_off))
        return {"gcps": points, "SRC_METHOD": "GCP_TPS"}
    corner = Affine.translation(window.col_off, window.row_off)
    placed = combine(source.transform, corner)
    if source.crs.is_geographic:
        # East of 180 degrees GDAL finds nothing: 181 is 179 west to it.
        middle = placed.c + placed.a * window.width / 2 + placed.b * window.height / 2
        turns = round(middle / 360.0)
        placed = Affine(placed.a, placed.b, placed.c - 360.0 * turns, placed.d, placed.e, placed.f)
    return {"src_transform": placed}


def open_stacks(stack_list: Sequence[Stack], grid: Geometry, exits: ExitStack) -> list[StackReader]:
    """Open the files of all stacks, each once; ``exits`` closes them."""
    paths = {band.path for stack in stack_list for band in stack.bands}
    files = {path: exits.enter_context(open_raster(path)) for path in sorted(paths)}
    return [StackReader(stack, grid, files) for stack in stack_list]


def _span(places: np.ndarray) -> slice:
    return slice(int(places[0]), int(places[-1]) + 1)


def _source_index(scale: float, offset: float, start: int, count: int, size: int) -> np.ndarray:
    """Return the source index under each pixel centre, -1 outside the raster."""
    centres = offset + scale * (start + np.arange(count) + 0.5)
    # A centre exactly between two pixels must not fall to either side by rounding.
    index = np.floor(centres + 1e-6).astype(np.int64)
    return np.where((index >= 0) & (index < size), index, -1)
