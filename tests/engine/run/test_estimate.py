"""A run's time is told before the first run too, and by earlier runs where there are some."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import pytest

from multimodal import estimate, remembered
from multimodal.contract.model_folder import config_digest, read_config

REPORT = {"selected": 50, "expected_skipped": 10, "estimate": {"output_bytes": 1}}
SAMPLE = Path(__file__).parents[3] / "sample_data" / "model"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "_path", lambda: tmp_path / "speed.json")


def told(device: str = "cpu", model: Path = SAMPLE) -> Any:
    return estimate.with_seconds(REPORT, model, device)["estimate"]


def test_an_earlier_run_tells_the_time_of_what_is_likely_to_be_classified() -> None:
    remembered.remember_speed(config_digest(SAMPLE), "cpu", 100, 10.0)
    assert told() == {"output_bytes": 1, "seconds": 4.0, "basis": "earlier run"}


def test_before_the_first_run_the_network_and_the_processor_tell_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimate, "_cpu_flops", lambda: 1e9)
    first = told()
    assert first["basis"] == "reckoned"
    monkeypatch.setattr(estimate, "_cpu_flops", lambda: 2e9)
    assert told()["seconds"] == pytest.approx(first["seconds"] / 2, abs=0.1)
    monkeypatch.setattr(estimate, "_cpu_flops", lambda: 1e15)
    assert told()["seconds"] == pytest.approx(40 / 300, abs=0.1), "the rasters are read slower"


def test_this_processor_multiplies() -> None:
    assert 1e8 < estimate._cpu_flops() < 1e14


def test_an_unknown_network_has_no_time(tmp_path: Path) -> None:
    config = {**read_config(SAMPLE), "backbones": {"dinov3": {"config": {}}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert told(model=tmp_path) == {"output_bytes": 1, "seconds": None, "basis": None}


class Driver:
    """The CUDA driver's two calls, with the numbers of an H100."""

    def __init__(self, error: int = 0) -> None:
        self.error = error

    def cuInit(self, flags: int) -> int:
        return self.error

    def cuDeviceGetAttribute(self, number: Any, attribute: int, device: int) -> int:
        ctypes.cast(number, ctypes.POINTER(ctypes.c_int))[0] = {13: 1_980_000, 16: 132}[attribute]
        return 0


def test_a_gpu_is_asked_of_its_driver() -> None:
    flops = estimate._nvidia_flops(Driver())
    assert flops == pytest.approx(0.3 * 67e12, rel=0.01)  # 67 TFLOP/s of float32 by its data sheet
    assert estimate._nvidia_flops(Driver(error=100)) is None


def test_a_gpu_counts_unless_the_processor_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_gpu_flops", lambda: 1e15)
    monkeypatch.setattr(estimate, "_cpu_flops", lambda: 1e9)
    config = read_config(SAMPLE)
    assert estimate.reckoned_speed(config, "auto") == 300
    assert (estimate.reckoned_speed(config, "cpu") or 0) < 300
