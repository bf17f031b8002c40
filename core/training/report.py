"""What a training or an evaluation found, as plain values: ``report.json`` and the HTML of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .claims import PRESENT, UNKNOWN
from .figures import class_figures, confusion, reliability
from .gathering import Gathered
from .validation import Tuned, Validated

REPORT_FORMAT = 1


def validation_part(gathered: Gathered, done: Validated | None) -> dict[str, Any]:
    """Return the figures of the outer blocks, or why there are none."""
    blocks = len(np.unique(gathered.tiles.blocks))
    told: dict[str, Any] = {
        "blocks": blocks, "block_m": gathered.block_m, "folds": 0, "tested": 0,
    }  # fmt: skip
    if done is None:
        told["note"] = (
            f"All tiles lie in {'one block' if blocks == 1 else f'{blocks} blocks'} of "
            f"{gathered.block_m:.0f} m, or overlap: nothing can be tested on blocks that were not "
            "trained on. There are no figures. Label places further apart, or make blocks smaller."
        )
        return told
    tested = done.tested
    told.update(folds=int(done.fold.max()) + 1, tested=int(tested.sum()))
    told["note"] = _note(told["folds"], blocks)
    says = gathered.tiles.says[tested]
    told.update(figures_part(done.found[tested], done.passed[tested], says,
                             gathered.classes.names, gathered.tiles.multi))  # fmt: skip
    told["reliability_before"] = reliability(done.raw[tested], says, gathered.tiles.multi)
    told["learning_curve"] = list(done.curve)
    return told


def figures_part(
    found: np.ndarray | None, passed: np.ndarray, says: np.ndarray, names: tuple[str, ...],
    multi: bool,
) -> dict[str, Any]:  # fmt: skip
    """Return figures by class, and what there is of accuracy, confusion and reliability."""
    told = class_figures(found, passed, says, names)
    if not multi:
        table = confusion(passed, says)
        told["confusion"] = table.tolist()
        told["accuracy"] = float(np.trace(table)) / max(int(table.sum()), 1)
    if found is not None:
        told["reliability"] = reliability(found, says, multi)
    return told


def errors_part(gathered: Gathered, done: Validated | None) -> list[dict[str, Any]]:
    """Return for each tested tile where it lies, what it is, what was decided, and how sure."""
    if done is None:
        return []
    tiles = gathered.tiles
    return [
        tile_row(
            gathered.classes.names, tiles.says[n], done.passed[n], done.found[n],
            place=gathered.places[n], centre=tiles.places[n], scene=int(gathered.scene[n]),
            fold=int(done.fold[n]),
        )
        for n in np.flatnonzero(done.tested)
    ]  # fmt: skip


def tile_row(
    names: Sequence[str], says: np.ndarray, passed: np.ndarray, found: np.ndarray, *,
    place: np.ndarray, centre: np.ndarray, scene: int = 0, fold: int = -1,
) -> dict[str, Any]:  # fmt: skip
    """Return a tile of ``tested_tiles``; ``wrong`` counts the classes that are known.

    Args:
        names: of the classes.
        says: int8 (classes,), the truth.
        passed: bool (classes,), what was decided.
        found: probabilities (classes,).
        place: row and column of its first pixel.
        centre: longitude and latitude.
        scene: its number.
        fold: in which it was tested, -1 for none.
    """
    known = says != UNKNOWN
    return {
        "lon": float(centre[0]), "lat": float(centre[1]), "scene": scene,
        "row": int(place[0]), "col": int(place[1]), "fold": fold,
        "truth": [name for name, say in zip(names, says, strict=True) if say == PRESENT],
        "decided": [name for name, yes in zip(names, passed, strict=True) if yes],
        "wrong": int((passed != (says == PRESENT))[known].sum()),
        "p": [round(float(p), 6) for p in found],
    }  # fmt: skip


def classes_part(gathered: Gathered, tuned: Tuned) -> list[dict[str, Any]]:
    """Return name, colour, threshold and calibration of each class."""
    cal, listed = tuned.calibration, gathered.classes
    return [
        {
            "name": name, "color": color, "threshold": float(tuned.thresholds[n]),
            "calibrated": bool(cal.fitted[n]), "scale": float(cal.scale[n]),
            "bias": float(cal.bias[n]),
        }
        for n, (name, color) in enumerate(zip(listed.names, listed.colors, strict=True))
    ]  # fmt: skip


def spec_metrics(validation: dict[str, Any]) -> dict[str, Any]:
    """Return the figures that a model folder carries."""
    told: dict[str, Any] = {
        "validated_on": validation["note"], "tiles_tested": validation["tested"],
    }  # fmt: skip
    if not validation["tested"]:
        return told
    for kind in ("macro", "micro"):
        told.update({f"{key}_{kind}": value for key, value in validation[kind].items()})
    told["ece"] = validation["reliability"]["ece"]
    told["ece_before_calibration"] = validation["reliability_before"]["ece"]
    if "accuracy" in validation:
        told["accuracy"] = validation["accuracy"]
    keys = ("class", "present", "precision", "recall", "f1", "ap")
    told["classes"] = [{key: row[key] for key in keys} for row in validation["classes"]]
    return told


def _note(folds: int, blocks: int) -> str:
    text = f"{folds} folds of whole blocks, {blocks} in all"
    if folds < 3:
        return (
            f"{text}: too few to choose C, thresholds and calibration apart from the figures, "
            "which were left at their defaults within each fold. Label places further apart, or "
            "make blocks smaller."
        )
    return f"{text}; thresholds and calibration were fitted within the other folds"
