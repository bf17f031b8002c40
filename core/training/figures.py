"""How good predictions are: by class, macro, micro, and whether probabilities can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .claims import ABSENT, PRESENT, UNKNOWN

BINS = 10
NAN = float("nan")


def average_precision(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the average precision of values (N,) for bool (N,); NaN without both kinds.

    The sum of precision times the gain in recall over the distinct values, as scikit-learn has it.
    """
    positives = int(truth.sum())
    if not 0 < positives < len(truth):
        return NAN
    order = np.argsort(-found, kind="stable")
    values, hits = found[order], np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    precision, recall = hits[ends] / (ends + 1), hits[ends] / positives
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def class_scores(found: np.ndarray, says: np.ndarray) -> list[float]:
    """Return the average precision of each class over the tiles in which it is known."""
    known, present = says != UNKNOWN, says == PRESENT
    return [
        average_precision(found[known[:, n], n], present[known[:, n], n])
        for n in range(says.shape[1])
    ]


def macro_ap(found: np.ndarray, says: np.ndarray) -> float:
    """Return the mean average precision of the classes that have both kinds; NaN without any."""
    return _mean(class_scores(found, says))


def decided(found: np.ndarray, thresholds: np.ndarray, multi: bool) -> np.ndarray:
    """Return bool (N, classes): what passes its threshold, or the most probable class alone."""
    if multi:
        return np.asarray(found >= thresholds)
    return np.asarray(np.arange(found.shape[1]) == found.argmax(axis=1)[:, None])


def class_figures(
    found: np.ndarray | None, passed: np.ndarray, says: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Return precision, recall, F1 and average precision by class, macro and micro.

    Macro is the mean over the classes for which the figure is defined. What is not known counts
    nowhere.

    Args:
        found: probabilities (N, classes); None leaves average precision out.
        passed: bool (N, classes), what was decided.
        says: int8 (N, classes), the truth.
        classes: their names.
    """
    present, absent = says == PRESENT, says == ABSENT
    hits = (passed & present).sum(axis=0)
    false = (passed & absent).sum(axis=0)
    missed = (~passed & present).sum(axis=0)
    known = says != UNKNOWN
    scores = [NAN] * len(classes) if found is None else class_scores(found, says)
    rows = [
        {
            "class": name, "present": int(present[:, n].sum()), "known": int(known[:, n].sum()),
            **_ratios(hits[n], false[n], missed[n]), "ap": scores[n],
            "prevalence": _part(present[:, n].sum(), known[:, n].sum()),
        }
        for n, name in enumerate(classes)
    ]  # fmt: skip
    keys = ("precision", "recall", "f1", "ap")
    micro = _ratios(hits.sum(), false.sum(), missed.sum())
    micro["ap"] = NAN if found is None else average_precision(found[known], present[known])
    return {"classes": rows, "macro": {key: _mean([row[key] for row in rows]) for key in keys},
            "micro": micro}  # fmt: skip


def confusion(passed: np.ndarray, says: np.ndarray) -> np.ndarray:
    """Return counts (classes, classes), truth by row and decision by column, one class a tile."""
    truth, chosen = says.argmax(axis=1), passed.argmax(axis=1)
    table = np.zeros((says.shape[1], says.shape[1]), dtype=int)
    np.add.at(table, (truth, chosen), 1)
    return table


def reliability(found: np.ndarray, says: np.ndarray, multi: bool) -> dict[str, Any]:
    """Return bins of probability with the share that came true, and the calibration error.

    One class a tile: the probability of the class chosen, and whether it was right. Several:
    every known pair of a tile and a class. ``ece`` is the mean gap between both, weighted by
    the bin's size (Guo et al. 2017); 10 bins of equal width.
    """
    if multi:
        known = says != UNKNOWN
        values, right = found[known], (says == PRESENT)[known]
    else:
        values, right = found.max(axis=1), found.argmax(axis=1) == says.argmax(axis=1)
    place = np.minimum((values * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = place == number
        bins.append({
            "from": number / BINS, "to": (number + 1) / BINS, "count": int(inside.sum()),
            "mean": _mean(values[inside]), "share": _mean(right[inside]),
        })  # fmt: skip
    filled = [b for b in bins if b["count"]]
    gap = sum(b["count"] * abs(b["mean"] - b["share"]) for b in filled)
    return {"bins": bins, "ece": gap / len(values) if len(values) else NAN}


def _ratios(hits: Any, false: Any, missed: Any) -> dict[str, float]:
    return {
        "precision": _part(hits, hits + false),
        "recall": _part(hits, hits + missed),
        # Of a class that no tile has, nor was thought to have, nothing can be said.
        "f1": _part(2 * hits, 2 * hits + false + missed),
    }


def _part(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else NAN


def _mean(values: Any) -> float:
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return float(finite.mean()) if len(finite) else NAN
