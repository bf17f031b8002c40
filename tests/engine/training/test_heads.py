"""Heads: what scikit-learn fits stands in one layer; the MLP; the module takes both."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from multimodal.classifier import build_head
from multimodal.config import ClassifierConfig
from multimodal.training.linear_head import LinearFitter, LinearHead
from multimodal.training.mlp_head import MlpFitter
from multimodal.training.probabilities import probabilities, total_loss


def embeddings(tiles: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    spread = random.uniform(0.05, 3, width)
    return (random.normal(size=(tiles, width)) * spread + random.normal(size=width)).astype("f4")


def one_of(x: np.ndarray, classes: int) -> np.ndarray:
    scores = x[:, :classes] + np.random.default_rng(1).normal(size=(len(x), classes))
    return np.eye(classes, dtype=np.int8)[scores.argmax(axis=1)]


def in_module(head: LinearHead, x: np.ndarray) -> np.ndarray:
    """The logits of the module's own linear head, in float32."""
    layer = build_head(ClassifierConfig(), x.shape[1], len(head.bias)).eval()
    layer.load_state_dict({"fc.weight": torch.from_numpy(head.weight).float(),
                           "fc.bias": torch.from_numpy(head.bias).float()})  # fmt: skip
    with torch.no_grad():
        return layer(torch.from_numpy(x)).double().numpy()


def plain(strength: float) -> LogisticRegression:
    regression = LogisticRegression(C=strength, tol=1e-9, max_iter=20_000)
    return make_pipeline(StandardScaler(), regression)


@pytest.mark.parametrize(("tiles", "width"), [(40, 300), (200, 24)])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("strength", [0.01, 10.0])
def test_the_folded_head_gives_the_probabilities_of_scikit_learn(
    tiles: int, width: int, classes: int, strength: float
) -> None:
    x = embeddings(tiles, width)
    says = one_of(x, classes)
    (head,) = LinearFitter(multi=False).fit(x, says, [strength])
    expected = plain(strength).fit(x.astype("f8"), says.argmax(axis=1)).predict_proba(x)
    assert np.abs(probabilities(in_module(head, x), False) - expected).max() < 1e-5


@pytest.mark.parametrize(("tiles", "width"), [(40, 300), (200, 24)])
def test_one_against_the_rest_leaves_out_what_is_not_known(tiles: int, width: int) -> None:
    x = embeddings(tiles, width)
    random = np.random.default_rng(3)
    says = (x[:, :3] + random.normal(size=(tiles, 3)) > 0.5).astype(np.int8)
    says[random.random(says.shape) < 0.3] = -1
    (head,) = LinearFitter(multi=True).fit(x, says, [0.5])
    found = probabilities(in_module(head, x), True)
    # In double precision: scikit-learn fits float32 as such, 1e-4 apart from the solution.
    standard = StandardScaler().fit_transform(x.astype("f8"))
    for number in range(3):
        known = says[:, number] >= 0
        regression = LogisticRegression(C=0.5, tol=1e-9, max_iter=20_000)
        regression.fit(standard[known], says[known, number])
        expected = regression.predict_proba(standard)[:, 1]
        assert np.abs(found[:, number] - expected).max() < 1e-5


def test_a_class_of_one_kind_gets_its_share_and_an_absent_one_hardly_any() -> None:
    x = embeddings(30, 8)
    says = np.zeros((30, 3), dtype=np.int8)
    says[:, 0] = 1
    says[::2, 1] = 1
    (several,) = LinearFitter(multi=True).fit(x, says, [1.0])
    found = probabilities(several.logits(x), True)
    assert found[:, 0] == pytest.approx(30.5 / 31)
    assert found[:, 2] == pytest.approx(0.5 / 31)
    (one,) = LinearFitter(multi=False).fit(x, np.eye(3, dtype=np.int8)[says[:, 1]], [1.0])
    assert probabilities(one.logits(x), False)[:, 2].max() < 0.1


def test_calibration_is_folded_in() -> None:
    x = embeddings(30, 8)
    (head,) = LinearFitter(multi=True).fit(x, one_of(x, 3), [1.0])
    scale, bias = np.array([2.0, 0.5, 1.0]), np.array([0.1, -0.2, 0.0])
    moved = head.calibrated(scale, bias).logits(x)
    assert np.allclose(moved, head.logits(x) * scale + bias)


def test_balanced_weights_raise_what_is_rare() -> None:
    x = embeddings(200, 6)
    says = np.eye(2, dtype=np.int8)[(x[:, 0] > np.quantile(x[:, 0], 0.95)).astype(int)]
    x = x + np.random.default_rng(2).normal(size=x.shape).astype("f4") * 3
    rare = [probabilities(LinearFitter(False, balanced).fit(x, says, [1.0])[0].logits(x), False)
            for balanced in (False, True)]  # fmt: skip
    assert rare[1][:, 1].mean() > 2 * rare[0][:, 1].mean()


@pytest.mark.parametrize("multi", [False, True])
def test_the_mlp_learns_what_no_line_can_and_comes_back_bit_for_bit(multi: bool) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4)).astype("f4") * [1, 1, 50, 0.01] + [0, 0, 1000, 5]
    truth = (x[:, 0] * x[:, 1] > 0).astype(int)
    says = np.eye(2, dtype=np.int8)[truth]
    if multi:
        says[::7] = -1
    fitter = MlpFitter(multi, ClassifierConfig(type="mlp", hidden_dim=64, lr=3e-3))
    first, last = fitter.fit(x, says, [2, 120])
    known = says if not multi else np.eye(2, dtype=np.int8)[truth]
    assert total_loss(last.logits(x), known, multi) < 0.5 * total_loss(
        first.logits(x), known, multi
    )
    assert (last.logits(x).argmax(axis=1) == truth).mean() > 0.9
    again = fitter.fit(x, says, [2, 120])[1]
    assert np.array_equal(again.logits(x), last.logits(x))
    moved = last.calibrated(np.array([2.0, 3.0]), np.array([0.5, -1.0]))
    assert np.allclose(moved.logits(x), last.logits(x) * [2, 3] + [0.5, -1], atol=1e-4)


def test_without_scikit_learn_the_error_says_what_to_install() -> None:
    program = """
import sys
sys.modules["sklearn"] = None
import numpy as np
from multimodal.contract.errors import RuntimeMissingError
from multimodal.training.linear_head import LinearFitter
try:
    LinearFitter(False).fit(np.eye(4), np.eye(2, dtype=np.int8)[[0, 1, 0, 1]], [1.0])
except RuntimeMissingError as problem:
    print(problem.message)
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert "pip install scikit-learn" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr
