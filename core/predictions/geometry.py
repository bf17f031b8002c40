"""A tile's square as a GeoPackage stores it: a header with the box, then WKB."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ..contract.result import Corner

# GeoPackage 1.2, 2.1.3, all little endian: magic, version, flags, CRS, box of x and y; then WKB of
# a polygon with one ring of five points. fudgeo's polygons are the same bytes at ten times the
# time: they go through numpy for each ring.
_SQUARE = struct.Struct("<2sBBi4dBIII10d")
_MAGIC, _VERSION = b"GP", 0
_LITTLE_ENDIAN, _BOX_OF_XY = 1, 1 << 1
_POLYGON, _RINGS, _POINTS = 3, 1, 5


def square_blob(corners: Sequence[Corner], srs_id: int) -> bytes:
    """Return the polygon of four corners, closed."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners
    return _SQUARE.pack(
        _MAGIC, _VERSION, _LITTLE_ENDIAN | _BOX_OF_XY, srs_id,
        min(ax, bx, cx, dx), max(ax, bx, cx, dx), min(ay, by, cy, dy), max(ay, by, cy, dy),
        _LITTLE_ENDIAN, _POLYGON, _RINGS, _POINTS, ax, ay, bx, by, cx, cy, dx, dy, ax, ay,
    )  # fmt: skip
