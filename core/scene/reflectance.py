"""Does Sentinel-2 hold reflectance from 0 to 1 or DN, or neither? Told by its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..contract.errors import RadiometryError
from .pixels import Band, FloatArray

DN_PER_REFLECTANCE = 10_000.0
# Reflectance above 3 does not occur; DN of a whole scene below 150 is none, nor is reflectance
# below 0.015.
_MAX_REFLECTANCE = 3.0
_MIN_DN = 150.0
_MAX_MEDIAN_DN = 30_000.0
# The smallest DN of a measured pixel is 1. Water reaches it in red, land never in blue.
_LEAST_DN, _NEVER_LEAST, _MAX_LEAST = 1.0, "B02", 0.3


def is_reflectance(
    values: Mapping[str, FloatArray], bands: Sequence[Band], scale: float, offset: float
) -> bool:
    """Tell reflectance 0-1 from DN; RadiometryError where the values are neither."""
    # A negative offset may have been removed before: that is asked about later.
    pooled = np.concatenate(list(values.values())).astype(np.float64) * scale + max(offset, 0.0)
    high, median = float(np.percentile(pooled, 99)), float(np.median(pooled))
    is_float = scale != 1.0 or any(band.dtype.startswith("float") for band in bands)
    if is_float and median > -1.0 and high <= _MAX_REFLECTANCE:
        if high * DN_PER_REFLECTANCE < _MIN_DN:
            raise _too_low(high, scale)
        return True
    # Reflectance with fill that nobody declared has a median of reflectance all the same.
    if high < _MIN_DN or not _MAX_REFLECTANCE < median <= _MAX_MEDIAN_DN:
        raise RadiometryError(
            f"Sentinel-2 values are neither DN (reflectance x 10000) nor reflectance from 0 to 1: "
            f"99 % of those looked at are below {high:.4g}, half below {median:.4g}. Choose the "
            "original product, rescale the raster to reflectance x 10000, or declare its nodata "
            "value where it holds fill (gdal_edit.py -a_nodata).",
            p99=high, median=median,
        )  # fmt: skip
    return False


def check_clipped(values: Mapping[str, FloatArray], bands: Sequence[Band], scale: float) -> None:
    """Refuse DN of which an offset was removed twice, what was below it being cut off."""
    blue = values.get(_NEVER_LEAST)
    if blue is None or scale != 1.0 or any(band.dtype.startswith("float") for band in bands):
        return
    cut = float(((blue >= 0) & (blue <= _LEAST_DN)).mean())
    if cut > _MAX_LEAST:
        raise RadiometryError(
            f"{cut:.0%} of the pixels of {_NEVER_LEAST} of Sentinel-2 are 0 or 1: an offset seems "
            "to have been removed twice, and what was dark is lost. Choose the original product.",
            share=cut,
        )


def check_same_unit(
    values: Mapping[str, FloatArray], main: Mapping[str, FloatArray], physically: bool
) -> None:
    """Refuse bands in another unit than those that were looked at first."""
    for name, sample in values.items():
        if sample.size and (float(np.percentile(sample, 99)) <= _MAX_REFLECTANCE) != physically:
            raise RadiometryError(
                f"{name} of Sentinel-2 is in another unit than {', '.join(main)}: one is "
                "reflectance from 0 to 1, the other DN. Bring all bands to one unit."
            )


def _too_low(high: float, scale: float) -> RadiometryError:
    cause = (
        f"The band metadata say to multiply them by {scale:g}, which may have been done before: "
        "remove that where it was (gdal_edit.py -unsetscale -unsetoffset)"
        if scale != 1.0
        else "Rescale the raster to reflectance from 0 to 1"
    )
    return RadiometryError(
        f"Sentinel-2 is no reflectance: 99 % of the values looked at are below {high:.2g}, where "
        f"a scene has some tenths. {cause}, or choose the original product.",
        p99=high, scale=scale,
    )  # fmt: skip
