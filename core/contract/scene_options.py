"""What the user decided about a scene, where the data leave it open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._codec import as_object, take
from .errors import JobError

AUTO = "auto"
S1_UNITS = (AUTO, "db", "power", "amplitude", "db*100")
"""How Sentinel-1 is to be read; ``auto`` decides from names, metadata and histogram."""

S2_OFFSETS = (0.0, -1000.0)
"""The offsets that Sentinel-2 products carry: before and since processing baseline 04.00."""

DEFAULT_MAX_DAYS = 10
_MAX_OFFSET = 10_000.0
_NUMBER = (int, float)


@dataclass(frozen=True)
class SceneOptions:
    """Decisions about a pair of scenes; the defaults decide nothing.

    Attributes:
        s2_offset: DN to add to Sentinel-2 (0 or -1000), None to go by metadata.
        s1_unit: one of :data:`S1_UNITS`.
        mask_classes: values of the mask that count as cloud (bits for QA60); empty takes the
            usual ones of the kind of mask.
        max_cloud: share of cloud over which a tile is skipped; 1 skips none.
        fill_missing: give channels that are not there their training mean.
        max_days: days between Sentinel-1 and Sentinel-2 from which on to warn.
        any_pixel_size: take Sentinel-2 also far from the model's ground resolution.
    """

    s2_offset: float | None = None
    s1_unit: str = AUTO
    mask_classes: tuple[int, ...] = ()
    max_cloud: float = 1.0
    fill_missing: bool = False
    max_days: int = DEFAULT_MAX_DAYS
    any_pixel_size: bool = False

    def __post_init__(self) -> None:
        offset = self.s2_offset
        if offset is not None and offset != 0 and not -_MAX_OFFSET <= offset <= -1:
            raise JobError(
                f"The Sentinel-2 offset is what must be added to each DN: 0 or -1000, not {offset}."
            )
        if self.s1_unit not in S1_UNITS:
            raise JobError(f"The Sentinel-1 unit must be one of {', '.join(S1_UNITS)}.")
        if not all(0 <= value <= 65_535 for value in self.mask_classes):
            raise JobError("Mask classes are whole numbers from 0 to 65535, such as 3,8,9,10.")
        if not 0.0 <= self.max_cloud <= 1.0:
            raise JobError("The share of cloud over which a tile is skipped lies between 0 and 1.")
        if self.max_days < 0:
            raise JobError(
                "The number of days between Sentinel-1 and Sentinel-2 must be 0 or more."
            )


def options_from_dict(payload: Any) -> SceneOptions:
    """Read options as they travel in a job."""
    data: Mapping[str, Any] = as_object(payload, JobError, "The scene options")
    kinds: dict[str, Any] = {
        "s2_offset": (int, float, type(None)), "s1_unit": str, "max_cloud": _NUMBER,
        "fill_missing": bool, "max_days": int, "any_pixel_size": bool,
    }  # fmt: skip
    values = {key: take(data, key, kind, JobError, "options") for key, kind in kinds.items()}
    classes = take(data, "mask_classes", (list, tuple), JobError, "options")
    return SceneOptions(**values, mask_classes=whole_numbers(classes))


def parse_mask_classes(text: str) -> tuple[int, ...]:
    """Read ``3,8,9,10``; JobError where it is no list of whole numbers."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):
        raise JobError(f"The mask classes '{text}' are not like 3,8,9,10.")
    return tuple(int(part) for part in parts)


def whole_numbers(values: Any) -> tuple[int, ...]:
    """Return a sequence of whole numbers as a tuple; JobError for anything else in it."""
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise JobError("Mask classes are whole numbers, such as 3,8,9,10.")
    return tuple(values)
