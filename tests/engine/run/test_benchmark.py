"""The benchmark measures real runs, and says what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from multimodal import cli
from multimodal.benchmark import run_benchmark
from multimodal.benchmark.fabrication import fabricate_scene
from multimodal.contract.benchmark import BenchmarkOrder
from multimodal.contract.channels import S1_BANDS, S2_BANDS, STATISTICS
from multimodal.contract.errors import CancelledError
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import default_spec
from multimodal.scene import open_scene

NUMBERS = (
    "tiles_per_s", "forward_tiles_per_s", "ratio", "fp32_forward_tiles_per_s", "matmul_tflops",
    "achieved_tflops", "rss_mb_peak", "rss_mb_model", "cold_start_s", "warm_start_s",
)  # fmt: skip


def test_a_fabricated_scene_has_the_statistics_of_real_ones(tmp_path: Path) -> None:
    s2, s1 = fabricate_scene(tmp_path, 30)
    for path, names in ((s2, S2_BANDS), (s1, S1_BANDS)):
        with rasterio.open(path) as dataset:
            assert dataset.descriptions == names
            assert (dataset.width, dataset.height) == (6 * 120, 5 * 120)
            values = dataset.read().astype(np.float64)
        for name, band in zip(names, values, strict=True):
            mean, spread = STATISTICS[name]
            assert band.mean() == pytest.approx(mean, rel=0.15)
            assert band.std() == pytest.approx(spread, rel=0.3)
        # Neighbours are alike, as on the ground, and not equal, as in no measurement.
        steps = np.abs(np.diff(values, axis=2)).mean(axis=(1, 2))
        assert (steps < 0.5 * values.std(axis=(1, 2))).all()
        assert (steps > 0).all()
    # The sources say what they are: nothing has to be decided.
    with open_scene([RasterSource(str(s2))], [RasterSource(str(s1))], default_spec()) as scene:
        report = scene.describe()
    assert report["grid"]["tiles_valid"] == 30
    assert report["warnings"] == []


def test_all_that_is_measured(
    tiny_model: str, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    code = cli.main(["benchmark", "--tiles", "9", "--repeats", "2", "--model", tiny_model,
                     "--device", "cpu", "--trace", str(trace), "--quiet", "--json"])  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (found["tiles"], found["classified"], found["device"]) == (9, 9, "cpu")
    assert all(found[key] > 0 for key in NUMBERS)
    assert set(found["seconds"]) == {"read", "warp", "prepare", "forward", "write", "waiting"}
    assert found["seconds"]["forward"] > 0
    assert found["seconds"]["read"] > 0
    assert found["warm_start_s"] < found["cold_start_s"]
    assert found["rss_mb_model"] <= found["rss_mb_peak"]
    assert {"multimodal", "torch", "numpy", "gdal", "python"} <= set(found["versions"])
    names = {event["name"] for event in json.loads(trace.read_text())["traceEvents"]}
    assert {"read", "prepare", "forward", "write"} <= names


def test_a_scene_of_the_user_and_words(
    tiny_model: str, pair: tuple[str, str], capsys: pytest.CaptureFixture
) -> None:
    code = cli.main(["benchmark", "--scene", *pair, "--model", tiny_model, "--repeats", "1",
                     "--device", "cpu", "--precision", "exact"])  # fmt: skip
    said = capsys.readouterr()
    assert code == 0
    assert "Device:        cpu, fp32" in said.out
    assert "for 8 tiles, reading beside computing" in said.out
    assert "Warming up" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tiles", "0"], "tiles must lie between 1 and"),
        (["--repeats", "0"], "repeats must lie"),
        (["--scene", "a", "b", "c"], "no more"),
        (["--scene", "missing.tif", "missing.tif", "--repeats", "1"], "missing.tif"),
        (["--model", "missing"], "missing"),
        (["--device", "cuda:99"], "CUDA"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str], words: str, tiny_model: str, capsys: pytest.CaptureFixture
) -> None:
    model = [] if "--model" in arguments else ["--model", tiny_model]
    tiles = [] if "--tiles" in arguments else ["--tiles", "1"]
    assert cli.main(["benchmark", *model, *tiles, *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_cancel_ends_it(tiny_model: str, tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(CancelledError):
        run_benchmark(
            BenchmarkOrder(4, model=tiny_model, device="cpu"), told.append,
            lambda: any("Repeat" in text for text in told),
        )  # fmt: skip
    assert not any("Repeat 2" in text for text in told)
