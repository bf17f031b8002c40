"""What differs between the run that a file holds and the one that was ordered, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {
    "version": "version of this program", "s2": "Sentinel-2 rasters", "s1": "Sentinel-1 rasters",
    "mask": "cloud mask", "extent_wkt": "extent", "aoi_wkt": "polygons",
    "min_valid": "valid share",
}  # fmt: skip
# A value that is longer says nothing to a user.
_SHORT = 24
# A digest: another one says only that something changed.
_OPAQUE = ("model",)
# A file may hold anything in the place of a fingerprint.
_MOST = 12


def changed_keys(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the names of what two fingerprints have different."""
    return sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))


def differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return what two fingerprints have different, with the values where they tell something."""
    changed = changed_keys(there, wanted)
    told = [_difference(key, there.get(key), wanted.get(key)) for key in changed[:_MOST]]
    return ", ".join([*told, "and more"] if len(changed) > _MOST else told)


def _difference(key: str, there: Any, wanted: Any) -> str:
    if key == "options" and isinstance(there, dict) and isinstance(wanted, dict):
        return differences(there, wanted)
    word = _WORDS.get(key, key[:_SHORT])
    if key in ("s2", "s1", "mask") and there and wanted:
        is_same = _paths(there) == _paths(wanted)
        return f"{word} ({'the same files, changed since' if is_same else 'other files'})"
    texts = ["nothing" if value is None else str(value) for value in (there, wanted)]
    if key in _OPAQUE or max(map(len, texts)) > _SHORT:
        return word
    return f"{word} ({texts[0]} before, {texts[1]} now)"


def _paths(sources: Any) -> list[Any]:
    items = sources if isinstance(sources, list) else [sources]
    return [item.get("path") if isinstance(item, dict) else item for item in items]
