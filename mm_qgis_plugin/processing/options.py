"""From the values of a Processing dialog to the decisions about a scene."""

from __future__ import annotations

import math
from collections.abc import Mapping

from qgis.core import QgsProcessingAlgorithm, QgsProcessingContext
from qgis.PyQt.QtCore import QVariant

from ..about import tr
from ..core.contract.errors import DecisionError, MultimodalError
from ..core.contract.scene_options import AUTO, SceneOptions, parse_mask_classes
from ..decisions import choices_of, decision_of, is_selection, selectable, written
from . import parameters as names

_WRITTEN = (names.MASK_CLASSES, names.S2_BANDS, names.S1_BANDS)
_OR_NOTHING = (names.STRIDE, names.MASK_BAND)
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

    It takes no numbers for ``S2_OFFSET=-1000``, ``no`` for yes, an empty text for the number 0,
    and of lists and band maps that scripts give as such it sees nothing at all.
    """
    meant: dict = {}
    if _is_number(values.get(names.S2_OFFSET)):
        meant[names.S2_OFFSET] = f"{float(values[names.S2_OFFSET]):g}"
    for name in _WRITTEN:
        if isinstance(values.get(name), (list, tuple, Mapping)):
            meant[name] = written(values[name])
    meant.update({name: None for name in _OR_NOTHING if _is_empty(values.get(name))})
    answers = {name: yes_or_no(values[name]) for name in YES_OR_NO if name in values}
    known = {name: answer for name, answer in answers.items() if answer is not None}
    return {**values, **meant, **known}


def _is_empty(value: object) -> bool:
    # ``qgis_process ... --STRIDE=`` gives a null variant.
    return value == "" or (isinstance(value, QVariant) and value.isNull())


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float, str)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def yes_or_no(value: object) -> bool | None:
    """Return what is meant by yes, no, true, false, 1 or 0; None for anything else."""
    return _ANSWERS.get(str(value).strip().lower())


def told(problem: MultimodalError) -> str:
    """Return what a user of Processing is told: the way out by its parameters, and the log."""
    if "changed" in problem.details:  # The journal holds another run.
        way = tr("In Processing: name another JOURNAL, or set OVERWRITE to start over.")
        return f"{problem.message} {way}"
    if problem.details.get("log"):
        place = tr("The worker's log is '{}'.").format(problem.details["log"])
        return f"{problem.message}\n{place}"
    if not isinstance(problem, DecisionError):
        return problem.message
    parameter = decision_of(problem).upper()
    if not parameter:
        return problem.message
    return f"{problem.message} {_way(problem, parameter)}"


def _way(problem: DecisionError, parameter: str) -> str:
    classes = ", ".join(map(written, selectable(problem)))
    if classes:
        way = tr("Set the advanced parameter {} to those that count as cloud, of: {}.")
        return way.format(parameter, classes)
    choices = "" if is_selection(problem) else ", ".join(map(written, choices_of(problem)))
    if choices:
        return tr("Set the advanced parameter {} to one of: {}.").format(parameter, choices)
    return tr("Set the advanced parameter {}.").format(parameter)
