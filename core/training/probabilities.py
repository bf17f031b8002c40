"""Logits to probabilities, and the loss of what is known: NumPy alone."""

from __future__ import annotations

import numpy as np

from .claims import PRESENT, UNKNOWN


def probabilities(logits: np.ndarray, multi: bool) -> np.ndarray:
    """Return the sigmoid of logits (N, classes), or their softmax where one class a tile is."""
    if multi:
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500))))
    return np.exp(log_softmax(logits))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def total_loss(logits: np.ndarray, says: np.ndarray, multi: bool) -> float:
    """Return the summed cross entropy in nats; classes that are not known count nothing."""
    if not multi:
        return -float(log_softmax(logits)[says == PRESENT].sum())
    signs = np.where(says == PRESENT, 1.0, -1.0)
    return float(np.logaddexp(0.0, -signs * logits)[says != UNKNOWN].sum())
