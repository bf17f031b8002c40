"""What a STAC item beside a raster says of it: bands, offset, date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contract.channels import band_from_wavelength, s1_band_from_text, s2_band_from_text
from ..contract.stac_item import StacItem, find_item
from .dates import iso_date
from .product import FIRST_OFFSET_BASELINE, Product, baseline_of

# Reflectance of one DN is 0.0001; a far smaller scale is damage. So is an integer beyond this.
_LEAST_SCALE = 1e-9
_MOST = 1e30
_BASELINES = ("s2:processing_baseline", "processing:version")


@dataclass(frozen=True)
class StacAsset:
    """``names`` holds what tells each band's channel, by band number from 1."""

    names: dict[int, str]
    product: Product


def stac_asset(path: str) -> StacAsset | None:
    """Return what an item in the raster's folder says of the raster, None where none does."""
    found = find_item(Path(path))
    return None if found is None else _described(found)


def _described(found: StacItem) -> StacAsset:
    item, asset = found.content, found.asset
    names = dict(enumerate(map(_band_name, _bands(asset)), start=1))
    names = {number: name for number, name in names.items() if name}
    properties = item.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    date = iso_date(str(properties.get("datetime") or properties.get("start_datetime") or ""))
    product = Product(_level(item, properties), _offset(properties, asset), found.file.name, date)
    return StacAsset(names or {1: found.key}, product)


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
    centre = _number(band.get("center_wavelength", band.get("eo:center_wavelength")))
    found = None if centre is None else band_from_wavelength(centre * 1000)
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
    offset = _number(first.get("offset", first.get("raster:offset")))
    scale = _number(first.get("scale", first.get("raster:scale")))
    if offset is not None and scale is not None and scale >= _LEAST_SCALE:
        return round(offset / scale, 6)
    stated = next((str(properties[key]) for key in _BASELINES if key in properties), "")
    baseline = baseline_of(stated)
    if baseline is None:
        return None
    return -1000.0 if baseline >= FIRST_OFFSET_BASELINE else 0.0


def _number(value: Any) -> float | None:
    """Return a finite number of JSON as such; the rest, which Python's reader lets in, is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if abs(value) < _MOST else None
