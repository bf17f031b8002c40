"""What a STAC item beside a raster says of it: bands, offset, date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..contract.channels import band_from_wavelength, s1_band_from_text, s2_band_from_text
from ..contract.json_file import read_json_file
from .dates import iso_date
from .files import content_state
from .product import FIRST_OFFSET_BASELINE, Product, baseline_of

_MAX_BYTES = 5_000_000
_MAX_FILES = 20
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
    raster = Path(path)
    if not raster.parent.is_dir():
        return None
    for file in _items(raster):
        item = _read(file, content_state(str(file)))
        for key, asset in _assets(item):
            if raster.name in _file_names(str(asset.get("href", ""))):
                return _described(item, key, asset, file.name)
    return None


def _items(raster: Path) -> Iterator[Path]:
    own = raster.with_suffix(".json")
    if own.is_file():
        yield own
    others = sorted(file for file in raster.parent.glob("*.json") if file != own)
    yield from others[:_MAX_FILES]


@lru_cache(maxsize=2 * _MAX_FILES)
def _read(file: Path, state: tuple[int, int]) -> Mapping[str, Any]:
    """Asked for every raster of a folder, of each file in it."""
    if state[0] > _MAX_BYTES:
        return {}
    try:
        item = read_json_file(file, _MAX_BYTES)
    except (OSError, ValueError):
        return {}  # any JSON may lie there; only an item concerns us
    is_item = isinstance(item, dict) and "stac_version" in item
    return item if is_item else {}


def _assets(item: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    assets = item.get("assets")
    for key, asset in (assets if isinstance(assets, dict) else {}).items():
        if isinstance(asset, dict):
            yield str(key), asset


def _file_names(href: str) -> tuple[str, str]:
    """Return the last part of an address, as it stands and as the file may be called on disk."""
    name = href.split("?")[0].replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return name, unquote(name)


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
