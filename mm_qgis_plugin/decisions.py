"""What a user can decide about a scene, in words; the same in the dock and in Processing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .about import tr
from .core.contract.errors import DecisionError
from .report_text import unit_name

S2_OFFSET = "s2_offset"
S1_UNIT = "s1_unit"
MASK_CLASSES = "mask_classes"
S2_BANDS = "s2_bands"
S1_BANDS = "s1_bands"
FILL_MISSING = "fill_missing"
ANY_PIXEL_SIZE = "any_pixel_size"


def decision_of(problem: DecisionError) -> str:
    """Return the option that decides."""
    return str(problem.details.get("decision", ""))


def choices_of(problem: DecisionError) -> list[Any]:
    """Return the values to choose from; empty where the answer must be written."""
    choices = problem.details.get("choices")
    return list(choices) if isinstance(choices, (list, tuple)) else []


def choice_text(decision: str, value: Any) -> str:
    """Return what a choice means, as a button says it."""
    if decision == S2_OFFSET and isinstance(value, (int, float)):
        return _offset_text(value)
    if decision == S1_UNIT:
        return tr("Read it as {}").format(unit_name(str(value)))
    if decision == MASK_CLASSES:
        return tr("Reject {}").format(written(value))
    if decision in (S2_BANDS, S1_BANDS):
        return tr("Use {}").format(written(value))
    if decision == FILL_MISSING and value is True:
        return tr("Fill with the training mean")
    if decision == ANY_PIXEL_SIZE and value is True:
        return tr("Take it all the same")
    return written(value)


def written(value: Any) -> str:
    """Return a value as it is typed into its field: ``3,8,9,10`` or ``VV=1,VH=2``."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={number}" for key, number in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _offset_text(value: float) -> str:
    if value == 0:
        return tr("There is no offset (0)")
    if value < 0:
        return tr("Remove the offset ({:g})").format(value)
    return tr("Add {:g}").format(value)
