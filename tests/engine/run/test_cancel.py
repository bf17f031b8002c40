"""A cancel inside a batch, and while the model is loaded: soon, and nothing is lost."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
import torch

from multimodal.batching import MOST, BatchSize
from multimodal.checkpoint import from_pretrained
from multimodal.client.worker_client import WorkerClient
from multimodal.contract import messages as m
from multimodal.contract.errors import CancelledError
from multimodal.contract.job import ClassifyJob
from multimodal.devices import known_device
from multimodal.inference import BatchStopped, Predictor
from multimodal.inspection import inspect
from multimodal.pipeline import classify
from multimodal.scene import sampling

CPU = known_device(torch.device("cpu"))
# The hundred convolutions of the sample model take 0.1 s each while a file is there.
SLOW_WORKER = """
import os, sys, time
import torch

compute = torch.nn.Conv2d.forward

def slowly(self, pixels):
    if os.path.exists(sys.argv[1]):
        open(sys.argv[2], "w").close()
        time.sleep(0.1)
    return compute(self, pixels)

torch.nn.Conv2d.forward = slowly
from multimodal.worker import main
sys.exit(main())
"""


def test_a_cancel_ends_a_slow_batch_and_the_same_worker_serves_on(
    job: ClassifyJob, tmp_path: Path
) -> None:
    program, brake, computing = (tmp_path / name for name in ("worker.py", "brake", "computing"))
    program.write_text(SLOW_WORKER)
    brake.touch()
    job = replace(job, batch_size=8)
    wanted_at: list[float] = []

    def is_cancelled() -> bool:
        if computing.exists():
            wanted_at.append(time.monotonic())
        return bool(wanted_at)

    with WorkerClient([sys.executable, "-I", str(program), str(brake), str(computing)]) as client:
        summary = client.run(job, is_cancelled=is_cancelled)
        assert time.monotonic() - wanted_at[0] < 1.0
        assert (summary.state, summary.classified) == ("partial", 0)
        worker = client._process
        brake.unlink()
        assert client.run(job).state == "complete"
        assert client._process is worker


def test_a_predictor_stops_inside_a_batch_and_leaves_the_model_as_it_was(
    sample_model: str,
) -> None:
    model = from_pretrained(sample_model)
    seen: list[int] = []

    def is_cancelled() -> bool:
        seen.append(1)
        return len(seen) == 10

    predictor = Predictor(model, CPU, BatchSize(2), is_cancelled=is_cancelled)
    tiles = torch.zeros(2, 14, 120, 120).numpy(), torch.zeros(2, 2, 120, 120).numpy()
    with pytest.raises(BatchStopped):
        predictor.probabilities(*tiles)
    assert len(predictor.probabilities(*tiles)) == 2
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_what_was_finished_before_the_batch_at_hand_stays(job: ClassifyJob) -> None:
    """A cancel just after the first batch's commit, seen inside the second one."""
    rows: list[m.Message] = []
    looks: list[int] = []

    def is_cancelled() -> bool:
        looks.extend(rows)
        return len(looks) > 20

    summary = classify(
        job, lambda said: rows.append(said) if isinstance(said, m.Rows) else None, is_cancelled
    )
    assert summary.state == "partial"
    assert 0 < summary.classified + summary.skipped < 8
    assert classify(job).state == "complete"


def test_a_cancel_while_the_model_is_loaded(job: ClassifyJob) -> None:
    loading: list[m.Message] = []

    def on_message(message: m.Message) -> None:
        if isinstance(message, m.Phase) and message.name == "model":
            loading.append(message)

    said = classify(job, on_message, lambda: bool(loading))
    assert (said.state, said.classified) == ("partial", 0)
    with pytest.raises(CancelledError):
        from_pretrained(job.model, is_cancelled=lambda: True)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every raster that is opened, and every window that is read of one."""
    noted: list[str] = []
    for owner, name in ((rasterio, "open"), (rasterio.io.DatasetReader, "read")):
        noting(owner, name, noted, monkeypatch)
    return noted


@pytest.mark.parametrize("act", [classify, inspect])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_cancel_while_the_scene_is_opened_opens_and_reads_no_more(
    job: ClassifyJob, reads: list[str], act: Callable[..., object], number: int
) -> None:
    with pytest.raises(CancelledError, match="while the rasters were looked at"):
        act(job, is_cancelled=lambda: len(reads) >= number)
    assert len(reads) == number
    assert not Path(job.output).exists()


def test_a_cancel_stops_the_threads_that_look_at_a_large_raster(
    large_job: ClassifyJob, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "WHOLE", 500)
    before = set(threading.enumerate())
    with pytest.raises(CancelledError):
        inspect(large_job, lambda: len(reads) >= 30)
    # What each thread was at when it came.
    assert 30 <= len(reads) <= 30 + sampling.READERS
    assert set(threading.enumerate()) <= before
    monkeypatch.undo()
    assert inspect(large_job)["selected"] == 144, "a cancel leaves nothing behind"


def noting(owner: object, name: str, noted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Note each call of a function that goes on to do what it does."""
    inner = getattr(owner, name)

    def noted_call(*arguments: object, **options: object) -> object:
        noted.append(name)
        return inner(*arguments, **options)

    monkeypatch.setattr(owner, name, noted_call)


def test_batches_on_a_cpu_are_small(job: ClassifyJob) -> None:
    assert MOST["cpu"] == 16
    plans: list[m.Message] = []

    def on_message(message: m.Message) -> None:
        if isinstance(message, m.Plan):
            plans.append(message)

    classify(replace(job, batch_size=0), on_message, lambda: bool(plans))
    assert [plan.batch_size for plan in plans] == [8]
