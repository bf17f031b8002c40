"""Band maps as users write them, on the command line and in QGIS alike."""

from __future__ import annotations

from .channels import MASKS, S1_BANDS, S2_BANDS
from .errors import JobError

MAPPED = (*S2_BANDS, "B10", *S1_BANDS, *MASKS)
"""What a band map may name."""

_MOST_DIGITS = 8  # more is a slip of the keyboard, and in the thousands int() itself refuses
_CHANNELS = {name.casefold(): name for name in MAPPED}


def read_band_map(text: str) -> dict[str, int]:
    """Read ``B02=1,B03=2``; upper and lower case count as equal, blank text is an empty map.

    Whether the channels are known is not asked here but by RasterSource.
    """
    bands: dict[str, int] = {}
    for piece in _pieces(text):
        name, _, number = (side.strip() for side in piece.partition("="))
        if not (name and number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS):
            raise JobError(
                f"The band map '{text}' is not understood at '{piece}': write channel=band number, "
                "as in B02=1,B03=2."
            )
        channel = _CHANNELS.get(name.casefold(), name)
        if channel in bands:
            raise JobError(
                f"{channel} stands twice in the band map '{text}': name one band for it."
            )
        bands[channel] = int(number)
    return bands


def _pieces(text: str) -> list[str]:
    """Split at commas; one too many is let go, but not a text of nothing else."""
    pieces = [piece for piece in map(str.strip, text.split(",")) if piece]
    return pieces or ([text] if text.strip() else [])
