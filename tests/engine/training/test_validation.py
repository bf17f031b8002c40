"""Blocks, calibration, thresholds, figures, and that nested validation is honest."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support

from multimodal.training.blocks import block_numbers, make_folds
from multimodal.training.calibration import FEW, fit_calibration, fit_thresholds
from multimodal.training.figures import (
    average_precision,
    class_figures,
    confusion,
    decided,
    macro_ap,
    reliability,
)
from multimodal.training.linear_head import LinearFitter
from multimodal.training.probabilities import probabilities
from multimodal.training.validation import Tiles, tune, validate

TILE = 1200.0
DEGREE = 111_320.0


def lattice(rows: int, cols: int, step: float = TILE, lat: float = 48.0) -> np.ndarray:
    """Longitude and latitude of tiles of a grid."""
    row, col = np.mgrid[:rows, :cols].reshape(2, -1)
    lats = lat + row * step / DEGREE
    return np.column_stack([13 + col * step / DEGREE / np.cos(np.radians(lat)), lats])


@pytest.mark.parametrize("lat", [0.0, 48.0, -75.0])
def test_blocks_are_squares_wherever_they_lie(lat: float) -> None:
    numbers = block_numbers(lattice(30, 30, lat=lat), 5 * TILE)
    sizes = np.bincount(numbers)
    assert 36 <= len(sizes) <= 64
    assert sizes.max() <= 36


def test_folds_are_whole_blocks_and_share_no_ground() -> None:
    places = lattice(24, 24, step=TILE / 2)
    blocks = block_numbers(places, 4 * TILE)
    says = np.eye(2, dtype=np.int8)[np.arange(len(places)) % 2]
    folds = make_folds(blocks, says, places, TILE)
    assert len(folds) == 5
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(places)))
    for fold in folds:
        assert not set(blocks[fold.train]) & set(blocks[fold.test])
        apart = places[fold.train][:, None] - places[fold.test][None]
        metres = np.abs(apart * [DEGREE * np.cos(np.radians(48)), DEGREE]).max(axis=2)
        assert metres.min() > 0.97 * TILE
        assert len(fold.train) > len(places) / 3


def test_touching_tiles_of_a_grid_are_kept_and_classes_are_spread() -> None:
    places = lattice(10, 10)
    blocks = block_numbers(places, 2 * TILE)
    says = np.zeros((100, 2), dtype=np.int8)
    says[:, 0] = 1
    rare = np.isin(blocks, np.unique(blocks)[:5])
    says[rare] = [0, 1]
    folds = make_folds(blocks, says, places, TILE)
    assert all(len(fold.train) + len(fold.test) == 100 for fold in folds)
    assert all(says[fold.test][:, 1].any() for fold in folds)


def test_one_block_gives_no_folds() -> None:
    places = lattice(2, 2)
    assert make_folds(np.zeros(4, dtype=int), np.eye(4, dtype=np.int8), places, TILE) == []


def true_problem(multi: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that are 3 times too sure and shifted, and labels drawn from the true ones."""
    random = np.random.default_rng(seed)
    true = random.normal(size=(4000, 3)) * 1.5 + [-1, 0, 1]
    found = probabilities(true, multi)
    if multi:
        says = (random.random(true.shape) < found).astype(np.int8)
    else:
        drawn = [random.choice(3, p=row) for row in found]
        says = np.eye(3, dtype=np.int8)[drawn]
    return true, true * [3.0, 2.0, 4.0] + [1.0, -1.0, 0.5], says


@pytest.mark.parametrize("multi", [False, True])
def test_calibration_finds_the_truth_and_the_error_falls(multi: bool) -> None:
    true, wrong, says = true_problem(multi)
    half = slice(0, 2000), slice(2000, 4000)
    fitted = fit_calibration(wrong[half[0]], says[half[0]], multi)
    before = reliability(probabilities(wrong[half[1]], multi), says[half[1]], multi)["ece"]
    found = probabilities(fitted.apply(wrong[half[1]]), multi)
    after = reliability(found, says[half[1]], multi)["ece"]
    ideal = reliability(probabilities(true[half[1]], multi), says[half[1]], multi)["ece"]
    assert before > 0.1
    assert after < 0.03
    assert after < ideal + 0.015
    assert np.allclose(fitted.scale, [1 / 3, 1 / 2, 1 / 4], atol=0.06)
    assert np.abs(found - probabilities(true[half[1]], multi)).mean() < 0.03


def test_what_is_not_known_and_what_is_rare_moves_nothing() -> None:
    _, wrong, says = true_problem(True)
    says = says.copy()
    says[:, 2] = 0
    says[: FEW - 1, 2] = 1
    masked = says.copy()
    masked[::2, 0] = -1
    fitted = fit_calibration(wrong, masked, True)
    alone = fit_calibration(wrong[1::2], says[1::2], True)
    assert fitted.fitted.tolist() == [True, True, False]
    assert (fitted.scale[2], fitted.bias[2]) == (1.0, 0.0)
    assert fitted.scale[0] == pytest.approx(alone.scale[0], abs=1e-3)


def test_thresholds_are_the_best_for_f1_and_stay_for_rare_classes() -> None:
    true, _, says = true_problem(True)
    found = probabilities(true, True)
    says[:, 2] = 0
    says[: FEW - 1, 2] = 1
    chosen = fit_thresholds(found, says)
    assert chosen[2] == 0.5
    for number in (0, 1):
        scores = [f1_score(says[:, number], found[:, number] >= t) for t in np.linspace(0, 1, 201)]
        mine = f1_score(says[:, number], found[:, number] >= chosen[number])
        assert mine >= max(scores) - 1e-9


def test_figures_are_those_of_scikit_learn() -> None:
    true, _, says = true_problem(True)
    found = probabilities(true, True).round(2)  # with ties
    passed = decided(found, np.array([0.4, 0.5, 0.6]), True)
    figures = class_figures(found, passed, says, ["a", "b", "c"])
    expected = precision_recall_fscore_support(says, passed)
    for number, row in enumerate(figures["classes"]):
        assert [row["precision"], row["recall"], row["f1"], row["present"]] == pytest.approx(
            [values[number] for values in expected]
        )
        assert row["ap"] == pytest.approx(average_precision_score(says[:, number],
                                                                  found[:, number]))  # fmt: skip
    assert figures["macro"]["f1"] == pytest.approx(f1_score(says, passed, average="macro"))
    assert figures["micro"]["f1"] == pytest.approx(f1_score(says, passed, average="micro"))
    assert figures["micro"]["ap"] == pytest.approx(
        average_precision_score(says, found, average="micro")
    )
    masked = says.copy()
    masked[::3, 1] = -1
    part = class_figures(found, passed, masked, ["a", "b", "c"])["classes"][1]
    known = masked[:, 1] >= 0
    assert part["ap"] == pytest.approx(average_precision_score(says[known, 1], found[known, 1]))


def test_one_class_a_tile_has_a_confusion_matrix() -> None:
    says = np.eye(3, dtype=np.int8)[[0, 0, 1, 2, 2]]
    found = np.eye(3)[[0, 1, 1, 2, 0]] * 0.8 + 0.05
    passed = decided(found, np.full(3, 0.9), False)
    assert confusion(passed, says).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    bins = reliability(found, says, False)
    assert bins["ece"] == pytest.approx(abs(0.85 - 0.6))
    assert np.isnan(average_precision(found[:, 0], np.zeros(5, dtype=bool)))


def tiles_of(x: np.ndarray, says: np.ndarray, multi: bool, side: float = 4 * TILE) -> Tiles:
    places = lattice(20, 20)[: len(x)]
    return Tiles(x, says, places, block_numbers(places, side), TILE, multi)


def test_labels_without_meaning_get_no_good_figures() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 60))
    says = np.eye(2, dtype=np.int8)[random.integers(0, 2, 400)]
    done = validate(tiles_of(x, says, False), LinearFitter(False))
    assert done is not None
    assert done.tested.all()
    assert abs(macro_ap(done.found, says) - 0.5) < 0.08
    assert reliability(done.found, says, False)["ece"] < 0.1


def test_what_neighbours_share_does_not_help() -> None:
    """Labels by block, embeddings that know the block: random neighbours would score 1."""
    places = lattice(20, 20)
    blocks = block_numbers(places, 4 * TILE)
    random = np.random.default_rng(4)
    of_block = random.integers(0, 2, blocks.max() + 1)
    x = random.normal(size=(blocks.max() + 1, 40))[blocks]
    x += random.normal(size=(400, 40)) * 0.1
    says = np.eye(2, dtype=np.int8)[of_block[blocks]]
    done = validate(Tiles(x, says, places, blocks, TILE, False), LinearFitter(False))
    assert done is not None
    assert macro_ap(done.found, says) < 0.75


@pytest.mark.parametrize("multi", [False, True])
def test_a_real_signal_is_found_calibrated_and_the_curve_rises(multi: bool) -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(400, 30))
    true = x[:, :3] * 2
    found = probabilities(true, multi)
    if multi:
        says = (random.random(true.shape) < found).astype(np.int8)
        says[random.random(says.shape) < 0.2] = -1
    else:
        says = np.eye(3, dtype=np.int8)[[random.choice(3, p=row) for row in found]]
    tiles = tiles_of(x, says, multi)
    shares: list[float] = []
    done = validate(tiles, LinearFitter(multi), shares.append)
    assert done is not None
    assert shares[-1] == 1.0
    assert macro_ap(done.found, says) > 0.7
    assert reliability(done.found, says, multi)["ece"] < 0.08
    assert [point["share"] for point in done.curve] == [0.25, 0.5, 0.75, 1.0]
    assert done.curve[-1]["ap_macro"] > done.curve[0]["ap_macro"]
    assert done.curve[-1]["tiles"] > done.curve[0]["tiles"]
    tuned = tune(tiles, LinearFitter(multi), np.arange(400))
    assert tuned.is_tuned
    assert 1e-3 < tuned.setting < 100


def test_too_few_blocks_tune_nothing() -> None:
    x, says = np.random.default_rng(0).normal(size=(4, 3)), np.eye(2, dtype=np.int8)[[0, 1, 0, 1]]
    one = Tiles(x, says, lattice(2, 2), np.zeros(4, dtype=int), TILE, False)
    assert validate(one, LinearFitter(False)) is None
    tuned = tune(one, LinearFitter(False), np.arange(4))
    assert not tuned.is_tuned
    assert (tuned.thresholds == 0.5).all()
    assert tuned.setting == 1.0
