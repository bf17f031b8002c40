"""What the two sensors' verdicts about their numbers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.errors import RadiometryError
from .pixels import Band

EMPTY = "{} has no valid pixel in the sample that was looked at: the raster may be empty."


@dataclass(frozen=True)
class SceneWarning:
    """Something the user should know before trusting the result."""

    code: str
    message: str


def stated_scale(bands: Sequence[Band], sensor: str) -> tuple[float, float]:
    """Return the scale and offset that the band metadata state; they must agree."""
    stated = {(band.scale, band.offset) for band in bands}
    if len(stated) != 1:
        raise RadiometryError(
            f"The {sensor} bands carry different scale or offset metadata, so their values "
            "cannot be brought together. Make them equal (gdal_edit.py -scale -offset)."
        )
    scale, offset = stated.pop()
    if not (np.isfinite(scale) and np.isfinite(offset) and scale > 0):
        raise RadiometryError(
            f"The scale {scale:g} and offset {offset:g} in the metadata of {sensor} make no sense. "
            "Correct or remove them (gdal_edit.py -unsetscale -unsetoffset)."
        )
    return scale, offset
