"""Band maps as users write them, in the dock and in Processing alike."""

from __future__ import annotations

from .about import tr
from .core.contract.channels import MASKS
from .core.contract.errors import JobError

CLOUD_MASK = MASKS[-1]
"""What a band map calls the band of a cloud mask that is of no known kind."""


def band_map(text: str) -> dict[str, int]:
    """Read ``B02=1,B03=2``; raises JobError with the expected form."""
    bands: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, number = (piece.strip() for piece in part.partition("="))
        # Python takes "²" for a digit, and not for a number.
        is_number = number.isascii() and number.isdigit() and len(number) < 9
        if not name or not is_number or name.upper() in bands:
            raise JobError(
                tr(
                    "The band map '{}' is not understood at '{}': write channel=band number, "
                    "each channel once, as in B02=1,B03=2."
                ).format(text, part)
            )
        bands[name.upper()] = int(number)
    return bands
