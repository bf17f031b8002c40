"""A small, evenly spread sample of a band: what histograms are made from, once a scene."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from rasterio.windows import Window

from .pixels import Band, FloatArray, blank_sentinels, blank_zeros, open_raster, read_bands

# A raster up to this many pixels a side is read as a whole.
WHOLE = 1500
# Else: this many windows along each axis, of this many pixels a side.
WINDOWS = 8
WINDOW = 32
ENOUGH = 1000


def sample_bands(bands: Sequence[Band], sentinels: bool = False) -> Mapping[str, FloatArray]:
    """Return the valid raw values of each band in a sample of the whole raster, 1-D."""
    samples: dict[str, FloatArray] = {}
    ordered = sorted(bands, key=lambda band: band.path)
    for path, group in groupby(ordered, key=lambda band: band.path):
        members = list(group)
        with open_raster(path) as dataset:
            values = _sample(dataset, members)
        blank_zeros(values)
        if sentinels:
            blank_sentinels(values)
        for band, layer in zip(members, values, strict=True):
            samples[band.channel] = layer[~np.isnan(layer)]
    return samples


def _sample(dataset: object, bands: list[Band]) -> FloatArray:
    height, width = bands[0].geometry.height, bands[0].geometry.width
    if max(height, width) <= WHOLE or all(band.has_overviews for band in bands):
        return _decimated(dataset, bands)
    parts = [read_bands(dataset, bands, window) for window in _windows(width, height)]
    values = np.concatenate([part.reshape(len(bands), -1) for part in parts], axis=1)[:, None, :]
    # A narrow swath may slip between the windows.
    enough = np.count_nonzero(~np.isnan(values) & (values != 0)) >= ENOUGH
    return values if enough else _decimated(dataset, bands)


def _decimated(dataset: object, bands: list[Band]) -> FloatArray:
    height, width = bands[0].geometry.height, bands[0].geometry.width
    factor = max(1, math.ceil(max(height, width) / WHOLE))
    return read_bands(dataset, bands, shape=(math.ceil(height / factor), math.ceil(width / factor)))


def _windows(width: int, height: int) -> list[Window]:
    """Return windows in the middle of the cells of a lattice over the raster."""
    size = min(WINDOW, width), min(WINDOW, height)
    middles = (np.arange(WINDOWS) + 0.5) / WINDOWS
    cols = (middles * (width - size[0])).astype(int).tolist()
    rows = (middles * (height - size[1])).astype(int).tolist()
    return [Window(col, row, *size) for row in rows for col in cols]
