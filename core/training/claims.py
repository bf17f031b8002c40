"""What each feature of a vector layer says of each class: present, absent, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..contract.errors import JobError
from ..contract.train_order import LabelOptions
from .class_table import ClassTable, check_spelling
from .vectors import VectorLayer

SEPARATOR = ";"
PRESENT, ABSENT, UNKNOWN = 1, 0, -1


@dataclass(frozen=True)
class Claims:
    """``says`` is int8 (features, classes): 1 present, 0 absent, -1 nothing said.

    The features are those of all layers, one after the other. ``unlabelled`` counts those
    without a class, which say nothing; ``unlisted`` holds values that the table does not name.
    """

    classes: tuple[str, ...]
    says: np.ndarray
    multi: bool
    unlabelled: int = 0
    unlisted: tuple[str, ...] = field(default=())


def read_claims(
    layers: Sequence[VectorLayer], options: LabelOptions, table: ClassTable | None = None
) -> Claims:
    """Read the classes of the features.

    Raises:
        JobError: an unknown field, no class at all, or one written in two ways.
    """
    if not options.fields:
        fields = sorted({name for layer in layers for name in layer.columns})
        raise JobError(
            "The labels have no field chosen: name the field of the class, one of "
            f"{', '.join(fields) or 'none'}."
        )
    for layer in layers:
        _check_fields(layer, options.fields)
    columns = [np.concatenate([layer.columns[name] for layer in layers])
               for name in options.fields]  # fmt: skip
    if len(columns) > 1 and all(map(_is_yes_or_no, columns)):
        return _flags(options.fields, columns, options.full_lists)
    return _named(columns, options, table or ClassTable())


def as_text(value: Any) -> str:
    """Return a value of a field as the name it stands for; "" for none."""
    if value is None or (isinstance(value, (float, np.floating)) and not np.isfinite(value)):
        return ""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _check_fields(layer: VectorLayer, fields: Sequence[str]) -> None:
    missing = [name for name in fields if name not in layer.columns]
    if missing:
        raise JobError(
            f"'{layer.name}' has no field '{missing[0]}'; it has "
            f"{', '.join(layer.columns) or 'none'}."
        )


def _is_yes_or_no(column: np.ndarray) -> bool:
    texts = {as_text(value) for value in column}
    return texts <= {"", "0", "1", "True", "False"} and texts != {""}


def _flags(fields: Sequence[str], columns: Sequence[np.ndarray], full: bool) -> Claims:
    """Read fields that are named by a class each and hold 0 or 1; empty means not known."""
    check_spelling(fields)
    meaning = {"1": PRESENT, "True": PRESENT, "0": ABSENT, "False": ABSENT,
               "": ABSENT if full else UNKNOWN}  # fmt: skip
    says = np.array([[meaning[as_text(value)] for value in column] for column in columns]).T
    return Claims(tuple(fields), says.astype(np.int8), multi=True)


def _named(columns: Sequence[np.ndarray], options: LabelOptions, table: ClassTable) -> Claims:
    lists = [
        [part.strip() for value in row for part in as_text(value).split(SEPARATOR) if part.strip()]
        for row in zip(*columns, strict=True)
    ]
    joined = any(SEPARATOR in as_text(value) for column in columns for value in column)
    multi = options.multi or joined or len(columns) > 1
    values = {part for row in lists for part in row}
    unlisted = sorted(value for value in values if table.name(value) is None)
    named = [[name for part in row if (name := table.name(part)) is not None] for row in lists]
    check_spelling(name for row in named for name in row)
    classes = table.ordered(name for row in named for name in row)
    if not classes:
        raise JobError(
            f"No feature has a class in {', '.join(options.fields)}"
            f"{' that the class table names' if table.names else ''}: choose another field."
        )
    return Claims(
        classes, _matrix(named, classes, multi=multi, full=options.full_lists), multi,
        sum(not row for row in named), tuple(unlisted),
    )  # fmt: skip


def _matrix(
    named: Sequence[Sequence[str]], classes: Sequence[str], *, multi: bool, full: bool
) -> np.ndarray:
    """One class a tile excludes the others; of a list that only when it is said to be full."""
    place = {name: number for number, name in enumerate(classes)}
    says = np.full((len(named), len(classes)), UNKNOWN, dtype=np.int8)
    for row, names in enumerate(named):
        if names and (full or not multi):
            says[row] = ABSENT
        says[row, [place[name] for name in names]] = PRESENT
    return says
