"""Orders in which files without band names usually hold their bands: to be offered, not assumed."""

from __future__ import annotations

from ..about import tr
from ..core.contract.channels import S2_BANDS
from ..core.contract.errors import MissingChannelsError, MultimodalError
from ..decisions import S1_BANDS, Answer, decision_of, written

_WITH_CIRRUS = (*S2_BANDS[:10], "B10", *S2_BANDS[10:])
_S2_ORDERS = {12: (S2_BANDS,), 13: (_WITH_CIRRUS,)}
_S1_ORDERS = {2: (("VV", "VH"), ("VH", "VV"))}


def usual_orders(problem: MultimodalError, counts: dict[str, set[int]]) -> list[Answer]:
    """Return band maps to offer where names are missing; empty where none is usual.

    ``counts`` are the numbers of bands of the chosen rasters, by sensor.
    """
    if not isinstance(problem, MissingChannelsError):
        return []
    decision = decision_of(problem)
    sensor = decision[:2]
    if decision != f"{sensor}_bands" or len(counts.get(sensor, set())) != 1:
        return []
    (count,) = counts[sensor]
    orders = _S1_ORDERS if decision == S1_BANDS else _S2_ORDERS
    return [_answer(decision, names) for names in orders.get(count, ())]


def _answer(decision: str, names: tuple[str, ...]) -> Answer:
    value = written({name: number for number, name in enumerate(names, 1)})
    if len(names) > 3:
        shown = tr("{}, {}, {} ... {}").format(*names[:3], names[-1])
        return Answer(decision, value, tr("The bands are {}").format(shown))
    return Answer(decision, value, tr("The bands are {}").format(", ".join(names)))
