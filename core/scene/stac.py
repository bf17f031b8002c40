"""What a STAC item beside a raster says of it: bands, offset, date."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from ..contract.channels import band_from_wavelength, s1_band_from_text, s2_band_from_text
from .dates import iso_date
from .product import Product

_MAX_BYTES = 5_000_000
_MAX_FILES = 20
_FIRST_OFFSET_BASELINE = 4.0
_ABSURD = 1e9
_BASELINES = ("s2:processing_baseline", "processing:version")


@dataclass(frozen=True)
class StacAsset:
    """``names`` holds what tells each band's channel, by band number from 1."""

    names: dict[int, str]
    product: Product


def stac_asset(path: str) -> StacAsset | None:
    """Return what an item in the raster's folder says of the raster, None where none does."""
    raster = Path(path)
    if not raster.parent.is_dir():
        return None
    for file in _items(raster):
        item = _read(file)
        for key, asset in _assets(item):
            if str(asset.get("href", "")).split("?")[0].rstrip("/").endswith(raster.name):
                return _described(item, key, asset, file.name)
    return None


def _items(raster: Path) -> Iterator[Path]:
    own = raster.with_suffix(".json")
    if own.is_file():
        yield own
    others = sorted(file for file in raster.parent.glob("*.json") if file != own)
    yield from others[:_MAX_FILES]


def _read(file: Path) -> Mapping[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            return {}
        item = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # any JSON may lie there; only an item concerns us
    is_item = isinstance(item, dict) and "stac_version" in item
    return item if is_item else {}


def _assets(item: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    assets = item.get("assets")
    for key, asset in (assets if isinstance(assets, dict) else {}).items():
        if isinstance(asset, dict):
            yield str(key), asset


def _described(item: Mapping[str, Any], key: str, asset: Mapping[str, Any], file: str) -> StacAsset:
    names = dict(enumerate(map(_band_name, _bands(asset)), start=1))
    names = {number: name for number, name in names.items() if name}
    properties = item.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    date = iso_date(str(properties.get("datetime") or properties.get("start_datetime") or ""))
    product = Product(_level(item, properties), _offset(properties, asset), file, date)
    return StacAsset(names or {1: key}, product)


def _bands(asset: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    for key in ("eo:bands", "bands"):
        bands = asset.get(key)
        if isinstance(bands, list) and all(isinstance(band, dict) for band in bands):
            return bands
    return []


def _band_name(band: Mapping[str, Any]) -> str:
    """Return the text that names the band: its wavelength only where the rest says nothing."""
    texts = [str(band.get(key) or "") for key in ("name", "description", "common_name",
                                                  "eo:common_name")]  # fmt: skip
    for text in texts:
        if s2_band_from_text(text) or s1_band_from_text(text):
            return text
    centre = band.get("center_wavelength", band.get("eo:center_wavelength"))
    found = band_from_wavelength(float(centre) * 1000) if _is_number(centre) else None
    return found or next(filter(None, texts), "")


def _level(item: Mapping[str, Any], properties: Mapping[str, Any]) -> str | None:
    words = f"{properties.get('processing:level', '')} {item.get('collection', '')}".lower()
    if "l2a" in words or "level-2a" in words:
        return "L2A"
    return "L1C" if "l1c" in words or "level-1c" in words else None


def _offset(properties: Mapping[str, Any], asset: Mapping[str, Any]) -> float | None:
    """Return the DN to add; None where nothing is said.

    Element84 removes the offset, says so, and leaves -0.1 in ``raster:bands`` all the same.
    """
    if properties.get("earthsearch:boa_offset_applied") is True:
        return 0.0
    bands = asset.get("raster:bands") or asset.get("bands")
    first = bands[0] if isinstance(bands, list) and bands and isinstance(bands[0], dict) else {}
    offset = first.get("offset", first.get("raster:offset"))
    scale = first.get("scale", first.get("raster:scale"))
    if _is_number(offset) and _is_number(scale) and float(scale) > 0:
        return round(float(offset) / float(scale), 6)
    baseline = next((str(properties[key]) for key in _BASELINES if key in properties), "")
    try:
        return -1000.0 if float(baseline) >= _FIRST_OFFSET_BASELINE else 0.0
    except ValueError:
        return None


def _is_number(value: Any) -> TypeGuard[float]:
    """Return whether it is a number of this world: a whole one may be too large for a float."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) < _ABSURD
