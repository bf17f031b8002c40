"""Nested validation by blocks: no figure comes from tiles that anything was fitted on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .blocks import Fold, make_folds
from .calibration import (
    DEFAULT_THRESHOLD,
    Calibration,
    fit_calibration,
    fit_thresholds,
    no_calibration,
)
from .figures import decided, macro_ap
from .probabilities import probabilities, total_loss

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Parts of the training blocks for the learning curve."""


class Head(Protocol):
    """What was fitted."""

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return logits (N, classes) of embeddings (N, width)."""

    def calibrated(self, scale: np.ndarray, bias: np.ndarray) -> Any:
        """Return the head with scale and bias by class folded in."""


class Fitter(Protocol):
    """What fits heads."""

    @property
    def settings(self) -> Sequence[float]:
        """What to choose from."""

    @property
    def default(self) -> float:
        """The setting where there is nothing to choose by."""

    def fit(self, x: np.ndarray, says: np.ndarray, settings: Sequence[float]) -> Sequence[Head]:
        """Return a head for each setting."""


@dataclass(frozen=True)
class Tiles:
    """Labelled embeddings: x (N, width), says int8 (N, classes), lon and lat (N, 2), blocks (N,).

    ``tile_m`` is the side of a tile in metres.
    """

    x: np.ndarray
    says: np.ndarray
    places: np.ndarray
    blocks: np.ndarray
    tile_m: float
    multi: bool

    def folds(self, among: np.ndarray) -> list[Fold]:
        """Return folds of some tiles, as positions in all of them."""
        found = make_folds(
            self.blocks[among], self.says[among], self.places[among], self.tile_m
        )  # fmt: skip
        return [Fold(among[fold.train], among[fold.test]) for fold in found]


@dataclass(frozen=True)
class Tuned:
    """What out-of-fold predictions decided; ``is_tuned`` is False where there were no folds."""

    setting: float
    calibration: Calibration
    thresholds: np.ndarray
    is_tuned: bool


@dataclass(frozen=True)
class Validated:
    """Predictions for tiles of outer blocks, NaN (and False) where there are none.

    ``raw`` and ``found`` are probabilities (N, classes) before and after calibration, ``passed``
    what was decided, ``tested`` bool (N,), ``fold`` int (N,), -1 where not tested.
    """

    raw: np.ndarray
    found: np.ndarray
    passed: np.ndarray
    fold: np.ndarray
    curve: tuple[dict[str, float], ...]

    @property
    def tested(self) -> np.ndarray:
        """Which tiles were predicted."""
        return np.asarray(self.fold >= 0)


Tick = Callable[[float], None]


def tune(tiles: Tiles, fitter: Fitter, among: np.ndarray) -> Tuned:
    """Choose setting, calibration and thresholds by predictions for blocks not trained on."""
    folds = tiles.folds(among)
    classes = tiles.says.shape[1]
    if not folds:
        plain = np.full(classes, DEFAULT_THRESHOLD)
        return Tuned(fitter.default, no_calibration(classes), plain, False)
    settings = fitter.settings
    logits = np.full((len(settings), len(tiles.x), classes), np.nan)
    for fold in folds:
        heads = fitter.fit(tiles.x[fold.train], tiles.says[fold.train], settings)
        for number, head in enumerate(heads):
            logits[number, fold.test] = head.logits(tiles.x[fold.test])
    seen = np.concatenate([fold.test for fold in folds])
    says = tiles.says[seen]
    losses = [total_loss(found[seen], says, tiles.multi) for found in logits]
    best = int(np.argmin(losses))
    calibration = fit_calibration(logits[best, seen], says, tiles.multi)
    found = probabilities(calibration.apply(logits[best, seen]), tiles.multi)
    return Tuned(settings[best], calibration, fit_thresholds(found, says), True)


def validate(tiles: Tiles, fitter: Fitter, tick: Tick = lambda share: None) -> Validated | None:
    """Predict every tile from blocks that neither head, calibration nor thresholds have seen.

    None where there is one block only.
    """
    outer = tiles.folds(np.arange(len(tiles.x)))
    if not outer:
        return None
    shape = tiles.says.shape
    raw, found = np.full(shape, np.nan), np.full(shape, np.nan)
    passed, numbers = np.zeros(shape, dtype=bool), np.full(shape[0], -1)
    curve = _Curve(tiles, fitter)
    for number, fold in enumerate(outer):
        tuned = tune(tiles, fitter, fold.train)
        (head,) = fitter.fit(tiles.x[fold.train], tiles.says[fold.train], [tuned.setting])
        logits = head.logits(tiles.x[fold.test])
        raw[fold.test] = probabilities(logits, tiles.multi)
        found[fold.test] = probabilities(tuned.calibration.apply(logits), tiles.multi)
        passed[fold.test] = decided(found[fold.test], tuned.thresholds, tiles.multi)
        numbers[fold.test] = number
        curve.add(fold, tuned.setting, raw[fold.test])
        tick((number + 1) / len(outer))
    return Validated(raw, found, passed, numbers, curve.points())


class _Curve:
    """Macro average precision by how many of the blocks were trained on."""

    def __init__(self, tiles: Tiles, fitter: Fitter) -> None:
        self._tiles, self._fitter = tiles, fitter
        self._found = np.full((len(SHARES), *tiles.says.shape), np.nan)
        self._sizes = np.zeros((len(SHARES), 0))

    def add(self, fold: Fold, setting: float, whole: np.ndarray) -> None:
        tiles = self._tiles
        blocks = np.random.default_rng(0).permutation(np.unique(tiles.blocks[fold.train]))
        sizes = []
        for place, share in enumerate(SHARES):
            some = blocks[: max(1, round(share * len(blocks)))]
            train = fold.train[np.isin(tiles.blocks[fold.train], some)]
            sizes.append(len(train))
            if share == 1.0:
                self._found[place, fold.test] = whole
                continue
            (head,) = self._fitter.fit(tiles.x[train], tiles.says[train], [setting])
            logits = head.logits(tiles.x[fold.test])
            self._found[place, fold.test] = probabilities(logits, tiles.multi)
        self._sizes = np.column_stack([self._sizes, sizes])

    def points(self) -> tuple[dict[str, float], ...]:
        """Return the mean number of tiles trained on and the score, for each share."""
        points = []
        for place, share in enumerate(SHARES):
            tested = np.isfinite(self._found[place]).all(axis=1)
            score = macro_ap(self._found[place, tested], self._tiles.says[tested])
            points.append(
                {"share": share, "tiles": float(self._sizes[place].mean()), "ap_macro": score}
            )
        return tuple(points)
