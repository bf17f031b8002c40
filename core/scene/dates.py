"""On which day a raster was taken, by what its names and tags say; never by the file's own time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

_ISO = re.compile(r"(?<!\d)(20[12]\d)[-:_/.]?(0[1-9]|1[0-2])[-:_/.]?(0[1-9]|[12]\d|3[01])(?!\d)")
# Sensing time, as ESA and BigEarthNet write it in names; the first one of a name is the start.
_SENSING = re.compile(r"(?<!\d)(20[12]\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])T\d{6}(?!\d)")
_TAGS = (
    "DATATAKE_1_DATATAKE_SENSING_START", "PRODUCT_START_TIME", "SENSING_TIME", "ACQUISITION_DATE",
    "ACQUISITIONDATETIME", "DATETIME", "DATE",
)  # fmt: skip
# The unit of a time axis, as CF writes it: "days since 1990-01-01 00:00:00".
_SINCE = re.compile(r"\s*([a-z]+)\s+since\s+(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ]+(\d{1,2}))?", re.I)
_AXIS = "NETCDF_DIM_"
_SECONDS = {"day": 86_400.0, "hour": 3_600.0, "hr": 3_600.0, "minute": 60.0, "min": 60.0,
            "second": 1.0, "sec": 1.0, "millisecond": 1e-3, "microsecond": 1e-6,
            "nanosecond": 1e-9}  # fmt: skip


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


def axis_date(tags: Mapping[str, str], band_tags: Mapping[str, str]) -> str | None:
    """Return the day of a band on a NetCDF time axis, of whatever name.

    GDAL gives the unit with the raster (``t#units``), the band's place on the axis with the band
    (``NETCDF_DIM_t``).
    """
    for key, value in band_tags.items():
        unit = _SINCE.match(tags.get(f"{key.removeprefix(_AXIS)}#units", ""))
        if key.startswith(_AXIS) and unit:
            return _since(unit, value)
    return None


def _since(unit: re.Match[str], value: str) -> str | None:
    step = _SECONDS.get(unit.group(1).lower().removesuffix("s"))
    year, month, day, hour = (int(part or 0) for part in unit.groups()[1:])
    try:
        moment = datetime(year, month, day, hour) + timedelta(seconds=float(value) * (step or 0))
    except (ValueError, OverflowError):
        return None
    return iso_date(moment.date().isoformat()) if step else None


def behind_date(paths: Iterable[str]) -> str | None:
    """Return the one date in the names of the files behind a virtual band."""
    found = set(map(named_date, paths))
    return found.pop() if len(found) == 1 else None


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
