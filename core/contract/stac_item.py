"""Which STAC item beside a raster speaks of it: it may name its bands and its offset."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .json_file import read_json_file

_MAX_BYTES = 5_000_000
_MAX_FILES = 20


@dataclass(frozen=True)
class StacItem:
    """An item that lists a raster as ``asset``, under the name ``key``."""

    file: Path
    content: Mapping[str, Any]
    key: str
    asset: Mapping[str, Any]


def find_item(raster: Path) -> StacItem | None:
    """Return the first item in the raster's folder that lists the raster, None where none does."""
    # os.path has no errors for names that cannot be.
    if not os.path.isdir(raster.parent):
        return None
    for file in _json_files(raster):
        item = _read(file, _state(file))
        for key, asset in _assets(item):
            if raster.name in _file_names(str(asset.get("href", ""))):
                return StacItem(file, item, key, asset)
    return None


def _json_files(raster: Path) -> Iterator[Path]:
    own = raster.with_suffix(".json")
    if os.path.isfile(own):
        yield own
    others = sorted(file for file in raster.parent.glob("*.json") if file != own)
    yield from others[:_MAX_FILES]


def _state(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        return 0, 0  # gone: who reads it says so
    return stat.st_size, stat.st_mtime_ns


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
