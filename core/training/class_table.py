"""The value-to-class table: CSV with ``value,class`` and perhaps ``color``."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..contract.classes import BIGEARTHNET19_COLORS, BIGEARTHNET19_NAMES, default_colors
from ..contract.errors import JobError
from ..contract.foreign_text import looks_like

_MAX_BYTES = 1_000_000
_COLUMNS = ("value", "class", "color")


@dataclass(frozen=True)
class ClassTable:
    """What values are called. ``names`` holds class by value, ``colors`` colour by class."""

    names: Mapping[str, str] = field(default_factory=dict)
    colors: Mapping[str, str] = field(default_factory=dict)

    def name(self, value: str) -> str | None:
        """Return the class of a value: itself without a table, None where it is not listed."""
        return self.names.get(value) if self.names else value

    def ordered(self, found: Iterable[str]) -> tuple[str, ...]:
        """Return class names in the order of the table, others sorted."""
        there = set(found)
        listed = [name for name in dict.fromkeys(self.names.values()) if name in there]
        return (*listed, *sorted(there - set(listed), key=looks_like))


def read_class_table(path: str | None) -> ClassTable:
    """Read a table; an empty one without a path.

    Raises:
        JobError: it cannot be read, has other columns, or says two things of one value.
    """
    if path is None:
        return ClassTable()
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _MAX_BYTES:
            raise ValueError("it is no small text file")
        with open(path, encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as problem:
        raise JobError(f"The class table '{path}' cannot be read ({problem}).") from problem
    names: dict[str, str] = {}
    colors: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        value, name, color = ((row.get(key) or "").strip() for key in _COLUMNS)
        if not (value and name):
            raise JobError(
                f"The class table '{path}' has no value or no class in line {number}: its columns "
                f"are {', '.join(_COLUMNS[:2])} and perhaps {_COLUMNS[2]}."
            )
        if names.setdefault(value, name) != name:
            raise JobError(f"The class table '{path}' has two classes for the value {value}.")
        if color:
            colors[name] = color
    if not names:
        raise JobError(f"The class table '{path}' is empty.")
    return ClassTable(names, colors)


def check_spelling(names: Iterable[str]) -> None:
    """Raise a JobError where a class is written in two ways, as in upper and lower case."""
    seen: dict[str, str] = {}
    for name in sorted(set(names)):
        other = seen.setdefault(looks_like(name), name)
        if other != name:
            raise JobError(
                f"The class '{name}' is also written '{other}': write it in one way in the labels."
            )


def class_colors(names: tuple[str, ...], known: Mapping[str, str]) -> tuple[str, ...]:
    """Return a colour for each class: as given, BigEarthNet's for its classes, else apart."""
    usual = dict(zip(BIGEARTHNET19_NAMES, BIGEARTHNET19_COLORS, strict=True))
    spread = default_colors(len(names))
    return tuple(
        known.get(name) or usual.get(name) or spread[place] for place, name in enumerate(names)
    )
