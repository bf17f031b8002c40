"""The sample model is what its description says, on the sample scenes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from multimodal import load_model
from multimodal.contract.weights import WEIGHTS_FILE

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"


@pytest.fixture
def training(monkeypatch):
    """Return the training script as a module."""
    location = importlib.util.spec_from_file_location(
        "train_sample_model", SAMPLE_DATA / "train_sample_model.py"
    )
    module = importlib.util.module_from_spec(location)
    monkeypatch.setitem(sys.modules, location.name, module)
    location.loader.exec_module(module)
    return module


def test_the_sample_model_says_what_it_is():
    spec = load_model(SAMPLE_DATA / "model").spec
    assert (SAMPLE_DATA / "model" / WEIGHTS_FILE).stat().st_size < 4e6
    assert len(spec.classes) == 19
    assert spec.calibrated is False
    assert "not a classifier" in spec.provenance["purpose"]
    assert "CDLA-Permissive-1.0" in spec.license
    assert "Copernicus Sentinel data 2017" in spec.license


def test_the_score_in_the_spec_is_the_score(training):
    model = load_model(SAMPLE_DATA / "model")
    scenes = SAMPLE_DATA / "scenes"
    train = training.joined(
        [training.read_tiles(scenes, name, model.spec) for name in training.TRAIN_SCENES]
    )
    held_out = training.read_tiles(scenes, training.HELD_OUT_SCENE, model.spec)
    found = training.score(model, train, held_out)
    stored = dict(model.spec.metrics)
    losses = stored.pop("train_loss"), stored.pop("held_out_loss")
    assert found == pytest.approx(stored, abs=2e-3)
    assert losses == pytest.approx(
        (training.loss_of(model, train), training.loss_of(model, held_out)), abs=2e-3
    )


def test_the_readme_tells_the_figures_of_the_spec():
    text = (SAMPLE_DATA / "README.md").read_text(encoding="utf-8")
    metrics = load_model(SAMPLE_DATA / "model").spec.metrics
    for key in ("micro_ap", "micro_ap_frequency", "macro_ap", "micro_prevalence", "held_out_loss"):
        assert f"{metrics[key]:.3f}" in text
