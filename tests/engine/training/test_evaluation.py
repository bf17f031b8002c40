"""Maps against a reference, accuracy by area, and embeddings as GeoParquet."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pyogrio
import pytest
import rasterio
import shapely

from multimodal.cli import main
from multimodal.contract.errors import JobError, OutputError, SourceError
from multimodal.contract.result import COMPLETE, TileResult
from multimodal.contract.spec import ModelSpec, default_spec
from multimodal.contract.train_order import LabelOptions, ScenePair
from multimodal.predictions import Journal
from multimodal.scene import TileGrid
from multimodal.training.area_accuracy import area_accuracy
from multimodal.training.evaluation import EvaluateOrder, evaluate
from multimodal.training.vectors import read_vectors

from .conftest import LEFT, TOP, WriteLayer, looks, point, square, utm_grid

NAMES = ("water", "field", "wood")


def test_the_published_example_comes_out() -> None:
    """Olofsson et al. 2014, section 5: error matrix of table 8, areas in Landsat pixels."""
    table = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    mapped = np.array([200_000, 150_000, 3_200_000, 6_450_000])
    told = area_accuracy(table, mapped, ["loss", "gain", "forest", "other"])
    assert told["overall"]["value"] == pytest.approx(0.947, abs=5e-4)
    assert told["overall"]["half_width"] == pytest.approx(0.018, abs=1e-3)
    user, producer = ([row[key] for row in told["classes"]] for key in ("user", "producer"))
    assert [row["value"] for row in user] == pytest.approx([0.88, 0.73, 0.93, 0.96], abs=6e-3)
    widths = [row["half_width"] for row in user]
    assert widths == pytest.approx([0.07, 0.10, 0.04, 0.02], abs=6e-3)
    assert [row["value"] for row in producer] == pytest.approx([0.75, 0.85, 0.93, 0.96], abs=6e-3)
    # 21,158 ha of loss, give or take 6,158 ha; a pixel has 0.09 ha.
    area = told["classes"][0]["area_share"]
    assert area["value"] * mapped.sum() * 0.09 == pytest.approx(21_158, abs=5)
    assert area["half_width"] * mapped.sum() * 0.09 == pytest.approx(6_158, abs=10)


def test_producer_s_accuracy_has_the_variance_of_its_derivatives() -> None:
    """The delta method by numerical derivatives: no formula of the paper in it."""
    table = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    weights = np.array([0.02, 0.015, 0.32, 0.645])
    told = area_accuracy(table, weights, list("abcd"))
    sampled = table.sum(axis=1)
    rates = table / sampled[:, None]

    def producer(changed: np.ndarray) -> np.ndarray:
        return np.diag(weights[:, None] * changed) / (weights[:, None] * changed).sum(axis=0)

    for n, row in enumerate(told["classes"]):
        variance = 0.0
        for stratum in range(4):
            step = np.zeros((4, 4))
            step[stratum, n] = 1e-6
            slope = (producer(rates + step)[n] - producer(rates - step)[n]) / 2e-6
            rate = rates[stratum, n]
            variance += slope**2 * rate * (1 - rate) / (sampled[stratum] - 1)
        assert row["producer"]["half_width"] == pytest.approx(1.959964 * variance**0.5, rel=1e-5)


def test_what_was_not_sampled_is_told() -> None:
    table = np.array([[9, 1, 0], [0, 1, 0], [0, 0, 0]])
    told = area_accuracy(table, np.array([50, 25, 25]), NAMES)
    assert "left out: wood (25.0% of the map)" in told["note"]
    assert told["overall"] == {"value": pytest.approx((2 * 0.9 + 1) / 3), "half_width": None}
    assert told["classes"][2]["user"]["value"] is None
    assert told["classes"][0]["user"]["half_width"] == pytest.approx(1.96 * 0.1, abs=1e-3)


def spec_of(task: str = "multiclass") -> ModelSpec:
    return replace(default_spec(NAMES, task=task), provenance={"made by": "the tests"})


def write_map(path: Path, answers: np.ndarray, task: str = "multiclass", stride: int = 120) -> str:
    """A result with a tile for each row of probabilities (rows, columns, classes)."""
    rows, cols, _ = answers.shape
    base = utm_grid((cols - 1) * stride + 120, (rows - 1) * stride + 120)
    grid = TileGrid(base.geometry, 120, stride)
    spec = spec_of(task)
    run = {"device": "cpu", "precision": "fp32", "versions": {}, "parameters": {}, "scene": {}}
    journal = Journal.open(str(path), spec, {"run": 1}, grid.crs_wkt, run)
    journal.append([
        TileResult(tile.tile_id, row, col, grid.corners(tile), "ok",
                   tuple(map(float, answers[row, col])), 1.0, 1.0)
        for row in range(rows) for col in range(cols) for tile in [grid.tile(row, col)]
    ])  # fmt: skip
    journal.close(COMPLETE, [])
    return str(path)


def truth() -> np.ndarray:
    return np.array([[NAMES.index(looks(row, col)) for col in range(10)] for row in range(10)])


@pytest.fixture
def single_map(tmp_path: Path) -> str:
    """Right but for the first row, which is all water."""
    chosen = truth()
    chosen[0] = 0
    return write_map(tmp_path / "map.gpkg", np.eye(3)[chosen] * 0.8 + 0.1 / 1.5)


def order(path: str, reference: LabelOptions, out: Path, **options: Any) -> EvaluateOrder:
    return EvaluateOrder(path, reference, str(out), **options)


def test_polygons_points_and_rasters_tell_the_same(
    single_map: str, write_layer: WriteLayer, tmp_path: Path
) -> None:
    places = [(row, col) for row in range(10) for col in range(10)]
    polygons = [(square(120 * col, 120 * row), {"class": looks(row, col)}) for row, col in places]
    points = [(point(120 * c + 50, 120 * r + 70), {"class": looks(r, c)}) for r, c in places]
    raster = tmp_path / "reference.tif"
    with rasterio.open(
        raster, "w", driver="GTiff", count=1, height=1200, width=1200, dtype="uint8",
        crs="EPSG:32633", transform=rasterio.Affine(10, 0, LEFT, 0, -10, TOP),
    ) as dataset:  # fmt: skip
        dataset.write(np.kron(truth() + 1, np.ones((120, 120))).astype("u1"), 1)
    table = tmp_path / "table.csv"
    table.write_text("value,class\n1,Water\n2,Field\n3,Wood\n")
    references = [
        LabelOptions((write_layer(polygons, "polygons.geojson"),), ("class",)),
        LabelOptions((write_layer(points, "points.geojson"),), ("class",)),
        LabelOptions((str(raster),), table=str(table)),
    ]
    for number, reference in enumerate(references):
        report = evaluate(order(single_map, reference, tmp_path / f"report{number}"))
        figures = report["validation"]
        assert figures["tested"] == 100
        assert figures["accuracy"] == 0.94
        assert figures["confusion"][0] == [34, 0, 0]
        assert figures["map"]["overall"]["value"] == pytest.approx(0.94)
        assert report["warnings"] == []
    folder = tmp_path / "report2"
    assert {path.name for path in folder.iterdir()} == {
        "report.html", "report.json", "tested_tiles.gpkg",
    }  # fmt: skip
    # Tables without shapes, such as styles, are no layers to choose from.
    assert len(read_vectors(single_map).shapes) == 100
    page = (folder / "report.html").read_text()
    assert "weighted by area" in page
    assert page.count("<svg") == 4
    meta, _, shapes, columns = pyogrio.raw.read(folder / "tested_tiles.gpkg")
    wrong = dict(zip(meta["fields"], columns, strict=True))["wrong"]
    assert (wrong > 0).sum() == 6
    assert len(shapes) == 100


def test_a_sample_is_weighted_by_the_area_of_the_map(
    single_map: str, write_layer: WriteLayer, tmp_path: Path
) -> None:
    # All of the first row, and half of the others.
    features = [(square(120 * c, 120 * r), {"class": looks(r, c)})
                for r in range(10) for c in range(10) if r == 0 or c < 5]  # fmt: skip
    reference = LabelOptions((write_layer(features),), ("class",))
    report = evaluate(order(single_map, reference, tmp_path / "report"))
    figures = report["validation"]
    plain, by_area = figures["accuracy"], figures["map"]["overall"]
    assert plain == pytest.approx(1 - 6 / 55)
    assert by_area["value"] > 1 - 6 / 24 * 0.41
    assert by_area["half_width"] > 0


def test_points_that_disagree_and_classes_of_the_reference_alone(
    single_map: str, write_layer: WriteLayer, tmp_path: Path
) -> None:
    places = (50, 170, "wood"), (70, 190, "water"), (170, 170, "road"), (300, 170, "water")
    features = [(point(col, row), {"class": name}) for col, row, name in places]
    reference = LabelOptions((write_layer(features),), ("class",))
    report = evaluate(order(single_map, reference, tmp_path / "report"))
    assert report["validation"]["tested"] == 2
    assert "so it is wrong there: road" in report["warnings"][0]
    assert len(report["validation"]["confusion"]) == 4


def test_several_classes_count_where_they_are_known(
    write_layer: WriteLayer, tmp_path: Path
) -> None:
    answers = np.zeros((2, 2, 3)) + 0.1
    answers[0, 0] = [0.9, 0.8, 0.1]
    answers[1, 1] = [0.9, 0.1, 0.7]
    path = write_map(tmp_path / "map.gpkg", answers, "multilabel")
    features = [(square(0, 0), {"class": "water; field"}), (square(120, 120), {"class": "field"})]
    layer = write_layer(features)
    loose = evaluate(order(path, LabelOptions((layer,), ("class",)), tmp_path / "a"))
    assert [row["known"] for row in loose["validation"]["classes"]] == [1, 2, 0]
    full = LabelOptions((layer,), ("class",), full_lists=True)
    strict = evaluate(order(path, full, tmp_path / "b"))
    assert [row["known"] for row in strict["validation"]["classes"]] == [2, 2, 2]
    assert strict["validation"]["micro"]["precision"] == pytest.approx(2 / 4)
    assert "map" not in strict["validation"]


def test_overlapping_tiles_are_found_by_their_place(
    write_layer: WriteLayer, tmp_path: Path
) -> None:
    path = write_map(tmp_path / "map.gpkg", np.eye(3)[np.zeros((3, 3), dtype=int)], stride=60)
    features = [(square(60, 60), {"class": "water"}), (square(900, 900), {"class": "field"})]
    reference = LabelOptions((write_layer(features),), ("class",))
    report = evaluate(order(path, reference, tmp_path / "report"))
    assert (report["tested_tiles"][0]["row"], report["tested_tiles"][0]["col"]) == (0, 60)
    assert report["validation"]["tested"] == 5  # of nine, those that are half covered


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ([(square(9000, 0), {"class": "water"})], "tells of no classified tile"),
        ([(square(0, 0), {"class": "Rome"})], "no class in common"),
        ([(square(0, 0), {"class": "water; wood"})], "several classes a tile"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_nothing_written(
    single_map: str, write_layer: WriteLayer, tmp_path: Path, features: Any, words: str
) -> None:
    reference = LabelOptions((write_layer(features),), ("class",))
    with pytest.raises(JobError, match=words):
        evaluate(order(single_map, reference, tmp_path / "report"))
    assert not (tmp_path / "report").exists()


def test_what_is_no_result_is_refused(write_layer: WriteLayer, tmp_path: Path) -> None:
    layer = write_layer([(square(0, 0), {"class": "water"})])
    reference = LabelOptions((layer,), ("class",))
    for path, error in ((layer, JobError), (str(tmp_path / "none.gpkg"), SourceError)):
        with pytest.raises(error):
            evaluate(order(path, reference, tmp_path / "report"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="is no report"):
        evaluate(order(layer, reference, tmp_path / "full", overwrite=True))


def test_the_command_line_evaluates(
    single_map: str, write_layer: WriteLayer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = write_layer([(square(120 * c, 240), {"class": looks(2, c)}) for c in range(10)])
    command = ["evaluate", "--predictions", single_map, "--reference", layer, "--field", "class",
               "--out", str(tmp_path / "report")]  # fmt: skip
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["validation"]["accuracy"] == 1.0
    assert main(command) == 2
    assert "is a report already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert "Overall accuracy by area 1.000" in capsys.readouterr().out


def test_embeddings_come_as_geoparquet(
    pair: ScenePair, base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "embeddings.parquet"
    command = ["embed", "--s2", pair.s2[0].path, "--s1", pair.s1[0].path, "--model", base,
               "--output", str(out), "--cache", str(tmp_path / "cache"), "--device", "cpu",
               "--extent", str(LEFT), str(TOP - 3600), str(LEFT + 2400), str(TOP),
               "--json", "--quiet"]  # fmt: skip
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["written"], told["computed"]) == (6, 6)
    table = pyarrow.parquet.read_table(out)
    assert table.column("tile_id").to_pylist() == [0, 1, 10, 11, 20, 21]
    fused = np.array(table.column("fused").to_pylist())
    assert fused.shape == (6, told["widths"]["fused"])
    geo = json.loads(table.schema.metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32633}
    assert column["bbox"] == [LEFT, TOP - 3600, LEFT + 2400, TOP]
    first = shapely.from_wkb(table.column("geometry")[0].as_py())
    assert first.equals(shapely.box(LEFT, TOP - 1200, LEFT + 1200, TOP))
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().out
    assert main([*command, "--overwrite"]) == 0
    assert json.loads(capsys.readouterr().out)["computed"] == 0


def test_without_pyarrow_the_error_says_what_to_install(base: str, tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["pyarrow"] = None
from multimodal.cli import main
main(["embed", "--s2", "none.tif", "--s1", "none.tif", "--model", {base!r},
      "--output", {str(tmp_path / "out.parquet")!r}])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert "pip install pyarrow" in done.stderr
    assert "Traceback" not in done.stderr
