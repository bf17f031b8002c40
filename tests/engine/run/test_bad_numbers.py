"""NaN and infinity, in rasters, weights or on the way, never become a class."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import load_file, save_file

from multimodal.checkpoint import check_folder
from multimodal.cli_text import summary_lines
from multimodal.contract.errors import ModelFolderError
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.messages import Log, Message
from multimodal.contract.spec import default_spec
from multimodal.contract.weights import file_sha256
from multimodal.inference import to_probabilities
from multimodal.pipeline import classify
from multimodal.rows import NOT_FINITE

BAD = [float("nan"), float("inf"), float("-inf")]


def with_weights(model: str, folder: Path, change: Callable[[dict], None]) -> str:
    """Copy a model folder with other weights, and a checksum that vouches for them."""
    shutil.copytree(model, folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["spec"]["weights_sha256"] = file_sha256(path)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def with_pixels(source: str, target: Path, change: Callable[[np.ndarray], None]) -> RasterSource:
    with rasterio.open(source) as dataset:
        profile, values, names = dataset.profile, dataset.read(), dataset.descriptions
    values = values.astype("float32")
    change(values)
    profile.update(dtype="float32")
    with rasterio.open(target, "w", **profile) as dataset:
        dataset.write(values)
        dataset.descriptions = names
    return RasterSource(str(target))


def statuses(path: str) -> dict[int, str]:
    with sqlite3.connect(path) as connection:
        return dict(connection.execute("SELECT tile_id, status FROM tiles"))


def last_bias(tensors: dict) -> str:
    return next(name for name in reversed(list(tensors)) if name.startswith("classifier"))


@pytest.mark.parametrize("value", BAD)
def test_weights_that_are_not_finite_are_refused_once(
    job: ClassifyJob, tmp_path: Path, value: float
) -> None:
    def spoil(tensors: dict) -> None:
        tensors[last_bias(tensors)].view(-1)[0] = value

    model = with_weights(job.model, tmp_path / "model", spoil)
    with pytest.raises(ModelFolderError, match=r"not finite, in classifier.*training diverged"):
        classify(replace(job, model=model))
    with pytest.raises(ModelFolderError, match="not finite"):
        check_folder(model)
    assert not Path(job.output).exists()


def test_weights_that_overflow_give_no_class_and_it_is_told(
    job: ClassifyJob, tmp_path: Path
) -> None:
    def spoil(tensors: dict) -> None:
        name = next(n for n in tensors if n.startswith("classifier") and n.endswith("weight"))
        tensors[name][:] = 3e38

    messages: list[Message] = []
    model = with_weights(job.model, tmp_path / "model", spoil)
    summary = classify(replace(job, model=model), messages.append)
    assert (summary.state, summary.classified, summary.skipped) == ("complete", 0, 8)
    assert summary.skipped_reasons["not finite"] == 7
    assert list(statuses(job.output).values()).count(NOT_FINITE) == 7
    told = [m.text for m in messages if isinstance(m, Log) and m.level == "warning"]
    assert told[-1].startswith("7 of the tiles got numbers that are not finite")
    assert summary.warnings[-1] == told[-1]
    assert "  skipped 7: not finite" in list(summary_lines(summary.to_dict()))
    with sqlite3.connect(job.output) as connection:
        assert told[-1] in json.loads(
            connection.execute("SELECT warnings FROM mm_run").fetchone()[0]
        )
        assert connection.execute("SELECT count(class) FROM tiles").fetchone() == (0,)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("value", BAD)
def test_a_sure_class_is_not_made_of_infinity(task: str, value: float) -> None:
    logits = torch.tensor([[0.0, value, 1.0], [0.0, 1.0, 2.0]])
    found = to_probabilities(logits, default_spec(["a", "b", "c"], task=task))
    assert torch.isnan(found[0]).all()
    assert torch.isfinite(found[1]).all()


@pytest.mark.parametrize("sensor", ["s2", "s1"])
def test_pixels_that_are_no_numbers_are_no_measurement(
    job: ClassifyJob, tiny_model: str, tmp_path: Path, sensor: str
) -> None:
    """A tile of nothing else is skipped; one with a few such pixels is that without them."""
    kinds = [*BAD, 1e38, -1e38]

    def spoil(values: np.ndarray, bad: list[float]) -> None:
        for tile, value in enumerate(bad, 1):
            row, col = 120 * (tile // 2), 120 * (tile % 2)
            values[:, row : row + 120, col : col + 120] = value
            values[:, 370 + tile, 10:15] = value  # in tile 6

    results = []
    for name, bad in (("bad", kinds), ("blank", [np.nan] * len(kinds))):
        source = getattr(job, sensor)[0].path
        changed = with_pixels(source, tmp_path / f"{name}.tif", partial(spoil, bad=bad))
        output = str(tmp_path / f"{name}.gpkg")
        order = replace(job, model=tiny_model, output=output, **{sensor: (changed,)})
        assert classify(order).classified == 2
        with sqlite3.connect(output) as connection:
            results.append(connection.execute("SELECT * FROM tiles ORDER BY tile_id").fetchall())
    assert all("too few valid" in statuses(output)[tile] for tile in range(1, 6))
    assert statuses(output)[6] == "ok"
    assert results[0] == results[1]
