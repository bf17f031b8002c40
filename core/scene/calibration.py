"""Raw Sentinel-1 GRD to sigma0, by the calibration vectors of its SAFE product.

Source: ESA, Radiometric Calibration of S-1 Level-1 Products (ESA-EOPG-CSCOP-TN-0002):
sigma0 = DN^2 / A^2, A interpolated bilinearly between the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..contract.errors import SourceError
from ..contract.product_parts import calibration_place
from .files import archive_member, archive_names, content_state, parse_xml
from .xml_text import Element

_MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class Calibration:
    """Sigma nought vectors: ``lines`` (L,), ``pixels`` and ``values`` one array a line."""

    lines: np.ndarray
    pixels: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]

    def sigma0(self, dn: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Return linear sigma0 of raw DN (R, C) that lie at ``rows`` (R,) and ``cols`` (C,)."""
        last = len(self.lines) - 1
        first = int(np.clip(np.searchsorted(self.lines, rows[0], "right") - 1, 0, last))
        end = int(np.clip(np.searchsorted(self.lines, rows[-1], "left"), first, last))
        used = range(first, end + 1)
        across = np.stack([np.interp(cols, self.pixels[n], self.values[n]) for n in used])
        place = np.interp(rows, self.lines[first : end + 1], np.arange(len(across)))
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, len(across) - 1)
        weight = (place - below)[:, None]
        factor = across[below] * (1 - weight) + across[above] * weight
        return np.asarray(dn.astype(np.float64) ** 2 / factor**2, dtype=np.float32)


def calibration_file(path: str) -> str | None:
    """Return the calibration xml of a measurement of a SAFE folder or zip, None without one."""
    place = calibration_place(path)
    if place is None:
        return None
    inside = archive_member(place)
    if inside is not None:
        return place if inside[1] in archive_names(inside[0]) else None
    return place if Path(place).is_file() else None


def read_calibration(path: str) -> Calibration:
    """Read the vectors of a calibration xml; SourceError where it is damaged."""
    return _read(path, content_state(path))


@lru_cache(maxsize=8)
def _read(path: str, _state: tuple[int, int]) -> Calibration:
    """Asked for every window, and by a worker that outlives a second download."""
    root = parse_xml(path, _MAX_BYTES)
    vectors = list(root.iter("calibrationVector"))
    try:
        lines = np.array([float(_text(vector, "line")) for vector in vectors])
        pixels = tuple(_numbers(vector, "pixel") for vector in vectors)
        values = tuple(_numbers(vector, "sigmaNought") for vector in vectors)
        fits = all(len(p) == len(v) > 0 for p, v in zip(pixels, values, strict=True))
        if not vectors or not fits or not all(map(_rises, (lines, *pixels))):
            raise ValueError("no usable calibration vectors")
        if not all(np.isfinite(v).all() and (v > 0).all() for v in values):
            raise ValueError("a calibration value that is not positive")
    except ValueError as problem:
        raise SourceError(
            f"The calibration of Sentinel-1 in '{path}' cannot be read ({problem}). Download the "
            "product again, or calibrate it to sigma0 in SNAP.",
            path=path,
        ) from problem
    return Calibration(lines, pixels, values)


def _rises(places: np.ndarray) -> bool:
    return bool(np.isfinite(places).all() and (np.diff(places) > 0).all())


def _text(node: Element, tag: str) -> str:
    return node.findtext(tag) or ""


def _numbers(node: Element, tag: str) -> np.ndarray:
    return np.array([float(text) for text in _text(node, tag).split()])
