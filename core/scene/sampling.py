"""A small, evenly spread sample of a raster: what is judged from, once a scene."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import rasterio
from rasterio.windows import Window

from .blocks import huge_blocks, with_room_for
from .geometry import Geometry
from .pixels import (
    LOOKING_OPTIONS,
    Band,
    FloatArray,
    blank_sentinels,
    blank_zeros,
    open_raster,
    read_bands,
)
from .stopping import on_any_thread

# A raster up to this many pixels a side is read as a whole.
WHOLE = 1500
ENOUGH = 1000
# Percentiles of more values than this are no truer, and take longer than reading them.
MOST = 100_000
READERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Depth:
    """How closely a larger raster is looked at.

    With overviews it is read at up to ``overview`` pixels a side. Else each of ``lattices`` has so
    many windows along each axis of so many pixels a side; the next one is read only where the one
    before holds too few pixels, as with a narrow swath. JPEG 2000 makes an overview from all of
    its blocks: of ``blocks`` only, along each axis, where it is not 0.
    """

    overview: int
    lattices: tuple[tuple[int, int], ...]
    blocks: int = 0


CLOSE = Depth(700, ((8, 32), (24, 16), (72, 8)))
# For bands that need only agree with those that were looked at.
GLANCE = Depth(350, ((3, 32), *CLOSE.lattices), blocks=3)


@dataclass(frozen=True)
class Sample:
    """``values`` are the valid raw values of each band, 1-D.

    ``valid`` (rows, columns) says for cells of the raster lying at ``geometry`` which share of
    their pixels is measured.
    """

    values: Mapping[str, FloatArray]
    geometry: Geometry
    valid: FloatArray

    def valid_at(self, cols: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the valid share around pixel positions of the raster, 0 outside of it."""
        width, height = self.geometry.width, self.geometry.height
        inside = (cols >= 0) & (cols < width) & (rows >= 0) & (rows < height)
        x = np.clip(cols / width * self.valid.shape[1], 0, self.valid.shape[1] - 1).astype(int)
        y = np.clip(rows / height * self.valid.shape[0], 0, self.valid.shape[0] - 1).astype(int)
        return np.where(inside, self.valid[y, x], 0.0)


def sample_bands(bands: Sequence[Band], sensor: str, depth: Depth = CLOSE) -> Sample:
    """Return a sample of the whole raster; bands of several files are sampled one by one."""
    samples: dict[str, FloatArray] = {}
    finest = min((band.geometry for band in bands), key=lambda g: g.pixel_size_m)
    valid: FloatArray | None = None
    ordered = sorted(bands, key=lambda band: band.path)
    for _, group in groupby(ordered, key=lambda band: band.path):
        members = list(group)
        cells = read_cells(members, depth)
        blank_zeros(cells)
        if sensor == "s1":
            blank_sentinels(cells)
        for band, layer in zip(members, cells, strict=True):
            values = layer[~np.isnan(layer)]
            samples[band.channel] = values[:: max(1, values.size // MOST)]
        if members[0].geometry == finest:
            # Radar needs both of its bands, an optical pixel may be 0 in some.
            blank = np.isnan(cells)
            measured = ~(blank.any(axis=0) if sensor == "s1" else blank.all(axis=0))
            own = measured.mean(axis=(2, 3)).astype(np.float32)
            valid = own if valid is None else _joined(valid, own, sensor)
    assert valid is not None  # one of the bands is the finest
    return Sample(samples, finest, valid)


def _joined(valid: FloatArray, own: FloatArray, sensor: str) -> FloatArray:
    if own.shape != valid.shape:
        return valid
    return np.minimum(valid, own) if sensor == "s1" else np.maximum(valid, own)


def read_cells(bands: list[Band], depth: Depth = CLOSE) -> FloatArray:
    """Return values as (bands, cell rows, cell columns, rows in a cell, columns in it)."""
    height, width = bands[0].geometry.height, bands[0].geometry.width
    if max(height, width) <= WHOLE:
        return _decimated(bands, WHOLE)
    if all(band.has_overviews for band in bands):
        cells = _some_blocks(bands, depth)
        return _decimated(bands, depth.overview) if cells is None else cells
    for count, size in depth.lattices:
        windows = _windows(width, height, count, size)
        parts = _read_windows(bands, windows)
        values = np.stack(parts, axis=1).reshape(len(bands), count, count, *parts[0].shape[1:])
        if _is_enough(values):
            break
    return values


def _is_enough(values: FloatArray) -> bool:
    return int(np.count_nonzero(~np.isnan(values) & (values != 0))) >= ENOUGH


def _read_windows(bands: list[Band], windows: list[Window]) -> list[FloatArray]:
    """Read windows of one file on several threads: GDAL decodes a block on one alone."""
    # Each thread would decode a huge block for itself.
    share = len(windows) if huge_blocks(bands) else -(-len(windows) // READERS)
    options = with_room_for(bands, LOOKING_OPTIONS)
    shares = [windows[start : start + share] for start in range(0, len(windows), share)]

    def read(some: list[Window]) -> list[FloatArray]:
        with rasterio.Env(**options), open_raster(bands[0].path) as dataset:
            return [read_bands(dataset, bands, window) for window in some]

    with ThreadPoolExecutor(READERS) as pool:
        return [values for part in pool.map(on_any_thread(read), shares) for values in part]


def _decimated(bands: list[Band], most: int) -> FloatArray:
    """Return bands as cells of one pixel, at most about ``most`` of them a side."""
    height, width = bands[0].geometry.height, bands[0].geometry.width
    factor = max(1, math.ceil(max(height, width) / most))
    shape = -(-height // factor), -(-width // factor)
    with open_raster(bands[0].path) as dataset:
        values = read_bands(dataset, bands, shape=shape)
    return values[:, :, :, None, None]


def _some_blocks(bands: list[Band], depth: Depth) -> FloatArray | None:
    """Return whole blocks as cells; None where that saves nothing or finds too few pixels."""
    size, (rows, columns), count = bands[0].geometry, bands[0].block, depth.blocks
    across, down = size.width // columns, size.height // rows
    if not count or not bands[0].is_wavelet or min(across, down) < count + 2:
        return None
    factor = math.ceil(max(size.width, size.height) / depth.overview)
    shape = max(1, rows // factor), max(1, columns // factor)
    tops, lefts = (
        (np.linspace(0, most - 1, count).round().astype(int) * step).tolist()
        for most, step in ((down, rows), (across, columns))
    )
    windows = [Window(left, top, columns, rows) for top in tops for left in lefts]
    with open_raster(bands[0].path) as dataset:
        parts = [read_bands(dataset, bands, window, shape) for window in windows]
    values = np.stack(parts, axis=1).reshape(len(bands), count, count, *shape)
    return values if _is_enough(values) else None


def _windows(width: int, height: int, count: int, size: int) -> list[Window]:
    """Return windows in the middle of the cells of a lattice over the raster."""
    across, down = min(size, width), min(size, height)
    middles = (np.arange(count) + 0.5) / count
    cols = (middles * (width - across)).astype(int).tolist()
    rows = (middles * (height - down)).astype(int).tolist()
    return [Window(col, row, across, down) for row in rows for col in cols]
