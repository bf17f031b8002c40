"""Few-shot training from files to a model folder that classifies."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio

from multimodal import MultiModalModel
from multimodal.cli import main
from multimodal.contract.errors import (
    CancelledError,
    JobError,
    MultimodalError,
    NoOverlapError,
    OutputError,
)
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.model_folder import read_spec
from multimodal.contract.train_order import LabelOptions, ScenePair, TrainOrder
from multimodal.pipeline import classify
from multimodal.training.probe import preview_labels, train
from multimodal.training.report_html import report_html

from .conftest import LEFT, SIZE, TOP, WriteLayer, looks, point, square, squares


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def points(*places: tuple[float, float, str]) -> list[tuple[Any, dict[str, Any]]]:
    return [(point(col, row), {"class": name}) for col, row, name in places]


Order = Callable[..., TrainOrder]


@pytest.fixture
def order(pair: ScenePair, base: str, write_layer: WriteLayer, tmp_path: Path) -> Order:
    def make(
        features: Any = None, labels: LabelOptions | None = None, **options: Any
    ) -> TrainOrder:
        if labels is None:
            labels = LabelOptions((write_layer(features or squares()),), ("class",))
        values = {"output": str(tmp_path / "new"), "device": "cpu", "block_m": 2400.0, **options}
        return TrainOrder((pair,), labels, base, **values)

    return make


class _Page(HTMLParser):
    """Collects tags, and whatever a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for key, value in attrs if key in ("src", "href", "srcset")]


def test_a_trained_folder_classifies_and_its_report_is_whole(
    order: Order, pair: ScenePair, cache: Path, tmp_path: Path
) -> None:
    report = train(order(license="CC-BY-4.0"), cache=cache)
    folder = tmp_path / "new"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "report.json", "report.html", "tested_tiles.gpkg",
    }  # fmt: skip
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".training")]
    figures = report["validation"]
    assert figures["accuracy"] > 0.95
    assert figures["folds"] == 5
    assert figures["tested"] == 100
    assert report["head"]["folding_error"] < 1e-5
    spec = read_spec(folder)
    assert spec.task == "multiclass"
    assert spec.class_names == ("field", "water", "wood")
    assert spec.license == "CC-BY-4.0"
    assert spec.calibrated
    assert spec.metrics["accuracy"] == figures["accuracy"]
    assert spec.provenance["base"]["license"] == "CC0-1.0"
    job = ClassifyJob(pair.s2, pair.s1, str(folder), str(tmp_path / "map.gpkg"), device="cpu")
    assert classify(job).classified == 100
    meta, _, _, columns = pyogrio.raw.read(tmp_path / "map.gpkg", layer="tiles")
    found = dict(zip(meta["fields"], columns, strict=True))
    right = [looks(r, c) == k for r, c, k in
             zip(found["row"], found["col"], found["class"], strict=True)]  # fmt: skip
    assert np.mean(right) > 0.97
    stored = json.loads((folder / "report.json").read_text())
    assert stored["kind"] == "training"
    assert len(stored["tested_tiles"]) == 100
    meta, _, shapes, _ = pyogrio.raw.read(folder / "tested_tiles.gpkg")
    assert len(shapes) == 100
    assert {"truth", "decided", "wrong", "p_wood"} <= set(meta["fields"])
    page = _Page()
    page.feed((folder / "report.html").read_text())
    assert page.tags.count("svg") == 5
    assert page.loaded == []
    assert "script" not in page.tags
    assert not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)", (folder / "report.html").read_text()
    )
    assert str(tmp_path) not in (folder / "config.json").read_text()


def test_other_labels_and_an_mlp_compute_no_tile_again(
    order: Order, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train(order(output=str(tmp_path / "first")), cache=cache)

    def refuse(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("multimodal.training.embeddings.Embedder.embed", refuse)
    features = [(shape, {"class": "wet" if values["class"] == "water" else "dry"})
                for shape, values in squares()]  # fmt: skip
    report = train(order(features, head="mlp"), cache=cache)
    assert report["validation"]["accuracy"] > 0.9
    assert report["head"]["folding_error"] < 1e-5
    model = MultiModalModel.from_pretrained(tmp_path / "new")
    assert model.config.classifier.type == "mlp"
    assert model.spec.class_names == ("dry", "wet")


def test_several_classes_a_tile_with_gaps(
    order: Order, write_layer: WriteLayer, cache: Path
) -> None:
    features = [(shape, {"class": f"{values['class']}; land" if values["class"] != "water"
                         else "water;"}) for shape, values in squares()]  # fmt: skip
    area = write_layer([(square(0, 0, 840), {})], "area.geojson")
    labels = LabelOptions((write_layer(features),), ("class",), complete=area)
    report = train(order(labels=labels), cache=cache)
    assert report["task"] == "multilabel"
    rows = {row["class"]: row for row in report["sampling"]["classes"]}
    assert rows["water"]["unknown"] > 20
    assert report["validation"]["macro"]["ap"] > 0.9
    assert all(row["threshold"] != 0.5 for row in report["classes"])
    labels = replace(labels, complete=None)
    open_lists = train(order(labels=labels, output=report["output"], overwrite=True), cache=cache)
    assert any("No tile is known to lack 'wood'" in text for text in open_lists["warnings"])


def test_few_tiles_and_few_blocks_are_told(order: Order, cache: Path, tmp_path: Path) -> None:
    few = [(shape, values) for shape, values in squares()][:12]
    report = train(order(few, block_m=1_000_000.0), cache=cache)
    assert report["validation"]["tested"] == 0
    assert any("one block" in text for text in report["warnings"])
    assert all(row["threshold"] == 0.5 and not row["calibrated"] for row in report["classes"])
    assert not read_spec(tmp_path / "new").calibrated
    assert "no figures" in (tmp_path / "new" / "report.html").read_text()


def test_a_class_raster_is_learned(order: Order, tmp_path: Path, cache: Path) -> None:
    values = np.kron(np.arange(100).reshape(10, 10) % 3, np.ones((120, 120))).astype("u1")
    path = tmp_path / "classes.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=SIZE, width=SIZE, dtype="uint8",
        crs="EPSG:32633", transform=rasterio.Affine(10, 0, LEFT, 0, -10, TOP),
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    report = train(order(labels=LabelOptions((str(path),))), cache=cache)
    assert report["tiles"] == 100
    assert report["validation"]["accuracy"] > 0.95


@pytest.mark.parametrize(
    ("features", "error", "words"),
    [
        (points((-99, 0, "a"), (-9, 0, "b")), NoOverlapError, "outside"),
        (points((99, 99, "a"), (9, 99, "a")), JobError, "only of the"),
        (points((99, 99, "a"), (9, 99, "A")), JobError, "also written"),
        ([(None, {"class": "a"})], JobError, "without a shape"),
        ([(point(99, 99), {"kind": "a"})], JobError, "no field 'class'"),
    ],
)  # fmt: skip
def test_bad_labels_write_nothing(
    order: Order, features: Any, error: type[MultimodalError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        train(order(features), cache=tmp_path / "cache")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.geojson"]


def test_places_that_must_not_be_written_are_refused_first(
    order: Order, base: str, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="is no model folder"):
        train(order(overwrite=True))
    with pytest.raises(OutputError, match="is the base"):
        train(order(output=base, overwrite=True))
    with pytest.raises(OutputError, match="make it first"):
        train(order(output=str(tmp_path / "a" / "b")))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["thesis.txt"]


def test_a_cancel_writes_nothing_and_keeps_the_cache(order: Order, tmp_path: Path) -> None:
    kept, looks_left = tmp_path / "cache", [60]

    def is_cancelled() -> bool:
        looks_left[0] -= 1
        return looks_left[0] < 0

    with pytest.raises(CancelledError):
        train(order(), is_cancelled=is_cancelled, cache=kept)
    assert not (tmp_path / "new").exists()
    done: list[bool] = []
    with pytest.raises(CancelledError):
        train(order(), lambda m: done.append("Validating" in getattr(m, "text", "")),
              lambda: any(done), kept)  # fmt: skip
    assert list(kept.iterdir())
    assert not (tmp_path / "new").exists()


def test_the_sampling_comes_without_training(order: Order, tmp_path: Path) -> None:
    told = preview_labels(order())
    assert [row["present"] for row in told["classes"]] == [33, 34, 33]
    assert not (tmp_path / "new").exists()


def test_the_command_line_trains(
    pair: ScenePair, base: str, write_layer: WriteLayer, cache: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "by shell"
    command = ["train", "--s2", pair.s2[0].path, "--s1", pair.s1[0].path, "--labels",
               write_layer(squares()), "--field", "class", "--model", base, "--out", str(out),
               "--block", "2400", "--device", "cpu", "--cache", str(cache), "--json"]  # fmt: skip
    assert main([*command, "--sampling-only"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["sampling"]["tiles"] == 100
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["validation"]["accuracy"] > 0.95
    assert main(command) == 2
    assert "--overwrite" in json.loads(capsys.readouterr().out.splitlines()[-1])["error"]["message"]
    assert main([*command[:-1], "--overwrite"]) == 0
    assert "see report.html" in capsys.readouterr().out


def test_real_scenes_and_lists_train_by_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = Path(__file__).resolve().parents[3] / "sample_data"
    found = sorted((samples / "scenes").glob("*_labels.geojson"))
    names = [path.name.removesuffix("_labels.geojson") for path in found]
    rasters = [[str(samples / "scenes" / f"{name}_{end}.tif")
                for end in ("S2_12band_10m", "S1_VV_VH_dB")] for name in names]  # fmt: skip
    further = [text for pair in rasters[1:] for text in ("--scene", *pair)]
    out = tmp_path / "model"
    command = ["train", "--s2", rasters[0][0], "--s1", rasters[0][1], *further, "--labels",
               *map(str, found), "--field", "labels19", "--full-lists", "--model",
               str(samples / "model"), "--out", str(out), "--block", "1200", "--device", "cpu",
               "--cache", str(tmp_path / "cache"), "--quiet", "--json"]  # fmt: skip
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["tiles"] == 19
    assert told["sampling"]["scenes"] == [6, 6, 7]
    assert told["validation"]["folds"] == 5
    assert told["validation"]["tested"] == 19
    spec = read_spec(out)
    assert spec.task == "multilabel"
    # Its own colour, and the base's licence.
    assert {c.name: c.color for c in spec.classes}["Urban fabric"] == "#e6004d"
    assert spec.license == read_spec(samples / "model").license
    few = {row["class"] for row in told["sampling"]["classes"]
           if row["present"] < 10 or row["absent"] < 10}  # fmt: skip
    assert few == {row["name"] for row in told["classes"] if not row["calibrated"]}
    job = ClassifyJob((RasterSource(rasters[2][0]),), (RasterSource(rasters[2][1]),), str(out),
                      str(tmp_path / "map.gpkg"), device="cpu")  # fmt: skip
    assert classify(job).classified == 7


def test_names_of_strangers_stay_text_in_the_report(order: Order, cache: Path) -> None:
    features = [(shape, {"class": f"<script>alert(1)</script> & {values['class']}"})
                for shape, values in squares()]  # fmt: skip
    page = _Page()
    page.feed(report_html(train(order(features), cache=cache)))
    assert "script" not in page.tags


def test_classify_loads_nothing_of_training() -> None:
    program = """
import sys
import multimodal.cli, multimodal.pipeline
heavy = {"sklearn", "pyogrio", "pyarrow", "pytorch_lightning"}
print(sorted(heavy & set(sys.modules)), [n for n in sys.modules if "multimodal.training" in n])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=120, check=True)  # fmt: skip
    assert done.stdout.strip() == "[] []"
