"""From the values of a Processing dialog to the decisions about a scene."""

from __future__ import annotations

from qgis.core import QgsProcessingAlgorithm, QgsProcessingContext

from ..about import tr
from ..core.contract.errors import DecisionError, MultimodalError
from ..core.contract.scene_options import AUTO, SceneOptions, parse_mask_classes
from ..decisions import choices_of, decision_of, written
from . import parameters as names

_STATIC = (names.S2_OFFSET, names.S1_UNIT)
YES_OR_NO = (names.FILL_MISSING, names.ANY_PIXEL_SIZE, names.OVERWRITE)
_ANSWERS = {
    **dict.fromkeys(("true", "yes", "1"), True),
    **dict.fromkeys(("false", "no", "0"), False),
}


def read_options(
    algorithm: QgsProcessingAlgorithm, values: dict, context: QgsProcessingContext
) -> SceneOptions:
    """Return the options; raises JobError where a value is not understood."""
    offset = algorithm.parameterAsEnumString(values, names.S2_OFFSET, context)
    classes = algorithm.parameterAsString(values, names.MASK_CLASSES, context)
    return SceneOptions(
        s2_offset=None if offset in ("", AUTO) else float(offset),
        s1_unit=algorithm.parameterAsEnumString(values, names.S1_UNIT, context) or AUTO,
        mask_classes=parse_mask_classes(classes or ""),
        max_cloud=algorithm.parameterAsDouble(values, names.MAX_CLOUD, context),
        fill_missing=algorithm.parameterAsBool(values, names.FILL_MISSING, context),
        max_days=algorithm.parameterAsInt(values, names.MAX_DAYS, context),
        any_pixel_size=algorithm.parameterAsBool(values, names.ANY_PIXEL_SIZE, context),
    )


def as_qgis_takes(values: dict) -> dict:
    """Return the values as QGIS reads them as they are meant.

    It takes no numbers for ``S2_OFFSET=-1000``, and ``no`` for yes.
    """
    numbers = {
        name: str(values[name])
        for name in _STATIC
        if isinstance(values.get(name), int) and not isinstance(values[name], bool)
    }
    answers = {name: yes_or_no(values[name]) for name in YES_OR_NO if name in values}
    known = {name: answer for name, answer in answers.items() if answer is not None}
    return {**values, **numbers, **known}


def yes_or_no(value: object) -> bool | None:
    """Return what is meant by yes, no, true, false, 1 or 0; None for anything else."""
    return _ANSWERS.get(str(value).strip().lower())


def told(problem: MultimodalError) -> str:
    """Return what a user of Processing is told: which parameter decides, and where the log is."""
    if problem.details.get("log"):
        place = tr("The worker's log is '{}'.").format(problem.details["log"])
        return f"{problem.message}\n{place}"
    if not isinstance(problem, DecisionError):
        return problem.message
    parameter = decision_of(problem).upper()
    choices = ", ".join(written(value) for value in choices_of(problem))
    if not parameter:
        return problem.message
    way = tr("Set the advanced parameter {}.").format(parameter)
    if choices:
        way = tr("Set the advanced parameter {} to one of: {}.").format(parameter, choices)
    return f"{problem.message} {way}"
