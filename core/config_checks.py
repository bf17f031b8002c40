"""Checks of single values of a configuration; every one names its key and what it may be."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from .contract.errors import ConfigError

# The largest number of float32, which networks compute in.
LARGEST = 3.4028234663852886e38


def one_of(key: str, value: Any, choices: Collection[str]) -> None:
    """Refuse what is not among the choices."""
    if value not in choices:
        raise ConfigError(
            f"'{key}' is {shown(value)}, which is unknown; choose from {', '.join(choices)}.",
            key=key,
        )


def between(key: str, value: int | None, least: int, most: int) -> None:
    """Refuse a whole number outside ``least`` to ``most``; None is not checked."""
    if value is not None and not least <= value <= most:
        raise ConfigError(
            f"'{key}' must be {least} or more, at most {most}, not {shown(value)}.", key=key
        )


def positive(key: str, value: float, most: float = LARGEST) -> None:
    """Refuse 0, less, more than ``most``, and what is no number."""
    if not 0 < value <= most:
        limit = "" if most == LARGEST else f", at most {most:g}"
        raise ConfigError(f"'{key}' must be a positive number{limit}, not {shown(value)}.", key=key)


def floor(key: str, value: float | None, least: float) -> None:
    """Refuse less than ``least`` and what is no number; None is not checked."""
    if value is not None and not least <= value <= LARGEST:
        raise ConfigError(
            f"'{key}' must be a number of {least:g} or more, not {shown(value)}.", key=key
        )


def share(key: str, value: float) -> None:
    """Refuse what is not at least 0 and under 1."""
    if not 0.0 <= value < 1.0:
        raise ConfigError(f"'{key}' must be at least 0 and under 1, not {shown(value)}.", key=key)


def as_float(key: str, value: float) -> float:
    """Return a number as a float; a whole number can be too large for that."""
    try:
        return float(value)
    except OverflowError as problem:
        raise ConfigError(
            f"'{key}' is {shown(value)}, too large for a number.", key=key
        ) from problem


def shown(value: Any) -> str:
    """Return a value for a message: Python refuses to write whole numbers of many digits."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"a number of about 10 to the {int(math.log10(2) * value.bit_length())}"
    return repr(value)
