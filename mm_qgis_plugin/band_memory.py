"""Band maps that were used before, by the kind of raster that they were given for."""

from __future__ import annotations

import json

from . import settings

BAND_MAPS = "band_maps"
_MOST = 200


def recall(sensor: str, pattern: str) -> str:
    """Return the band map last used for this kind of raster, as the user wrote it."""
    return _all().get(_key(sensor, pattern), "") if pattern else ""


def keep(sensor: str, pattern: str, text: str) -> None:
    """Keep a band map that was used; an empty one forgets what was kept."""
    if not pattern:
        return
    known = _all()
    known.pop(_key(sensor, pattern), None)
    if text.strip():
        known[_key(sensor, pattern)] = text.strip()
    # The oldest go first: the dictionary keeps the order of use.
    settings.remember(BAND_MAPS, json.dumps(dict(list(known.items())[-_MOST:])))


def _all() -> dict[str, str]:
    try:
        known = json.loads(settings.value(BAND_MAPS, "{}"))
    except ValueError:
        return {}
    items = known.items() if isinstance(known, dict) else ()
    return {key: text for key, text in items if isinstance(text, str)}


def _key(sensor: str, pattern: str) -> str:
    return f"{sensor}|{pattern}"
