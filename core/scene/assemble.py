"""From raw bands on the grid to what the model sees: physical, indexed, normalised, masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..contract.channels import INDEX_BANDS
from ..contract.spec import ChannelSpec
from .pixels import FloatArray
from .radiometry import S2Verdict


def assemble_s2(
    raw: Mapping[str, FloatArray], channels: Sequence[ChannelSpec], verdict: S2Verdict
) -> tuple[FloatArray, np.ndarray]:
    """Return normalised channels (C, H, W) and a mask of valid pixels (H, W).

    ``raw`` holds each base band as stored, NaN where nodata. A pixel is nodata when every band
    is; a gap in one band alone is filled like it, with the training mean (0 when normalised).
    """
    stack = np.stack(list(raw.values()))
    valid: np.ndarray = np.asarray(~(np.isnan(stack) | (stack == 0)).all(axis=0))
    dn = {name: _dn(band, verdict) for name, band in raw.items()}
    values = np.stack([_channel(item.name, dn) for item in channels])
    return _normalised(values, channels, valid), valid


def assemble_s1(
    decibels: Mapping[str, FloatArray], channels: Sequence[ChannelSpec]
) -> tuple[FloatArray, np.ndarray]:
    """Return normalised channels (C, H, W) and a mask of valid pixels (H, W).

    A pixel is valid where both polarisations are: one without the other is no measurement.
    """
    values = np.stack([decibels[item.name] for item in channels])
    valid: np.ndarray = np.asarray(np.isfinite(values).all(axis=0))
    return _normalised(values, channels, valid), valid


def normalised_difference(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return (first - second) / (first + second), 0 where the sum is 0, within -1 and 1."""
    total = first + second
    ratio = np.divide(first - second, total, out=np.zeros_like(total), where=total != 0)
    # Noise below zero reflectance would throw the ratio far outside its range.
    return np.clip(ratio, -1, 1)


def _dn(band: FloatArray, verdict: S2Verdict) -> FloatArray:
    """Return reflectance x 10000; plain DN stay bit for bit."""
    values = band
    if verdict.offset:
        # With an offset 0 can only mean nodata: the darkest pixel is above it.
        values = np.where(band == 0, np.nan, band + np.float32(verdict.offset))
    return values if verdict.factor == 1.0 else values * np.float32(verdict.factor)


def _channel(name: str, dn: Mapping[str, FloatArray]) -> FloatArray:
    if name in INDEX_BANDS:
        first, second = INDEX_BANDS[name]
        return normalised_difference(dn[first], dn[second])
    return dn[name]


def _normalised(
    values: FloatArray, channels: Sequence[ChannelSpec], valid: np.ndarray
) -> FloatArray:
    mean = np.array([item.mean for item in channels], dtype=np.float32)[:, None, None]
    std = np.array([item.std for item in channels], dtype=np.float32)[:, None, None]
    out: FloatArray = (values - mean) / std
    out[~(np.isfinite(out) & valid)] = 0.0
    return out
