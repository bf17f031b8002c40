"""From the values of a Processing dialog to the decisions about a scene."""

from __future__ import annotations

from qgis.core import QgsProcessingAlgorithm, QgsProcessingContext

from ..about import tr
from ..core.contract.errors import DecisionError, MultimodalError
from ..core.contract.scene_options import AUTO, SceneOptions, parse_mask_classes
from ..decisions import choices_of, decision_of, written
from . import parameters as names

_STATIC = (names.S2_OFFSET, names.S1_UNIT)


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


def with_static_strings(values: dict) -> dict:
    """Return the values with ``S2_OFFSET=-1000`` as text: QGIS takes no numbers there."""
    numbers = {
        name: str(values[name])
        for name in _STATIC
        if isinstance(values.get(name), int) and not isinstance(values[name], bool)
    }
    return {**values, **numbers}


def told(problem: MultimodalError) -> str:
    """Return what a user of Processing is told: also which parameter decides."""
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
