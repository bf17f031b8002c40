"""Checked reading of JSON objects into frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Union

from .errors import MultimodalError

Kinds = Union[type, tuple[type, ...]]
MAX_DEPTH = 20


def take(
    payload: Mapping[str, Any],
    key: str,
    kinds: Kinds,
    error: type[MultimodalError],
    where: str,
) -> Any:
    """Return ``payload[key]`` when it has one of ``kinds``; a bool is never taken for a number."""
    if key not in payload:
        raise error(f"{where}: the key '{key}' is missing.", key=key)
    value = payload[key]
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        names = " or ".join(kind.__name__ for kind in wanted)
        raise error(f"{where}: '{key}' must be {names}, not {type(value).__name__}.", key=key)
    return value


def as_object(payload: Any, error: type[MultimodalError], where: str) -> Mapping[str, Any]:
    """Return ``payload`` when it is a JSON object."""
    if not isinstance(payload, Mapping):
        raise error(f"{where} must be a JSON object, not {type(payload).__name__}.")
    return payload


def finite(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a JSON value with None where a number is not finite: JSON has no word for it.

    What is nested deeper than ``depth`` is None too: nobody reads it, and Python cannot.
    """
    if isinstance(value, (Mapping, list, tuple)) and not depth:
        return None
    if isinstance(value, Mapping):
        return {key: finite(item, depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item, depth - 1) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
