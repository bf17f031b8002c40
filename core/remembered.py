"""What this machine has learned of a model: its speed, the best batch size, the best way."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from .contract.user_folder import cache_folder

_FILE = "speed.json"
_MOST_MODELS = 100
# A run that is shorter says more of the start than of the speed.
_LEAST_TILES, _LEAST_SECONDS = 8, 0.5
_LAST, _BATCH, _WAY = "last", "batch on ", "way on "


def remember_speed(model: str, device: str, tiles: int, seconds: float) -> None:
    """Keep the speed of a run for :func:`remembered_speed`; a cache that fails is no error.

    Args:
        model: digest of the model's config.
        device: as the user asked for it, ``auto`` or a name.
    """
    if tiles < _LEAST_TILES or seconds < _LEAST_SECONDS:
        return
    speed = tiles / seconds
    _keep(model, {device: speed, _LAST: speed})


def remember_batch(model: str, device: str, size: int) -> None:
    """Keep the batch size that a trial found; 0 forgets it.

    Args:
        device: its name, with that of the hardware.
    """
    _keep(model, {_BATCH + device: size})


def remembered_batch(model: str, device: str) -> int | None:
    """Return the batch size that an earlier run of this model found on this device."""
    own = _read().get(model)
    size = own.get(_BATCH + device) if isinstance(own, dict) else None
    return size if isinstance(size, int) and size > 0 else None


def remember_way(model: str, device: str, way: str) -> None:
    """Keep which way of computing a trial found to be the fastest."""
    _keep(model, {_WAY + device: way})


def remembered_way(model: str, device: str) -> str | None:
    """Return the name of the way that an earlier run of this model found on this device."""
    own = _read().get(model)
    way = own.get(_WAY + device) if isinstance(own, dict) else None
    return way if isinstance(way, str) else None


def remembered_speed(model: str, device: str) -> float | None:
    """Return tiles per second of an earlier run with this model, None without one."""
    own = _read().get(model)
    speed = own.get(device, own.get(_LAST)) if isinstance(own, dict) else None
    return float(speed) if isinstance(speed, (int, float)) and speed > 0 else None


def _keep(model: str, values: dict[str, float | str]) -> None:
    known = _read()
    own = known.pop(model, {})
    own = {**(own if isinstance(own, dict) else {}), **values}
    # The newest last, so that the oldest go first.
    kept = {**dict(list(known.items())[-_MOST_MODELS:]), model: own}
    path = _path()
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(kept), encoding="utf-8")
        scratch.replace(path)
    except OSError as problem:
        print(f"What this run has learned could not be kept: {problem}", file=sys.stderr)


def _read() -> dict[str, Any]:
    try:
        known = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}  # not there yet, or damaged: it is learned again
    return known if isinstance(known, dict) else {}


def _path() -> Path:
    return cache_folder() / _FILE
