"""What the worker understood of a scene, as values of known types.

The report comes from another process and maybe another version: whatever is missing or of
another type reads as "not known", and never breaks the panel that shows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .core.contract.messages import RECKONED


@dataclass(frozen=True)
class BandFact:
    """Where a channel was found, and by what."""

    channel: str
    path: str
    band: int | None
    pixel_size_m: float | None
    found_by: str


@dataclass(frozen=True)
class PartFacts:
    """One scene of a mosaic, and how its numbers are read."""

    files: tuple[str, ...]
    offset: float | None
    unit: str


@dataclass(frozen=True)
class SensorFacts:
    """One sensor; ``offset``, ``scale`` and ``level`` of Sentinel-2, the rest of Sentinel-1."""

    bands: tuple[BandFact, ...]
    missing: tuple[str, ...]
    filled: tuple[str, ...]
    crs: str
    dates: tuple[str, ...]
    evidence: str
    level: str = ""
    offset: float | None = None
    scale: float | None = None
    unit: str = ""
    calibration: str = ""
    parts: tuple[PartFacts, ...] = ()


@dataclass(frozen=True)
class MaskFacts:
    """The cloud mask that is used."""

    kind: str
    path: str
    classes: tuple[int, ...]


@dataclass(frozen=True)
class GridFacts:
    """The tile grid; ``transform`` is (a, b, c, d, e, f) from pixels to the CRS, or empty."""

    crs: str
    crs_wkt: str
    transform: tuple[float, ...]
    width: int
    height: int
    tiles: int | None
    tiles_valid: int | None
    tile_size: int
    stride: int
    columns: int
    rows: int


@dataclass(frozen=True)
class WarningFact:
    """Something to know before the run; the worker puts what costs most first."""

    code: str
    message: str


@dataclass(frozen=True)
class SceneReport:
    """All of it."""

    s2: SensorFacts
    s1: SensorFacts
    mask: MaskFacts | None
    grid: GridFacts
    overlap: float | None
    selected: int | None
    expected_skipped: int | None
    seconds: float | None
    is_reckoned: bool
    output_bytes: int | None
    warnings: tuple[WarningFact, ...]


def read_report(payload: Any) -> SceneReport:
    """Read a report; never raises."""
    data = _object(payload)
    estimate = _object(data.get("estimate"))
    return SceneReport(
        s2=_sensor(_object(data.get("s2"))),
        s1=_sensor(_object(data.get("s1"))),
        mask=_mask(data.get("mask")),
        grid=_grid(_object(data.get("grid"))),
        overlap=_number(data.get("overlap")),
        selected=_whole(data.get("selected")),
        expected_skipped=_whole(data.get("expected_skipped")),
        seconds=_number(estimate.get("seconds")),
        is_reckoned=estimate.get("basis") == RECKONED,
        output_bytes=_whole(estimate.get("output_bytes")),
        warnings=tuple(_warnings(data.get("warnings"))),
    )


def _sensor(data: Mapping[str, Any]) -> SensorFacts:
    bands = _object(data.get("bands"))
    return SensorFacts(
        bands=tuple(_band(str(name), _object(found)) for name, found in bands.items()),
        missing=_texts(data.get("missing")),
        filled=_texts(data.get("filled")),
        crs=_text(data.get("crs")),
        dates=_texts(data.get("dates")),
        evidence=_text(data.get("evidence")),
        level=_text(data.get("level")),
        offset=_number(data.get("offset")),
        scale=_number(data.get("scale")),
        unit=_text(data.get("unit")),
        calibration=_text(data.get("calibration")),
        parts=tuple(_part(_object(part)) for part in _items(data.get("parts"))),
    )


def _part(data: Mapping[str, Any]) -> PartFacts:
    return PartFacts(
        files=_texts(data.get("files")),
        offset=_number(data.get("offset")),
        unit=_text(data.get("unit")),
    )


def _band(channel: str, found: Mapping[str, Any]) -> BandFact:
    return BandFact(
        channel=channel,
        path=_text(found.get("path")),
        band=_whole(found.get("band")),
        pixel_size_m=_number(found.get("pixel_size_m")),
        found_by=_text(found.get("found_by")),
    )


def _mask(payload: Any) -> MaskFacts | None:
    data = _object(payload)
    if not data:
        return None
    values = [_whole(value) for value in _items(data.get("classes"))]
    return MaskFacts(
        kind=_text(data.get("kind")),
        path=_text(data.get("path")),
        classes=tuple(value for value in values if value is not None),
    )


def _grid(data: Mapping[str, Any]) -> GridFacts:
    numbers = [_number(value) for value in _items(data.get("transform"))]
    known = tuple(value for value in numbers[:6] if value is not None)
    return GridFacts(
        crs=_text(data.get("crs")),
        crs_wkt=_text(data.get("crs_wkt")) or _text(data.get("crs")),
        transform=known if len(known) == 6 else (),
        tiles=_whole(data.get("tiles")),
        tiles_valid=_whole(data.get("tiles_valid")),
        **{
            key: _whole(data.get(key)) or 0
            for key in ("width", "height", "tile_size", "stride", "columns", "rows")
        },
    )


def _warnings(payload: Any) -> list[WarningFact]:
    found = []
    for item in _items(payload):
        data = _object(item)
        message = _text(data.get("message")) if data else _text(item)
        if message:
            found.append(WarningFact(_text(data.get("code")), message))
    return found


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in _items(value) if isinstance(item, str))


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
