"""Weights exchanged between two runs: another model, with a digest in the folder or not."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multimodal.contract.errors import ModelFolderError, OutputError
from multimodal.contract.job import ClassifyJob
from multimodal.contract.model_folder import config_digest
from multimodal.model_cache import ModelCache
from multimodal.pipeline import classify

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_model: str, tmp_path: Path) -> Path:
    """A model folder as others make it: nothing vouches for its weights."""
    copied = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = json.loads((copied / "config.json").read_text())
    del config["spec"]["weights_sha256"]
    (copied / "config.json").write_text(json.dumps(config))
    return copied


def exchange(folder: Path) -> None:
    """Put other weights of the same size in place."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    number = struct.pack("<f", 0.123)
    assert not data.endswith(number)
    path.write_bytes(data[:-4] + number)


def test_a_run_does_not_go_on_with_other_weights(job: ClassifyJob, folder: Path) -> None:
    models, order = ModelCache(), replace(job, model=str(folder))
    classify(order, models=models)
    classify(order, models=models)
    exchange(folder)
    with pytest.raises(OutputError, match=r"holds another run .different: model"):
        classify(order, models=models)


def test_a_warm_worker_notices_other_weights(folder: Path) -> None:
    models = ModelCache()
    before = models.get(str(folder), CPU)
    assert models.get(str(folder), CPU) is before
    exchange(folder)
    after = models.get(str(folder), CPU)
    old, new = before.state_dict(), after.state_dict()
    assert any(not torch.equal(old[key], new[key]) for key in old)


def test_a_warm_worker_notices_that_a_digest_no_longer_fits(
    tiny_model: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    digest = config_digest(folder)
    models = ModelCache()
    models.get(str(folder), CPU)
    exchange(folder)
    assert config_digest(folder) == digest, "the description decides, wherever a copy lies"
    with pytest.raises(ModelFolderError, match="its SHA-256 differs"):
        models.get(str(folder), CPU)
