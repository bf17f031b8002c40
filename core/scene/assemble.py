"""From raw bands on the grid to what the model sees: physical, indexed, normalised, masked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..contract.channels import INDEX_BANDS
from ..contract.spec import ChannelSpec
from .pixels import FloatArray

# Backscatter lies between -60 and +40 dB.
MOST_DB = 100.0


def valid_s2(raw: Mapping[str, FloatArray]) -> np.ndarray:
    """Return where a pixel (H, W) is measured: it is nodata when every band is, or is 0."""
    stack = np.stack(list(raw.values()))
    return np.asarray(~(np.isnan(stack) | (stack == 0)).all(axis=0))


def valid_s1(decibels: Mapping[str, FloatArray]) -> np.ndarray:
    """Return where both polarisations are (H, W): one without the other is no measurement.

    Nor is what no radar can see: such a number would overflow within the network, and a ReLU
    makes a harmless zero of one side of it.
    """
    stack = np.stack(list(decibels.values()))
    return np.asarray((np.abs(stack) < MOST_DB).all(axis=0))  # NaN is less than nothing


Layer = tuple[Mapping[str, FloatArray], np.ndarray]


def overlay(layers: Iterable[Layer]) -> Layer | None:
    """Return the parts of a mosaic as one: a pixel is that of the first part that has it.

    All bands of a pixel come from one part. None where there is no part at all.
    """
    values: dict[str, FloatArray] = {}
    valid: np.ndarray | None = None
    for more, more_valid in layers:
        if valid is None:
            values, valid = dict(more), more_valid
            continue
        new = more_valid & ~valid
        values = {name: np.where(new, more[name], band) for name, band in values.items()}
        valid = valid | new
    return None if valid is None else (values, valid)


def assemble(
    values: Mapping[str, FloatArray], valid: np.ndarray, channels: Sequence[ChannelSpec]
) -> FloatArray:
    """Return normalised channels (C, H, W) of physical bands: DN without offset, or dB.

    A gap in one band alone, and a band that is not there at all, are filled like nodata, with
    the training mean (0 when normalised).
    """
    nothing = np.full(valid.shape, np.nan, dtype=np.float32)
    layers = [_channel(item.name, values, nothing) for item in channels]
    return _normalised(np.stack(layers), channels, valid)


def normalised_difference(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return (first - second) / (first + second), 0 where the sum is 0, within -1 and 1."""
    total = first + second
    ratio = np.divide(first - second, total, out=np.zeros_like(total), where=total != 0)
    # Noise below zero reflectance would throw the ratio far outside its range.
    return np.clip(ratio, -1, 1)


def _channel(name: str, values: Mapping[str, FloatArray], nothing: FloatArray) -> FloatArray:
    bands: tuple[str, ...] = INDEX_BANDS.get(name, (name,))
    if not all(band in values for band in bands):
        return nothing
    if name in INDEX_BANDS:
        first, second = INDEX_BANDS[name]
        return normalised_difference(values[first], values[second])
    return values[name]


def _normalised(
    values: FloatArray, channels: Sequence[ChannelSpec], valid: np.ndarray
) -> FloatArray:
    mean = np.array([item.mean for item in channels], dtype=np.float32)[:, None, None]
    std = np.array([item.std for item in channels], dtype=np.float32)[:, None, None]
    out: FloatArray = (values - mean) / std
    out[~(np.isfinite(out) & valid)] = 0.0
    return out
