"""A run takes the fastest way that agrees, remembers it, and keeps to it where it goes on."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from multimodal import way_choice
from multimodal.contract.job import ClassifyJob
from multimodal.contract.messages import Log, Message, Plan
from multimodal.fast_forward import FastForward
from multimodal.model_cache import ModelCache
from multimodal.pipeline import classify

Told = list[Message]


def precision_in(path: str) -> str:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT precision FROM mm_run").fetchone()[0]


def values_in(path: str) -> np.ndarray:
    """Return (classified tiles, classes)."""
    with sqlite3.connect(path) as connection:
        cursor = connection.execute("SELECT * FROM tiles WHERE status = 'ok' ORDER BY tile_id")
        places = [n for n, item in enumerate(cursor.description) if item[0].startswith("p_")]
        return np.array([[row[place] for place in places] for row in cursor])


def chosen(told: Told) -> list[str]:
    return [m.text for m in told if isinstance(m, Log) and m.text.startswith("Computing in")]


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every run be long enough, and every other way be worth it."""
    monkeypatch.setattr("multimodal.way_choice.LEAST_TODO", 1)
    monkeypatch.setattr("multimodal.tuning.WORTH", 0.0)
    monkeypatch.setattr("multimodal.tuning.TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(
        "multimodal.tuning._race",
        lambda networks, *_: {way: 1.0 / (1 + n) for n, way in enumerate(networks)},
    )


def test_auto_and_exact_agree(job: ClassifyJob, eager: None) -> None:
    told: Told = []
    exact = replace(job, precision="exact", output=job.output.replace("out", "exact"))
    models = ModelCache()
    classify(job, told.append, models=models)
    assert len(chosen(told)) == 1
    assert all(isinstance(network, FastForward) for network in models._networks.values())
    classify(exact)
    fast, plain = values_in(job.output), values_in(exact.output)
    apart = np.abs(fast - plain).max()
    assert apart < 0.01
    two = np.sort(plain, axis=1)[:, -2:]
    # Of the sample model no tile is as clear as 0.02; the last digits are told apart all the same.
    clear = two[:, 1] - two[:, 0] > 2 * apart
    assert clear.sum() > 3
    assert (fast.argmax(axis=1) == plain.argmax(axis=1))[clear].all()


def test_a_choice_is_remembered(job: ClassifyJob, eager: None, monkeypatch) -> None:
    classify(job)
    monkeypatch.setattr("multimodal.way_choice.choose_way", None)  # would fail if asked
    told: Told = []
    models = ModelCache()
    again = replace(job, output=job.output.replace("out", "again"))
    classify(again, told.append, models=models)
    assert not chosen(told)
    assert list(models._networks), "the way that is known is gone at once"
    (plan,) = (m for m in told if isinstance(m, Plan))
    assert plan.precision == precision_in(again.output)


def test_a_short_run_is_not_tried(job: ClassifyJob) -> None:
    told: Told = []
    models = ModelCache()
    classify(job, told.append, models=models)
    assert not chosen(told)
    assert not models._networks


def test_what_is_gone_on_with_keeps_its_numbers(job: ClassifyJob, monkeypatch) -> None:
    """Earlier tiles are in float32: nothing else is tried for the rest."""
    stop: list[bool] = []
    classify(job, lambda message: stop.append(True), lambda: len(stop) > 4)
    assert precision_in(job.output) == "fp32"
    asked: list[str | None] = []

    def ways_on(device, wanted, only=None):
        asked.append(only)
        return real(device, wanted, only)

    real = way_choice.ways_on
    monkeypatch.setattr(way_choice, "ways_on", ways_on)
    classify(job)
    assert "fp32" in asked


def test_another_way_for_the_rest_is_the_way_of_the_first_tiles(
    job: ClassifyJob, eager: None, monkeypatch
) -> None:
    """What was learned since does not matter: a result is computed in one way."""
    exact, stop = replace(job, output=job.output.replace("out", "whole")), []
    classify(exact)
    assert precision_in(exact.output) == "fp32 fused"
    classify(job, lambda message: stop.append(True), lambda: len(stop) > 6)
    assert precision_in(job.output) == "fp32 fused"
    monkeypatch.setattr(way_choice, "remembered_way", lambda *_: "fp32")
    monkeypatch.setattr(way_choice, "LEAST_TODO", 64)
    classify(job)
    assert precision_in(job.output) == "fp32 fused"
    assert np.abs(values_in(job.output) - values_in(exact.output)).max() < 1e-6


def test_another_precision_for_the_rest_is_never_silent(job: ClassifyJob, eager: None) -> None:
    stop: list[bool] = []
    classify(job, lambda message: stop.append(True), lambda: len(stop) > 6)
    summary = classify(replace(job, precision="exact"))
    assert precision_in(job.output) == "fp32 fused, then fp32"
    assert [text for text in summary.warnings if "were computed in fp32 fused" in text]
    with sqlite3.connect(job.output) as connection:
        (told,) = connection.execute("SELECT warnings FROM mm_run").fetchone()
    assert "start over" in told


def test_a_cancel_in_the_trial_leaves_the_plain_way(job: ClassifyJob, eager: None, monkeypatch):
    stop: list[bool] = []

    def tried(*_: object) -> None:
        stop.append(True)
        raise way_choice.BatchStopped

    monkeypatch.setattr(way_choice, "choose_way", tried)
    summary = classify(job, is_cancelled=lambda: bool(stop))
    assert summary.state == "partial"
    assert summary.classified == 0
    assert Path(job.output).exists() or summary.skipped == 0
