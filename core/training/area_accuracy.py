"""Accuracy of a map weighted by area, with confidence intervals: Olofsson et al. 2014.

Good practices for estimating area and assessing accuracy of land change, Remote Sensing of
Environment 148, 42-57: stratified estimators, the strata being the classes of the map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Z_95 = 1.959964


def area_accuracy(table: np.ndarray, mapped: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Return overall, user's and producer's accuracy and shares of the area, each ± 95 %.

    A stratum without a sample tells nothing: its area is left out, which ``note`` says. Of a
    single sample there is no variance: intervals that would need it are None.

    Args:
        table: counts (map class, reference class) of the sample.
        mapped: area of each class of the map, in any unit.
        classes: names.
    """
    table, mapped = table.astype(float), mapped.astype(float)
    sampled = table.sum(axis=1)
    left_out = (sampled == 0) & (mapped > 0)
    area = np.where(sampled > 0, mapped, 0.0)
    weights = area / max(float(area.sum()), 1e-300)
    rates = np.divide(table, sampled[:, None], out=np.zeros_like(table), where=sampled[:, None] > 0)
    # Equations 5 to 7 and 10 are sums of this, the variance of a share in a stratum.
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(weights[:, None] > 0, rates * (1 - rates) / (sampled - 1)[:, None], 0.0)
    shares = weights[:, None] * rates
    right, user_spread = np.diag(rates), np.diag(spread)
    overall = float(np.trace(shares))
    variance = _total(weights**2, user_spread)
    told = {
        "overall": _told(overall, variance),
        "classes": [
            {
                "class": name, "samples": int(sampled[n]), "reference": int(table[:, n].sum()),
                "user": _told(right[n] if sampled[n] else None, float(user_spread[n])),
                "producer": _producer(n, weights, rates, spread),
                "area_share": _told(float(shares[:, n].sum()), _total(weights**2, spread[:, n])),
            }
            for n, name in enumerate(classes)
        ],
    }  # fmt: skip
    told["note"] = _note(left_out, mapped, classes)
    return told


def _producer(n: int, weights: np.ndarray, rates: np.ndarray, spread: np.ndarray) -> dict[str, Any]:
    """Return producer's accuracy by equation 7: of what is the class, how much is mapped so."""
    whole = float((weights * rates[:, n]).sum())
    if whole == 0:
        return _told(None, 0.0)
    value = float(weights[n] * rates[n, n]) / whole
    others = np.arange(len(weights)) != n
    own = weights[n] ** 2 * (1 - value) ** 2 * spread[n, n]
    rest = value**2 * _total(weights[others] ** 2, spread[others, n])
    return _told(value, float(own + rest) / whole**2)


def _total(weights: np.ndarray, spread: np.ndarray) -> float:
    """Return the weighted sum; a stratum without weight has no part in it, whatever it holds."""
    there = weights > 0
    return float((weights[there] * spread[there]).sum())


def _told(value: float | None, variance: float) -> dict[str, Any]:
    is_known = value is not None and math.isfinite(variance)
    return {
        "value": None if value is None else float(value),
        "half_width": Z_95 * math.sqrt(max(variance, 0.0)) if is_known else None,
    }


def _note(left_out: np.ndarray, mapped: np.ndarray, classes: Sequence[str]) -> str:
    text = (
        "By area after Olofsson et al. 2014, with the classes of the map as strata. The intervals "
        "hold for a reference that was drawn at random within the classes."
    )
    if left_out.any():
        names = ", ".join(name for name, out in zip(classes, left_out, strict=True) if out)
        share = float(mapped[left_out].sum() / mapped.sum())
        text += f" Without any reference, and left out: {names} ({share:.1%} of the map)."
    return text
