"""Which rasters are of one kind: their names without what differs from scene to scene."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

# B02 and B8A say which band a file holds: that is no number of a scene.
_BAND = re.compile(r"(?<![0-9A-Z])B(?:0[1-9]|1[0-2]|8A)(?![0-9A-Z])", re.I)
_VARYING = (
    (re.compile(r"(?<![0-9A-Z])T?\d{2}[C-HJ-NP-X][A-HJ-NP-Z]{2}(?![A-Z])", re.I), "{tile}"),
    (re.compile(r"(?<!\d)\d{8}T\d{6}(?!\d)", re.I), "{date}"),
    (re.compile(r"(?<!\d)(?:19|20)\d{2}([-_.]?)[01]\d\1[0-3]\d(?!\d)"), "{date}"),
    (re.compile(r"\d+"), "#"),
)


def source_pattern(name: str, band_count: int) -> str:
    """Return what the names of all rasters of one kind share, and how many bands they have.

    ``name`` is a file name or path; dates, tile ids and all other numbers are left out.
    """
    name = PurePath(name.replace("\\", "/")).name.lower()
    pieces, start = [], 0
    for band in _BAND.finditer(name):
        pieces += [_without_numbers(name[start : band.start()]), band.group()]
        start = band.end()
    pieces.append(_without_numbers(name[start:]))
    return f"{''.join(pieces)}|{band_count}"


def set_pattern(patterns: Iterable[str]) -> str:
    """Return the pattern of rasters that are used together; empty where there are none."""
    return " + ".join(sorted(set(patterns)))


def _without_numbers(text: str) -> str:
    for expression, sign in _VARYING:
        text = expression.sub(sign, text)
    return text
