"""From probabilities to an answer: class, labels and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from operator import ge, sub

from .spec import ModelSpec


@dataclass(frozen=True)
class Decision:
    """The answer for one tile. ``labels`` may be empty: no class over its threshold is legal."""

    class_name: str
    confidence: float
    labels: tuple[str, ...]
    entropy: float
    margin: float


def decide(probabilities: Sequence[float], spec: ModelSpec) -> Decision:
    """Return the decision for probabilities in class order.

    ``class_name`` is the most probable class, whatever its threshold. Multi-label: ``margin``
    is the smallest distance of a probability from its threshold, ``entropy`` the mean binary
    entropy over ln 2. Multi-class: ``margin`` is the difference of the two highest
    probabilities, ``entropy`` is divided by the logarithm of the number of classes.
    """
    best = probabilities.index(max(probabilities))
    if spec.task == "multilabel":
        entropy = _binary_entropy(probabilities) / (len(probabilities) * math.log(2))
        margin = min(map(abs, map(sub, probabilities, spec.thresholds)))
        passes = map(ge, probabilities, spec.thresholds)
        labels = [item.name for item in compress(spec.classes, passes)]
    else:
        entropy = -sum(_xlogx(p) for p in probabilities) / math.log(len(probabilities))
        highest, second = sorted(probabilities, reverse=True)[:2]
        margin = highest - second
        is_sure = probabilities[best] >= spec.thresholds[best]
        labels = [spec.classes[best].name] if is_sure else []
    return Decision(
        spec.classes[best].name, probabilities[best], tuple(labels), max(entropy, 0.0), margin
    )


def _xlogx(value: float) -> float:
    return value * math.log(value) if value > 0 else 0.0


def _binary_entropy(probabilities: Sequence[float]) -> float:
    """Return the sum over all. One loop and no call for each: a map has a hundred thousand."""
    log, total = math.log, 0.0
    for p in probabilities:
        if 0.0 < p < 1.0:
            total -= p * log(p) + (1.0 - p) * log(1.0 - p)
    return total
