"""Calibration and thresholds, both by class, fitted on predictions for tiles not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .claims import ABSENT, PRESENT, UNKNOWN
from .extras import load_extra
from .probabilities import probabilities, total_loss

FEW = 10
"""Positives (and negatives) under which a class keeps its logits and the threshold 0.5."""
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Calibration:
    """``logits * scale + bias`` by class; ``fitted`` tells which classes were calibrated."""

    scale: np.ndarray
    bias: np.ndarray
    fitted: np.ndarray

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated logits (N, classes)."""
        return logits * self.scale + self.bias


def enough(says: np.ndarray) -> np.ndarray:
    """Return which classes have enough positives and negatives, bool (classes,)."""
    present, absent = (says == PRESENT).sum(axis=0), (says == ABSENT).sum(axis=0)
    return np.asarray((present >= FEW) & (absent >= FEW))


def no_calibration(classes: int) -> Calibration:
    """Return what leaves logits as they are."""
    return Calibration(np.ones(classes), np.zeros(classes), np.zeros(classes, dtype=bool))


def fit_calibration(logits: np.ndarray, says: np.ndarray, multi: bool) -> Calibration:
    """Fit a positive scale and a bias for each class that has enough tiles.

    The scale and bias minimise the cross entropy (Platt 1999; for softmax the vector scaling of
    Guo et al. 2017) with a standard normal prior on each bias and on the logarithm of each scale,
    so that few tiles cannot carry them far.

    Args:
        logits: (N, classes) of tiles that the head had not seen.
        says: int8 (N, classes), 1 present, 0 absent, -1 not known.
        multi: several classes a tile.
    """
    fitted = enough(says)
    count = int(fitted.sum())
    found = no_calibration(says.shape[1])
    if not count:
        return found

    def unpacked(values: np.ndarray) -> Calibration:
        scale, bias = found.scale.copy(), found.bias.copy()
        scale[fitted], bias[fitted] = np.exp(values[:count]), values[count:]
        return Calibration(scale, bias, fitted)

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        tried = unpacked(values)
        moved = tried.apply(logits)
        slope = _slope(moved, says, multi)[:, fitted]
        by_scale = (slope * logits[:, fitted]).sum(axis=0) * tried.scale[fitted]
        gradient = np.concatenate([by_scale, slope.sum(axis=0)]) + values
        return total_loss(moved, says, multi) + float(values @ values) / 2, gradient

    start = np.zeros(2 * count)
    done = load_extra("scipy.optimize").minimize(cost, start, jac=True, method="L-BFGS-B")
    return unpacked(done.x)


def _slope(logits: np.ndarray, says: np.ndarray, multi: bool) -> np.ndarray:
    """Return the derivative of the summed loss by each logit."""
    slope = probabilities(logits, multi) - (says == PRESENT)
    return np.where(says == UNKNOWN, 0.0, slope) if multi else slope


def fit_thresholds(found: np.ndarray, says: np.ndarray) -> np.ndarray:
    """Return the threshold of each class that gives the best F1; 0.5 for classes with few tiles.

    Args:
        found: probabilities (N, classes).
        says: int8 (N, classes).
    """
    chosen = np.full(says.shape[1], DEFAULT_THRESHOLD)
    for number in np.flatnonzero(enough(says)):
        known = says[:, number] != UNKNOWN
        chosen[number] = _best_threshold(found[known, number], says[known, number] == PRESENT)
    return chosen


def _best_threshold(found: np.ndarray, truth: np.ndarray) -> float:
    """Return the middle between the last value that should pass and the next one."""
    order = np.argsort(-found, kind="stable")
    values, hits = found[order], np.cumsum(truth[order])
    passed = np.arange(1, len(values) + 1)
    scores = 2 * hits / (passed + truth.sum())
    # Equal values pass together.
    ends = np.flatnonzero(np.append(values[1:] < values[:-1], True))
    best = int(ends[int(np.argmax(scores[ends]))])
    after = values[best + 1] if best + 1 < len(values) else 0.0
    return float((values[best] + after) / 2)
