"""classify(job) on the real sample scene and on a larger fabricated one."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multimodal.batching import BatchSize
from multimodal.checkpoint import from_pretrained
from multimodal.contract.errors import (
    CancelledError,
    DeviceError,
    JobError,
    MissingChannelsError,
    ModelFolderError,
    NoOverlapError,
    OutputError,
    SourceError,
)
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.messages import Log, Message, Phase, Plan, Progress, Rows
from multimodal.contract.spec import default_spec
from multimodal.devices import Device, choose_device, choose_precision, known_device
from multimodal.inference import Predictor, to_probabilities
from multimodal.pipeline import ModelCache, classify
from multimodal.rows import NOT_FINITE, to_rows
from multimodal.scene import Scene, open_scene
from multimodal.scene.advice import scene_warnings

EMPTY_TILE = 0


def stored(path: str, columns: str = "*") -> list[dict]:
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        query = f"SELECT {columns} FROM tiles ORDER BY tile_id"
        return [dict(row) for row in connection.execute(query)]


def probabilities(path: str) -> np.ndarray:
    rows = [row for row in stored(path) if row["status"] == "ok"]
    names = [name for name in rows[0] if name.startswith("p_")]
    return np.array([[row[name] for name in names] for row in rows])


def test_the_sample_scene(job: ClassifyJob) -> None:
    messages: list[Message] = []
    summary = classify(job, messages.append)
    assert (summary.tiles, summary.classified, summary.skipped) == (8, 7, 1)
    assert summary.state == "complete"
    assert (summary.device, summary.precision) == ("cpu", "fp32")
    assert summary.tiles_per_second > 0
    rows = stored(job.output)
    assert [row["tile_id"] for row in rows] == list(range(8))
    assert rows[EMPTY_TILE]["status"] == "skipped: too few valid Sentinel-2 pixels"
    assert [m.name for m in messages if isinstance(m, Phase)] == [
        "open", "model", "classify", "finish",
    ]  # fmt: skip
    told = [row.tile_id for m in messages if isinstance(m, Rows) for row in m.rows]
    assert told == list(range(8))
    plan = next(m for m in messages if isinstance(m, Plan))
    assert (plan.tiles, plan.todo, plan.batch_size) == (8, 8, 2)
    last = [m for m in messages if isinstance(m, Progress)][-1]
    assert (last.done, last.total, last.eta_seconds) == (8, 8, 0)


def test_probabilities_are_those_of_the_model_called_by_hand(job: ClassifyJob) -> None:
    classify(job)
    model = from_pretrained(job.model)
    with open_scene(job.s2, job.s1, model.spec) as scene:
        batch = next(iter(scene.batches(scene.select(), 8, 0.75)))
    with torch.inference_mode():
        logits = model(torch.from_numpy(batch.s1), torch.from_numpy(batch.s2))
    expected = torch.sigmoid(logits / model.spec.temperature).numpy()
    np.testing.assert_allclose(probabilities(job.output), expected, atol=1e-5)


def test_batches_do_not_change_a_result(job: ClassifyJob, tmp_path: Path) -> None:
    results = []
    for size in (1, 3, 8):
        path = str(tmp_path / f"{size}.gpkg")
        classify(replace(job, batch_size=size, output=path))
        results.append(probabilities(path))
    # Convolutions of another batch size may add in another order.
    np.testing.assert_allclose(results[1], results[0], atol=1e-6)
    np.testing.assert_allclose(results[2], results[0], atol=1e-6)


def test_extent_keeps_ids_and_values(job: ClassifyJob, tmp_path: Path) -> None:
    classify(job)
    part = replace(
        job,
        output=str(tmp_path / "part.gpkg"),
        extent_wkt="POLYGON ((344400 5290800, 345600 5290800, 345600 5293200, 344400 5293200, "
        "344400 5290800))",
    )
    summary = classify(part)
    assert summary.tiles == 2
    whole = {row["tile_id"]: row for row in stored(job.output, "tile_id, p_pastures")}
    for row in stored(part.output, "tile_id, p_pastures"):
        assert row["p_pastures"] == pytest.approx(whole[row["tile_id"]]["p_pastures"], abs=1e-5)
    assert [row["tile_id"] for row in stored(part.output)] == [4, 6]


def test_a_stride_of_half_a_tile(job: ClassifyJob) -> None:
    assert classify(replace(job, stride=60)).tiles == 7 * 3


def test_cancel_keeps_finished_tiles_and_the_same_run_goes_on(large_job: ClassifyJob) -> None:
    messages: list[Message] = []
    summary = classify(
        large_job, messages.append, lambda: any(isinstance(m, Rows) for m in messages)
    )
    assert summary.state == "partial"
    assert summary.tiles == 144
    assert 0 < summary.classified < 144
    kept = stored(large_job.output)
    assert len(kept) == summary.classified
    again: list[Message] = []
    finished = classify(large_job, again.append)
    assert finished.state == "complete"
    assert finished.classified == 144
    plan = next(m for m in again if isinstance(m, Plan))
    assert plan.todo == 144 - len(kept)
    whole = replace(large_job, output=large_job.output.replace("large", "whole"))
    classify(whole)
    np.testing.assert_allclose(
        probabilities(large_job.output), probabilities(whole.output), atol=1e-6
    )


def test_cancel_before_the_first_tile_is_a_partial_result(job: ClassifyJob) -> None:
    plans: list[Message] = []

    def on_message(message: Message) -> None:
        if isinstance(message, Plan):
            plans.append(message)

    assert classify(job, on_message, lambda: bool(plans)).state == "partial"
    assert stored(job.output) == []


def test_a_complete_run_is_not_run_again(job: ClassifyJob) -> None:
    classify(job)
    messages: list[Message] = []
    summary = classify(job, messages.append)
    assert (summary.state, summary.classified) == ("complete", 7)
    assert "model" not in [m.name for m in messages if isinstance(m, Phase)]


def test_a_complete_result_is_not_touched_again(job: ClassifyJob) -> None:
    classify(job)
    before = Path(job.output).read_bytes()
    summary = classify(replace(job, batch_size=8))
    assert (summary.state, summary.tiles, summary.classified, summary.skipped) == (
        "complete", 8, 7, 1,
    )  # fmt: skip
    assert summary.skipped_reasons == {"too few valid Sentinel-2 pixels": 1}
    assert Path(job.output).read_bytes() == before


def test_overwrite_with_a_damaged_model_keeps_the_old_result(
    job: ClassifyJob, tmp_path: Path
) -> None:
    classify(job)
    before = Path(job.output).read_bytes()
    damaged = tmp_path / "model"
    shutil.copytree(job.model, damaged)
    os.truncate(damaged / "model.safetensors", 1000)
    with pytest.raises(ModelFolderError, match="SHA-256"):
        classify(replace(job, model=str(damaged), overwrite=True))
    assert Path(job.output).read_bytes() == before


def test_a_damaged_model_leaves_no_file(job: ClassifyJob, tmp_path: Path) -> None:
    damaged = tmp_path / "model"
    shutil.copytree(job.model, damaged)
    os.truncate(damaged / "model.safetensors", 1000)
    with pytest.raises(ModelFolderError):
        classify(replace(job, model=str(damaged)))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_cancel_before_the_first_tile_of_an_overwrite_keeps_the_old_result(
    job: ClassifyJob,
) -> None:
    classify(job)
    before = Path(job.output).read_bytes()
    loading: list[Message] = []

    def on_message(message: Message) -> None:
        if isinstance(message, Phase) and message.name == "model":
            loading.append(message)

    with pytest.raises(CancelledError, match="unchanged"):
        classify(replace(job, overwrite=True), on_message, lambda: bool(loading))
    assert Path(job.output).read_bytes() == before


def test_overwrite_starts_over(job: ClassifyJob) -> None:
    classify(job)
    messages: list[Message] = []
    summary = classify(replace(job, stride=60, overwrite=True), messages.append)
    assert (summary.state, summary.tiles) == ("complete", 21)
    assert next(m for m in messages if isinstance(m, Plan)).todo == 21
    assert len(stored(job.output)) == 21


def test_the_model_stays_loaded(job: ClassifyJob, tmp_path: Path) -> None:
    models = ModelCache()
    first = models.get(job.model, torch.device("cpu"))
    assert models.get(job.model, torch.device("cpu")) is first
    copied = tmp_path / "model"
    shutil.copytree(job.model, copied)
    other = models.get(str(copied), torch.device("cpu"))
    assert other is not first
    config = json.loads((copied / "config.json").read_text())
    config["spec"]["temperature"] = 2.0
    (copied / "config.json").write_text(json.dumps(config))
    assert models.get(str(copied), torch.device("cpu")) is not other


def test_numbers_that_are_not_finite_become_a_skip(job: ClassifyJob) -> None:
    with open_scene(job.s2, job.s1, default_spec()) as scene:
        batch = next(iter(scene.batches(scene.select(), 8, 0.75)))
        bad = np.full((len(batch.s2), 19), 0.5, dtype="float32")
        bad[2, 3] = np.nan
        rows = to_rows(batch, bad, scene)
    assert [row.status for row in rows].count(NOT_FINITE) == 1
    assert rows[3].status == NOT_FINITE
    assert rows[3].probabilities is None


@pytest.mark.parametrize("precision", ["tf32", "fp32"])
def test_a_precision_is_what_it_says(sample_model: str, precision: str) -> None:
    model = from_pretrained(sample_model)
    Predictor(model, known_device(torch.device("cpu")), BatchSize(1), precision=precision)
    assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")


@pytest.mark.parametrize(
    ("wanted", "device", "generation", "chosen"),
    [
        ("auto", "cuda", 8, "tf32"), ("exact", "cuda", 8, "fp32"), ("auto", "cuda", 7, "fp32"),
        ("auto", "cpu", 0, "fp32"), ("exact", "cpu", 0, "fp32"),
    ],
)  # fmt: skip
def test_the_precision_of_a_device(
    monkeypatch: pytest.MonkeyPatch, wanted: str, device: str, generation: int, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (generation, 0))
    assert choose_precision(wanted, Device(torch.device(device), device, device)) == chosen


def test_multiclass_and_temperature() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0]])
    spec = default_spec(["a", "b", "c"], task="multiclass", temperature=2.0)
    probabilities = to_probabilities(logits, spec)
    assert probabilities.sum().item() == pytest.approx(1)
    assert probabilities[0, 0].item() == pytest.approx(np.e / (np.e + 2), abs=1e-6)


def test_a_device_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceError, match="choose auto or cpu"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"s2": (RasterSource("/no/such.tif"),)}, SourceError, "does not exist"),
        ({"model": "/no/such/model"}, ModelFolderError, "not a model folder"),
        ({"output": "/no/such/out.gpkg"}, OutputError, "does not exist"),
        ({"extent_wkt": "POLYGON ((0 0, 1 0, 1 1, 0 0))"}, NoOverlapError, "No tile lies"),
        ({"aoi_wkt": "nonsense"}, JobError, "not a polygon"),
    ],
)
def test_bad_input_leaves_no_file(
    job: ClassifyJob, tmp_path: Path, change: dict, error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        classify(replace(job, **change))
    assert list(tmp_path.glob("*.gpkg*")) == []


def test_swapped_layers_are_told(job: ClassifyJob) -> None:
    with pytest.raises(MissingChannelsError, match="swapped"):
        classify(replace(job, s2=job.s1, s1=job.s2))


def test_a_source_that_breaks_in_the_middle_keeps_what_is_finished(
    large_job: ClassifyJob, tmp_path: Path
) -> None:
    fragile = tmp_path / "s2.tif"
    shutil.copy(large_job.s2[0].path, fragile)
    job = replace(large_job, s2=(RasterSource(str(fragile)),))

    def truncate(message: Message) -> None:
        if isinstance(message, Rows):
            os.truncate(fragile, 1000)

    with pytest.raises(SourceError, match="was changed during the run"):
        classify(job, truncate)
    with sqlite3.connect(job.output) as connection:
        assert connection.execute("SELECT state FROM mm_run").fetchone() == ("partial",)
        assert 0 < connection.execute("SELECT count(*) FROM tiles").fetchone()[0] < 144


def test_a_model_that_was_never_trained_does_not_classify(
    job: ClassifyJob, tiny_model: str, tmp_path: Path
) -> None:
    copied = tmp_path / "untrained"
    shutil.copytree(tiny_model, copied)
    config = json.loads((copied / "config.json").read_text())
    config["spec"]["provenance"] = {}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match="nothing about its training"):
        classify(replace(job, model=str(copied)))


def test_scene_warnings_reach_log_and_summary_and_are_worked_out_once(
    job: ClassifyJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rasterio

    asked: list[Scene] = []
    monkeypatch.setattr(
        "multimodal.scene.scene.scene_warnings",
        lambda scene: asked.append(scene) or scene_warnings(scene),
    )
    power = tmp_path / "power.tif"
    with rasterio.open(job.s1[0].path) as source:
        profile, values, names = source.profile, source.read(), source.descriptions
    with rasterio.open(power, "w", **profile) as target:
        target.write(10 ** (values / 10))
        target.descriptions = names
    messages: list[Message] = []
    summary = classify(replace(job, s1=(RasterSource(str(power)),)), messages.append)
    assert any("linear power" in text for text in summary.warnings)
    assert [m.text for m in messages if isinstance(m, Log)] == list(summary.warnings)
    assert len(asked) == 1
