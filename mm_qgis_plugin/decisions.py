"""What a user can decide about a scene, in words; the same in the dock and in Processing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .about import tr
from .core.contract.errors import DecisionError, MissingChannelsError, MultimodalError
from .report_text import unit_name

S2_OFFSET = "s2_offset"
S1_UNIT = "s1_unit"
MASK_CLASSES = "mask_classes"
MASK_BAND = "mask_band"
S2_BANDS = "s2_bands"
S1_BANDS = "s1_bands"
FILL_MISSING = "fill_missing"
ANY_PIXEL_SIZE = "any_pixel_size"
_KNOWN = {
    S2_OFFSET, S1_UNIT, MASK_CLASSES, MASK_BAND, S2_BANDS, S1_BANDS, FILL_MISSING, ANY_PIXEL_SIZE,
}  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """One way on: an option, its value, and what a button says of it."""

    decision: str
    value: Any
    text: str


def decision_of(problem: MultimodalError) -> str:
    """Return the option that decides; empty where none does. Plain refusals may have one too."""
    return str(problem.details.get("decision") or "")


def choices_of(problem: MultimodalError) -> list[Any]:
    """Return the values to choose from; empty where the answer must be written."""
    choices = problem.details.get("choices")
    return list(choices) if isinstance(choices, (list, tuple)) else []


def answers_to(problem: MultimodalError) -> list[Answer]:
    """Return the answers that a press of a button can give.

    What no option of ours holds, such as which of two files to take, is not among them.
    """
    decision, choices = decision_of(problem), choices_of(problem)
    if is_selection(problem) or decision not in _KNOWN:
        return []
    if not choices and decision == ANY_PIXEL_SIZE:
        choices = [True]
    answers = [Answer(decision, value, _choice_text(decision, value)) for value in choices]
    if isinstance(problem, MissingChannelsError) and _is_partly_there(problem):
        answers.append(Answer(FILL_MISSING, True, _choice_text(FILL_MISSING, True)))
    return answers


def _is_partly_there(problem: MissingChannelsError) -> bool:
    """Return whether other channels of the sensor were found: nothing stands in for all of it."""
    found = problem.details.get("found")
    names = [str(name) for name in found] if isinstance(found, (list, tuple)) else []
    is_s1 = decision_of(problem) == S1_BANDS
    return any((name in ("VV", "VH")) == is_s1 for name in names)


def is_selection(problem: MultimodalError) -> bool:
    """Return whether any number of the choices make up the answer."""
    is_open = isinstance(problem, DecisionError) and bool(choices_of(problem))
    scalars = not any(isinstance(value, (list, tuple)) for value in choices_of(problem))
    return is_open and scalars and decision_of(problem) == MASK_CLASSES


def selectable(problem: MultimodalError) -> list[Any]:
    """Return the choices to tick; empty where they are not the classes of a mask.

    Measured values, such as dB, can be told and cannot be rejected.
    """
    values = choices_of(problem) if is_selection(problem) else []
    return values if all(map(_is_class, values)) else []


def _is_class(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value <= 65_535 and float(value).is_integer()


def written(value: Any) -> str:
    """Return a value as it is typed into its field: ``3,8,9,10`` or ``VV=1,VH=2``."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={number}" for key, number in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(written(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _choice_text(decision: str, value: Any) -> str:
    if decision == S2_OFFSET and isinstance(value, (int, float)):
        return _offset_text(value)
    if decision == S1_UNIT:
        return tr("Read it as {}").format(unit_name(str(value)))
    if decision == MASK_CLASSES:
        return tr("Reject {}").format(written(value))
    if decision == MASK_BAND:
        return tr("Take band {}").format(written(value))
    if decision in (S2_BANDS, S1_BANDS):
        return tr("Use {}").format(written(value))
    if decision == FILL_MISSING and value is True:
        return tr("Fill with the training mean")
    if decision == ANY_PIXEL_SIZE and value is True:
        return tr("Take it all the same")
    return written(value)


def _offset_text(value: float) -> str:
    if value == 0:
        return tr("There is no offset (0)")
    if value < 0:
        return tr("Remove the offset ({:g})").format(value)
    return tr("Add {:g}").format(value)
