"""From probabilities to an answer: class, labels and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    best = max(range(len(probabilities)), key=probabilities.__getitem__)
    pairs = list(zip(probabilities, spec.thresholds))
    if spec.task == "multilabel":
        entropy = sum(_binary_entropy(p) for p in probabilities) / (len(pairs) * math.log(2))
        margin = min(abs(p - threshold) for p, threshold in pairs)
        labels = [c.name for c, (p, t) in zip(spec.classes, pairs) if p >= t]
    else:
        entropy = -sum(_xlogx(p) for p in probabilities) / math.log(len(pairs))
        highest, second = sorted(probabilities, reverse=True)[:2]
        margin = highest - second
        passes = probabilities[best] >= spec.thresholds[best]
        labels = [spec.classes[best].name] if passes else []
    return Decision(
        spec.classes[best].name, probabilities[best], tuple(labels), max(entropy, 0.0), margin
    )


def _xlogx(value: float) -> float:
    return value * math.log(value) if value > 0 else 0.0


def _binary_entropy(value: float) -> float:
    return -_xlogx(value) - _xlogx(1.0 - value)
