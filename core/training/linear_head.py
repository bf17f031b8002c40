"""L2 logistic regression by scikit-learn, folded exactly into one linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .claims import PRESENT, UNKNOWN
from .extras import load_extra

STRENGTHS: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
"""Values of C that are tried, from the strongest regularisation on."""
DEFAULT_STRENGTH = 1.0
# A column that hardly varies beside the others would get weights that float32 cannot hold.
_LEAST_SCALE = 1e-3
_TOLERANCE = 1e-7
_ITERATIONS = 10_000


def mean_and_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what standardises embeddings (N, width): both (width,), the scale never near 0."""
    spread = x.std(axis=0)
    varying = spread[spread > 0]
    least = _LEAST_SCALE * float(np.median(varying)) if len(varying) else 1.0
    return x.mean(axis=0), np.maximum(spread, least)


@dataclass(frozen=True)
class LinearHead:
    """``logits = x @ weight.T + bias``; weight (classes, width), bias (classes,), float64."""

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return logits (N, classes) of embeddings (N, width)."""
        return np.asarray(x @ self.weight.T + self.bias)

    def calibrated(self, scale: np.ndarray, bias: np.ndarray) -> LinearHead:
        """Return the head whose logits are ``scale * logits + bias``, by class."""
        return LinearHead(self.weight * scale[:, None], self.bias * scale + bias)


@dataclass(frozen=True)
class LinearFitter:
    """Fits heads: softmax regression for one class a tile, else one against the rest.

    ``balanced`` weighs classes by their rarity, which shifts probabilities.
    """

    multi: bool
    balanced: bool = False

    @property
    def settings(self) -> Sequence[float]:
        """Values of C to choose from."""
        return STRENGTHS

    @property
    def default(self) -> float:
        """C where there is nothing to choose by."""
        return DEFAULT_STRENGTH

    def fit(self, x: np.ndarray, says: np.ndarray, settings: Sequence[float]) -> list[LinearHead]:
        """Return a head for each C, for embeddings (N, width) and int8 (N, classes).

        A class that all known tiles have, or none, gets its log-odds (with half a tile of each
        kind more) whatever the embedding. The embedding is standardised, and turned into as
        many columns as there are tiles where it has more: the penalty is the same in every
        orthonormal basis, so that the solution is the same too.
        """
        frame = _Frame.of(x)
        fit = self._one_against_rest if self.multi else self._softmax
        return [frame.folded(*fit(frame.inner, says, strength)) for strength in settings]

    def _regression(self, strength: float) -> Any:
        return load_extra("sklearn.linear_model").LogisticRegression(
            C=strength, class_weight="balanced" if self.balanced else None, tol=_TOLERANCE,
            max_iter=_ITERATIONS,
        )  # fmt: skip

    def _one_against_rest(
        self, x: np.ndarray, says: np.ndarray, strength: float
    ) -> tuple[np.ndarray, np.ndarray]:
        weight, bias = np.zeros((says.shape[1], x.shape[1])), np.zeros(says.shape[1])
        for number in range(says.shape[1]):
            known = says[:, number] != UNKNOWN
            truth = says[known, number] == PRESENT
            present = int(truth.sum())
            if 0 < present < len(truth):
                fitted = self._regression(strength).fit(x[known], truth)
                weight[number], bias[number] = fitted.coef_[0], fitted.intercept_[0]
            else:
                bias[number] = np.log((present + 0.5) / (len(truth) - present + 0.5))
        return weight, bias

    def _softmax(
        self, x: np.ndarray, says: np.ndarray, strength: float
    ) -> tuple[np.ndarray, np.ndarray]:
        truth = says.argmax(axis=1)
        there = np.unique(truth)
        weight = np.zeros((says.shape[1], x.shape[1]))
        # What no tile has: half a tile of all.
        bias = np.full(says.shape[1], np.log(0.5 / len(x)))
        if len(there) == 1:
            bias[there] = 0.0
            return weight, bias
        fitted = self._regression(strength).fit(x, truth)
        coefficients, intercepts = fitted.coef_, fitted.intercept_
        if len(there) == 2:  # one row for both: half of it for each
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        weight[there], bias[there] = coefficients, intercepts
        return weight, bias


@dataclass(frozen=True)
class _Frame:
    """Standardised embeddings, seen in a basis of no more columns than there are tiles."""

    inner: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    basis: np.ndarray | None

    @classmethod
    def of(cls, x: np.ndarray) -> _Frame:
        x = x.astype(np.float64)
        mean, scale = mean_and_scale(x)
        standard = (x - mean) / scale
        if standard.shape[0] >= standard.shape[1]:
            return cls(standard, mean, scale, None)
        u, s, basis = np.linalg.svd(standard, full_matrices=False)
        return cls(u * s, mean, scale, basis)

    def folded(self, weight: np.ndarray, bias: np.ndarray) -> LinearHead:
        """Return the layer on raw embeddings that does what a layer on ``inner`` does."""
        outer = (weight if self.basis is None else weight @ self.basis) / self.scale
        return LinearHead(outer, bias - outer @ self.mean)
