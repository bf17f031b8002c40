"""Memory that ends, on the CPU and on a GPU, which a twin on the CPU stands for here."""

from __future__ import annotations

import errno
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multimodal import pipeline, shards
from multimodal.batching import BatchSize
from multimodal.checkpoint import from_pretrained
from multimodal.contract.errors import ConfigError, DeviceError
from multimodal.contract.job import ClassifyJob, fingerprint
from multimodal.contract.messages import Log, Message, Phase, Plan, Rows
from multimodal.devices import Device, known_device
from multimodal.inference import Predictor
from multimodal.model_cache import ModelCache
from multimodal.pipeline import classify
from multimodal.remembered import remember_batch, remembered_batch
from multimodal.shortage import is_out_of_memory

CPU = known_device(torch.device("cpu"))
# All that is asked of a device but its numbers is asked of kind and name.
TWIN = Device(torch.device("cpu"), "cuda", "cuda:0 (Twin)")
ROOM = Path(__file__).with_name("little_room.py")


def noise(count: int) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(0)
    s2, s1 = (numbers.normal(size=(count, c, 120, 120)).astype("float32") for c in (14, 2))
    return s2, s1


def real_shortage() -> None:
    """Ask the CPU's allocator for more than any machine has."""
    torch.empty(1 << 60)


def stated_shortage() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def shortage_of_a_library() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")


@pytest.mark.parametrize("run_short", [real_shortage, stated_shortage, shortage_of_a_library])
def test_out_of_memory_halves_the_batch(sample_model: str, run_short: Callable) -> None:
    model = from_pretrained(sample_model)
    told: list[str] = []

    def small_memory(module, inputs) -> None:
        if len(inputs[0]) > 2:
            run_short()

    model.register_forward_pre_hook(small_memory)
    predictor = Predictor(model, CPU, BatchSize(8), told.append)
    s2, s1 = noise(9)
    shrunk = predictor.probabilities(s2, s1)
    assert [text[-2:] for text in told] == ["4.", "2."]
    assert "cpu ran out of memory" in told[0]
    expected = Predictor(from_pretrained(sample_model), CPU, BatchSize(9))
    np.testing.assert_allclose(shrunk, expected.probabilities(s2, s1), atol=1e-6)


def test_not_even_one_tile_fits(sample_model: str) -> None:
    model = from_pretrained(sample_model)
    model.register_forward_pre_hook(lambda module, inputs: stated_shortage())
    predictor = Predictor(model, CPU, BatchSize(8))
    with pytest.raises(DeviceError, match=r"Not even one tile.*Finished tiles are kept"):
        predictor.probabilities(*noise(3))


def test_a_limit_of_the_system_halves_the_batch_too(sample_model: str) -> None:
    """The allocator itself says no: the process may not have more addresses (RLIMIT_AS)."""
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, str(ROOM), sample_model],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["told"], "the limit was never met"
    assert facts["limit"] < facts["asked"]
    assert facts["apart"] < 1e-6


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let runs go to a GPU that has memory for so many tiles; 0 at first."""
    room = [0]
    compute = Predictor._computed

    def computed(self: Predictor, s2: np.ndarray, s1: np.ndarray) -> np.ndarray:
        if self.device is TWIN and len(s2) > room[0]:
            stated_shortage()
        return compute(self, s2, s1)

    monkeypatch.setattr(Predictor, "_computed", computed)
    monkeypatch.setattr(pipeline, "choose_device", lambda wanted: TWIN)
    return room


def refusing_once(load: Callable) -> Callable:
    """Return a ModelCache.get that finds no memory for the weights at its first call."""
    asked: list[torch.device] = []

    def get(self: ModelCache, folder: str, device: torch.device, *more: object) -> object:
        asked.append(device)
        if len(asked) == 1:
            stated_shortage()
        return load(self, folder, device, *more)

    return get


def recorded_device(path: str) -> tuple[str, str]:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT device, warnings FROM mm_run").fetchone()


def test_a_gpu_without_room_for_one_tile_hands_over_to_the_cpu(
    job: ClassifyJob, twin: list[int]
) -> None:
    messages: list[Message] = []
    summary = classify(replace(job, batch_size=0), messages.append)
    assert (summary.state, summary.classified) == ("complete", 7)
    assert summary.device == "cuda:0 (Twin), then cpu"
    told = [m.text for m in messages if isinstance(m, Log) and m.level == "warning"]
    assert [text.split(";")[0] for text in told[:-1]] == ["cuda:0 (Twin) ran out of memory"]
    assert "going on with the CPU" in told[-1]
    assert summary.warnings[-len(told) :] == tuple(told)
    device, warnings = recorded_device(job.output)
    assert device == summary.device
    assert "going on with the CPU" in warnings


@pytest.mark.parametrize("at_the_weights", [True, False])
def test_what_was_found_after_a_handover_is_remembered_of_the_cpu(
    job: ClassifyJob, tiny_model: str, twin: list[int], at_the_weights: bool,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    """A GPU that rounds: what comes after it is another device in another precision."""
    monkeypatch.setattr(
        pipeline, "choose_precision", lambda wanted, device: "tf32" if device is TWIN else "fp32"
    )
    if at_the_weights:
        monkeypatch.setattr(ModelCache, "get", refusing_once(ModelCache.get))
    job = replace(job, model=tiny_model, stride=40, batch_size=0)
    summary = classify(job)
    assert summary.device == "cuda:0 (Twin), then cpu"
    model = str(fingerprint(job)["model"])
    assert remembered_batch(model, "cpu fp32"), "found on the CPU, in full precision"
    for other in ("cpu tf32", "cuda:0 (Twin) tf32", "cuda:0 (Twin) fp32"):
        assert remembered_batch(model, other) is None
    # The next run on the CPU, which is known by that key, begins with it.
    monkeypatch.setattr(pipeline, "choose_device", lambda wanted: CPU)
    again: list[Message] = []
    classify(replace(job, output=str(tmp_path / "again.gpkg")), again.append)
    (planned,) = [m.batch_size for m in again if isinstance(m, Plan)]
    assert planned == remembered_batch(model, "cpu fp32")


def test_a_gpu_with_little_room_goes_on_and_the_next_run_knows(
    job: ClassifyJob, tiny_model: str, twin: list[int], tmp_path: Path
) -> None:
    twin[0] = 5
    job = replace(job, model=tiny_model, stride=60, batch_size=0)
    messages: list[Message] = []
    summary = classify(job, messages.append)
    assert (summary.state, summary.device) == ("complete", "cuda:0 (Twin)")
    assert [m.text for m in messages if isinstance(m, Log)] == [
        "cuda:0 (Twin) ran out of memory; going on with batches of 4."
    ]
    again: list[Message] = []
    classify(replace(job, output=str(tmp_path / "again.gpkg")), again.append)
    assert next(m for m in again if isinstance(m, Plan)).batch_size == 4
    assert not any(isinstance(m, Log) for m in again)


def test_a_remembered_size_that_no_longer_fits_is_found_anew(
    job: ClassifyJob, tiny_model: str, twin: list[int], tmp_path: Path
) -> None:
    twin[0] = 5
    job = replace(job, model=tiny_model, stride=60, batch_size=0)
    remember_batch(str(fingerprint(job)["model"]), "cuda:0 (Twin) fp32", 12)
    for name, planned in (("a", 12), ("b", 21)):
        messages: list[Message] = []
        classify(replace(job, output=str(tmp_path / f"{name}.gpkg")), messages.append)
        assert next(m for m in messages if isinstance(m, Plan)).batch_size == planned


def test_weights_that_do_not_fit_onto_the_gpu_are_loaded_on_the_cpu(
    job: ClassifyJob, twin: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelCache, "get", refusing_once(ModelCache.get))
    messages: list[Message] = []
    summary = classify(job, messages.append)
    assert (summary.state, summary.device) == ("complete", "cuda:0 (Twin), then cpu")
    assert recorded_device(job.output)[0] == summary.device
    phases = [m.text for m in messages if isinstance(m, Phase) and m.name == "classify"]
    assert phases == ["Classifying 8 tiles on cpu"]


def test_a_gpu_that_breaks_is_a_coded_error_and_tiles_are_kept(
    job: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, calls = Predictor._computed, []

    def computed(self: Predictor, s2: np.ndarray, s1: np.ndarray) -> np.ndarray:
        calls.append(len(s2))
        if len(calls) == 3:
            raise RuntimeError(
                "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might "
                "be asynchronously reported at some other API call"
            )
        return compute(self, s2, s1)

    monkeypatch.setattr(Predictor, "_computed", computed)
    monkeypatch.setattr(pipeline, "choose_device", lambda wanted: TWIN)
    with pytest.raises(DeviceError, match=r"Twin.*illegal memory access.*kept") as caught:
        classify(job)
    assert caught.value.details == {"lost": True}
    with sqlite3.connect(job.output) as connection:
        assert connection.execute("SELECT state FROM mm_run").fetchone() == ("partial",)
        assert connection.execute("SELECT count(*) FROM tiles").fetchone() == (1 + sum(calls[:2]),)


def test_an_error_that_is_not_of_the_device_stays_what_it_is(sample_model: str) -> None:
    model = from_pretrained(sample_model)
    s2, s1 = noise(2)
    with pytest.raises(ConfigError, match="s1_data"):
        Predictor(model, TWIN, BatchSize(8)).probabilities(s2, s2)
    model.register_forward_pre_hook(lambda module, inputs: inputs[0].view(7))
    with pytest.raises(RuntimeError, match="shape"):
        Predictor(model, TWIN, BatchSize(8)).probabilities(s2, s1)


def test_a_model_that_was_moved_is_loaded_anew(sample_model: str) -> None:
    models = ModelCache()
    first = models.get(sample_model, torch.device("cpu"))
    first.to("meta")
    assert models.get(sample_model, torch.device("cpu")) is not first


@pytest.mark.parametrize(
    ("problem", "is_one"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate "
                      "memory: you tried to allocate 8 bytes."), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("The size of tensor a (3) must match"), False),
        (ValueError("out of memory"), False),
    ],
)  # fmt: skip
def test_what_counts_as_want_of_memory(problem: Exception, is_one: bool) -> None:
    assert is_out_of_memory(problem) is is_one


def test_the_computer_without_memory_is_a_coded_error(
    job: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_left(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pipeline, "to_rows", nothing_left)
    with pytest.raises(DeviceError, match=r"no memory left.*smaller batch"):
        classify(job)


@pytest.mark.parametrize("problem", [OSError(errno.ENOMEM, "no memory"), MemoryError()])
def test_weights_that_find_no_memory_are_not_called_damaged(
    sample_model: str, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def short(path: Path) -> None:
        raise problem

    monkeypatch.setattr(shards, "load_file", short)
    with pytest.raises(DeviceError, match="memory"):
        ModelCache().on_device(sample_model, CPU, lambda: False, print)


def test_a_gpu_that_does_not_answer_is_told(
    job: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(wanted: str) -> Device:
        raise RuntimeError("CUDA unknown error - this may be due to an incorrect environment")

    monkeypatch.setattr(pipeline, "choose_device", no_answer)
    with pytest.raises(DeviceError, match=r"CUDA unknown error.*choose the device cpu") as caught:
        classify(job)
    assert caught.value.details["lost"]


def test_a_result_names_the_devices_of_all_its_tiles(
    job: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU and the CPU are 1e-3 apart: who reads the file must know."""
    done: list[int] = []
    monkeypatch.setattr(pipeline, "choose_device", lambda wanted: TWIN)
    first = classify(job, lambda message: done.append(1) if isinstance(message, Rows) else None,
                     lambda: bool(done))  # fmt: skip
    assert first.state == "partial"
    assert first.device == TWIN.name
    monkeypatch.setattr(pipeline, "choose_device", lambda wanted: CPU)
    for _ in range(2):  # the second one finds a complete result
        last = classify(job)
        assert (last.state, last.device) == ("complete", f"{TWIN.name}, then cpu")
    assert recorded_device(job.output)[0] == f"{TWIN.name}, then cpu"
