"""On which day a raster was taken, by what its names and tags say; never by the file's own time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date

_ISO = re.compile(r"(?<!\d)(20[12]\d)[-:_/.]?(0[1-9]|1[0-2])[-:_/.]?(0[1-9]|[12]\d|3[01])(?!\d)")
# Sensing time, as ESA and BigEarthNet write it in names; the first one of a name is the start.
_SENSING = re.compile(r"(?<!\d)(20[12]\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])T\d{6}(?!\d)")
_TAGS = (
    "DATATAKE_1_DATATAKE_SENSING_START", "PRODUCT_START_TIME", "SENSING_TIME", "ACQUISITION_DATE",
    "ACQUISITIONDATETIME", "DATETIME", "DATE", "NETCDF_DIM_TIME_UNITS",
)  # fmt: skip


def iso_date(text: str) -> str | None:
    """Return the first date in a text as ``2017-06-13``, None without one since 2014."""
    match = _SENSING.search(text) or _ISO.search(text)
    if match is None:
        return None
    try:
        found = date(*(int(part) for part in match.groups()))
    except ValueError:  # 2021-02-30
        return None
    return found.isoformat() if found.year >= 2014 else None


def tagged_date(tags: Mapping[str, str]) -> str | None:
    """Return the date that a raster's tags state."""
    upper = {key.upper(): value for key, value in tags.items()}
    # Other programs write there when they made the file.
    if upper.get("TIFFTAG_IMAGEDESCRIPTION", "").startswith("Sentinel-1"):
        found = iso_date(upper.get("TIFFTAG_DATETIME", ""))
        if found:
            return found
    return next(filter(None, (iso_date(upper.get(key, "")) for key in _TAGS)), None)


def named_date(path: str) -> str | None:
    """Return the date in the name of a file, else in those of the three folders above it."""
    names = path.replace("\\", "/").split("/")[:-5:-1]
    return next(filter(None, map(iso_date, names)), None)


def days_apart(first: Iterable[str], second: Iterable[str]) -> int | None:
    """Return the largest distance in days between a date of one and its nearest of the other."""
    one, other = ([date.fromisoformat(text) for text in texts] for texts in (first, second))
    if not (one and other):
        return None
    return max(min(abs((a - b).days) for b in other) for a in one)
