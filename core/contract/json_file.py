"""JSON files that anybody may have written: of a size and a depth that cannot do harm."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ._codec import MAX_DEPTH

# A spec of 1900 classes has half a MB, the index of a model of 7 billion weights a tenth of one.
MAX_BYTES = 10_000_000


def read_json_file(path: str | Path, limit: int = MAX_BYTES) -> Any:
    """Return what a JSON file holds.

    Raises OSError where it cannot be read, ValueError where it is no JSON, has more than
    ``limit`` bytes, is nested so deep that it can only be meant to do harm, or is no file.
    """
    # A pipe would never end, nor would /dev/zero.
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError("it is no regular file")
    with open(path, "rb") as stream:
        data = stream.read(limit + 1)
    return parse_json(data, limit)


def parse_json(data: bytes, limit: int = MAX_BYTES) -> Any:
    """Return what JSON text holds; ValueError as of :func:`read_json_file`."""
    if len(data) > limit:
        raise ValueError(f"it has more than {limit / 1e6:g} MB")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise _too_deep() from None
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    """Python's own limit would be met later, and by whatever walks through the value first."""
    level = [value]
    for _ in range(2 * MAX_DEPTH):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return
    raise _too_deep()


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep() -> ValueError:
    return ValueError("it is nested too deep")
