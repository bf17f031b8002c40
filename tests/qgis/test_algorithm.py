"""``multimodal:classify`` in a real Processing, with the real worker on the real scene."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsGeometry,
    QgsProcessing,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingParameterMultipleLayers,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsRuleBasedRenderer,
    QgsSettings,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from mm_qgis_plugin.core.contract.errors import OutputError
from mm_qgis_plugin.processing.destination import Place, check_written, sink_place

ALGORITHM = "multimodal:classify"
TILES = 8
# Upper right tile of the scene, in EPSG:32633.
ONE_TILE = QgsRectangle(345700, 5294500, 346700, 5295500)


class Said(QgsProcessingFeedback):
    """Keeps every line; cancels when ``cancel_at`` tells so."""

    def __init__(self, cancel_at: Callable[[str], bool] = lambda line: False) -> None:
        super().__init__(False)
        self.lines: list[str] = []
        self._cancel_at = cancel_at

    def _say(self, line: str) -> None:
        self.lines.append(line)
        if self._cancel_at(line):
            self.cancel()

    def pushInfo(self, info: str) -> None:
        self._say(info)

    def pushWarning(self, warning: str) -> None:
        self._say(f"WARNING {warning}")

    def setProgressText(self, text: str) -> None:
        self._say(text)


@pytest.fixture
def parameters(provider, s2_path: str, s1_path: str, model_folder: str) -> dict:
    return {"S2": [s2_path], "S1": [s1_path], "MODEL": model_folder, "DEVICE": "cpu"}


def run(parameters: dict, feedback: QgsProcessingFeedback | None = None, **changes) -> dict:
    import processing

    values = {"OUTPUT": "TEMPORARY_OUTPUT", **parameters, **changes}
    return processing.run(ALGORITHM, values, feedback=feedback)


def tile_ids(layer: QgsVectorLayer) -> list[int]:
    return sorted(feature["tile_id"] for feature in layer.getFeatures())


def test_memory_sink_equals_the_command_line(parameters: dict, assert_same_tiles) -> None:
    feedback = Said()
    result = run(parameters, feedback)
    layer = result["OUTPUT"]
    assert (result["CLASSIFIED"], result["SKIPPED"]) == (7, 1)
    assert_same_tiles(layer)
    assert layer.crs().authid() == "EPSG:32633"
    assert isinstance(layer.renderer(), QgsRuleBasedRenderer)
    assert any("8 tiles on cpu" in line for line in feedback.lines)
    assert any("tiles/s" in line for line in feedback.lines)
    first = next(iter(layer.getFeatures()))
    assert first.geometry().area() == pytest.approx(1200.0**2)
    assert not first.geometry().isNull()


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "shp"])
def test_file_sinks(parameters: dict, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tiles.{suffix}"
    result = run(parameters, OUTPUT=str(path))
    layer = QgsVectorLayer(result["OUTPUT"], "tiles", "ogr")
    assert layer.featureCount() == TILES
    assert {f["status"] == "ok" for f in layer.getFeatures()} == {True, False}


def test_geopackage_sink_equals_the_command_line_and_keeps_its_style(
    parameters: dict, tmp_path: Path, assert_same_tiles, model_folder: str
) -> None:
    path = str(tmp_path / "tiles.gpkg")
    run(parameters, OUTPUT=path)
    layer = QgsVectorLayer(path, "tiles", "ogr")
    assert_same_tiles(layer)
    labels = [item.label() for item in layer.renderer().legendSymbolItems()]
    assert len(labels) == 19 + 2
    assert layer.isEditable() or layer.startEditing()
    layer.rollBack()


def test_sink_that_was_loaded_is_styled_once_each(parameters: dict) -> None:
    """What QGIS desktop does at the end of a run, for two outputs in one project."""
    from mm_qgis_plugin.style import ResultStyler

    project = QgsProject()
    for name in ("first", "second"):
        context = QgsProcessingContext()
        context.setProject(project)
        destination = QgsProcessingOutputLayerDefinition("memory:", project)
        destination.destinationName = name
        run_in(context, {**parameters, "OUTPUT": destination})
        for layer_id, details in context.layersToLoadOnCompletion().items():
            layer = context.takeResultLayer(layer_id)
            layer.setName(details.name)
            assert isinstance(details.postProcessor(), ResultStyler)
            details.postProcessor().postProcessLayer(layer, context, QgsProcessingFeedback())
            project.addMapLayer(layer)
    renderers = [layer.renderer() for layer in project.mapLayers().values()]
    assert len(renderers) == 2
    assert all(isinstance(renderer, QgsRuleBasedRenderer) for renderer in renderers)
    assert not ResultStyler._waiting


def run_in(context: QgsProcessingContext, values: dict) -> dict:
    from qgis.core import QgsApplication

    algorithm = QgsApplication.processingRegistry().createAlgorithmById(ALGORITHM)
    accepted, message = algorithm.checkParameterValues(values, context)
    assert accepted, message
    result, done = algorithm.run(values, context, QgsProcessingFeedback())
    assert done
    return result


def test_runs_in_a_background_task(parameters: dict, spin_until) -> None:
    """As the Processing dialog runs it: prepared here, processed on another thread."""
    from qgis.core import QgsApplication

    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    feedback = Said()
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(ALGORITHM)
    values = {**parameters, "OUTPUT": "memory:"}
    task = QgsProcessingAlgRunnerTask(algorithm, values, context, feedback)
    ended: list[tuple] = []
    task.executed.connect(lambda done, result: ended.append((done, result)))
    QgsApplication.taskManager().addTask(task)
    spin_until(lambda: ended)
    done, result = ended[0]
    assert done
    assert context.getMapLayer(result["OUTPUT"]).featureCount() == TILES


def test_extent_selects_tiles_whatever_its_crs(parameters: dict) -> None:
    utm = QgsCoordinateReferenceSystem("EPSG:32633")
    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    there = QgsCoordinateTransform(utm, degrees, QgsProject.instance())
    inside = there.transformBoundingBox(ONE_TILE)
    for extent, crs in ((ONE_TILE, "EPSG:32633"), (inside, "EPSG:4326")):
        corners = (extent.xMinimum(), extent.xMaximum(), extent.yMinimum(), extent.yMaximum())
        text = ",".join(f"{corner:.9f}" for corner in corners)
        assert tile_ids(run(parameters, EXTENT=f"{text} [{crs}]")["OUTPUT"]) == [1]


@pytest.fixture
def areas(qgis_app) -> QgsVectorLayer:
    layer = QgsVectorLayer("Polygon?crs=EPSG:32633", "areas", "memory")
    features = []
    for x, y in ((345000, 5294400 - 600), (345000 + 1200, 5294400 - 600)):
        feature = QgsFeature()
        feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(x - 50, y - 50, x + 50, y + 50)))
        features.append(feature)
    layer.dataProvider().addFeatures(features)
    QgsProject.instance().addMapLayer(layer)
    return layer


def test_an_extent_of_the_whole_world_is_the_whole_scene(parameters: dict) -> None:
    result = run(parameters, EXTENT="-180,180,-90,90 [EPSG:4326]")
    assert len(tile_ids(result["OUTPUT"])) == TILES


@pytest.mark.parametrize("extent", ["0,1,0,1 [EPSG:4326]", "1e9,2e9,1e9,2e9 [EPSG:3857]"])
def test_an_extent_elsewhere_is_refused_in_words(parameters: dict, extent: str) -> None:
    with pytest.raises(QgsProcessingException, match="does not meet the scene"):
        run(parameters, EXTENT=extent)


def test_polygons_select_tiles_and_honour_the_selection(
    parameters: dict, areas: QgsVectorLayer
) -> None:
    assert tile_ids(run(parameters, AOI=areas)["OUTPUT"]) == [2, 3]
    areas.selectByIds([2])
    selected = QgsProcessingFeatureSourceDefinition(areas.id(), selectedFeaturesOnly=True)
    assert tile_ids(run(parameters, AOI=selected)["OUTPUT"]) == [3]


def test_a_crossed_polygon_is_mended_and_the_next_run_is_well(
    parameters: dict, areas: QgsVectorLayer
) -> None:
    crossed = QgsFeature()
    crossed.setGeometry(QgsGeometry.fromWkt(
        "POLYGON ((345000 5293900, 346200 5295000, 346200 5293900, 345000 5295000, 345000 5293900))"
    ))  # fmt: skip
    areas.dataProvider().addFeatures([crossed])
    everything = tile_ids(run(parameters)["OUTPUT"])
    assert set(tile_ids(run(parameters, AOI=areas)["OUTPUT"])) <= set(everything)
    assert tile_ids(run(parameters)["OUTPUT"]) == everything


@pytest.fixture
def area_file(areas: QgsVectorLayer, tmp_path: Path) -> Path:
    path = tmp_path / "areas.gpkg"
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.layerName = "areas"
    QgsVectorFileWriter.writeAsVectorFormatV3(
        areas, str(path), QgsCoordinateTransformContext(), options
    )
    return path


def test_an_input_is_never_overwritten(parameters: dict, area_file: Path) -> None:
    before = area_file.read_bytes()
    whole_file, same_table = str(area_file), f"ogr:dbname='{area_file}' table=\"areas\" (geom)"
    for output in (whole_file, same_table):
        with pytest.raises(QgsProcessingException, match="is an input of this run"):
            run(parameters, AOI=f"{area_file}|layername=areas", OUTPUT=output)
    assert area_file.read_bytes() == before


def test_an_input_is_not_overwritten_by_a_name_without_a_suffix(
    parameters: dict, area_file: Path
) -> None:
    before = area_file.read_bytes()
    with pytest.raises(QgsProcessingException, match="is an input of this run"):
        run(parameters, AOI=str(area_file), OUTPUT=str(area_file.with_suffix("")))
    assert area_file.read_bytes() == before


@pytest.mark.parametrize("spelling", ["sub/../kept.gpkg", "folder/kept.gpkg", "link.gpkg", "table"])
def test_a_journal_is_not_emptied_by_the_output_under_another_name(
    parameters: dict, tmp_path: Path, spelling: str
) -> None:
    """While neither is there, and no system can tell whether they are one file."""
    journal = tmp_path / "kept.gpkg"
    (tmp_path / "sub").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "link.gpkg").symlink_to(journal)
    output = str(tmp_path / spelling)
    if spelling == "table":
        output = f"ogr:dbname='{journal}' table=\"tiles\" (geom)"
    with pytest.raises(QgsProcessingException, match="is an input of this run"):
        run(parameters, JOURNAL=str(journal), OUTPUT=output)
    assert not journal.exists()
    # The other way round, too.
    if spelling != "table":
        with pytest.raises(QgsProcessingException, match="is an input of this run"):
            run(parameters, JOURNAL=output, OUTPUT=str(journal))


def test_a_sink_that_became_the_journal_meanwhile_is_not_opened(
    parameters: dict, tmp_path: Path
) -> None:
    """The names meant two files when they were looked at."""
    journal, output = tmp_path / "kept.gpkg", tmp_path / "tiles.gpkg"

    class Links(Said):
        def _say(self, text: str) -> None:
            super()._say(text)
            if not output.is_symlink():
                output.symlink_to(journal)

    with pytest.raises(QgsProcessingException, match="the journal itself, under another name"):
        run(parameters, Links(), JOURNAL=str(journal), OUTPUT=str(output))
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("SELECT count(*) FROM tiles").fetchone() == (TILES,)


def test_the_table_of_an_input_that_names_none_is_not_overwritten(
    parameters: dict, area_file: Path
) -> None:
    before = area_file.read_bytes()
    output = f"ogr:dbname='{area_file}' table=\"areas\" (geom)"
    with pytest.raises(QgsProcessingException, match="is an input of this run"):
        run(parameters, AOI=str(area_file), OUTPUT=output)
    assert area_file.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ogr:dbname='/a/b.gpkg' table=\"t\" (geom)", Place(Path("/a/b.gpkg"), "t")),
        ("ogr:dbname=/a/b.gpkg table=t (geom)", Place(Path("/a/b.gpkg"), "t")),
        ("ogr:/a/b.gpkg", Place(Path("/a/b.gpkg"))),
        ("postgres://dbname=x table=t", None),
        ("memory:", None),
    ],
)
def test_where_a_sink_is(text: str, place: Place | None) -> None:
    assert sink_place(text) == place


def test_a_name_without_a_suffix_is_a_styled_geopackage(parameters: dict, tmp_path: Path) -> None:
    """QGIS adds the suffix, whatever format the user prefers."""
    QgsSettings().setValue("Processing/DefaultOutputVectorLayerExt", 0)
    folder = tmp_path / "my.folder"
    folder.mkdir()
    for name in ("tiles", ".hidden", "tiles."):
        place = sink_place(str(folder / name))
        result = run(parameters, OUTPUT=str(folder / name))
        assert place == Place(Path(result["OUTPUT"]))
    layer = QgsVectorLayer(str(folder / "tiles.gpkg"), "tiles", "ogr")
    assert isinstance(layer.renderer(), QgsRuleBasedRenderer)


def test_a_table_beside_an_input(parameters: dict, area_file: Path) -> None:
    output = f"ogr:dbname='{area_file}' table=\"tiles\" (geom)"
    result = run(parameters, AOI=f"{area_file}|layername=areas", OUTPUT=output)
    assert result["CLASSIFIED"] == 2
    for table, count in (("areas", 2), ("tiles", 2)):
        layer = QgsVectorLayer(f"{area_file}|layername={table}", table, "ogr")
        assert layer.featureCount() == count


def test_a_file_that_lost_its_end_is_no_result(parameters: dict, tmp_path: Path) -> None:
    path = tmp_path / "tiles.geojson"
    run(parameters, OUTPUT=str(path))
    check_written(Place(path), TILES)
    with pytest.raises(OutputError, match="8 of 9 tiles"):
        check_written(Place(path), TILES + 1)
    assert not path.exists()
    path.touch()  # what a full disk leaves of a GeoJSON
    with pytest.raises(OutputError, match="0 of 8 tiles"):
        check_written(Place(path), TILES)


def test_a_sink_that_fails_says_where_the_tiles_are(parameters: dict, tmp_path: Path) -> None:
    journal = tmp_path / "kept.gpkg"
    output = tmp_path / "fieldless.dxf"
    with pytest.raises(QgsProcessingException, match=r"(?s)tiles are kept in .*kept\.gpkg"):
        run(parameters, OUTPUT=str(output), JOURNAL=str(journal))
    assert journal.exists()


def test_folder_instead_of_layers(parameters: dict, tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    shutil.copy(parameters["S2"][0], folder / "S2.tif")
    result = run(parameters, S2=None, S2_PATH=str(folder / "S2.tif"))
    assert result["CLASSIFIED"] == 7


def test_band_map_wins_over_names(parameters: dict) -> None:
    right = run(parameters, S1_BANDS="VV=1, vh=2")["OUTPUT"]
    plain = run(parameters)["OUTPUT"]
    values = [
        [f["confidence"] for f in layer.getFeatures() if f["status"] == "ok"]
        for layer in (right, plain)
    ]
    assert values[0] == pytest.approx(values[1])


def test_the_same_run_again_goes_on_with_its_journal(parameters: dict, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.gpkg")
    run(parameters, JOURNAL=journal)
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("DROP TRIGGER IF EXISTS rtree_tiles_geom_delete")
        connection.execute("DELETE FROM tiles WHERE tile_id > 3")
    feedback = Said()
    result = run(parameters, feedback, JOURNAL=journal)
    assert result["CLASSIFIED"] + result["SKIPPED"] == TILES
    assert any("4 of them done before" in line for line in feedback.lines)


def test_a_damaged_journal_of_ours_does_not_block_its_run(parameters: dict, data_dir: Path) -> None:
    run(parameters)
    (journal,) = (data_dir / "journals").glob("*.gpkg")
    os.truncate(journal, 50_000)
    feedback = Said()
    result = run(parameters, feedback)
    assert result["CLASSIFIED"] + result["SKIPPED"] == TILES
    (line,) = [line for line in feedback.lines if "was put aside" in line]
    assert line.startswith("WARNING ")
    assert journal.with_name(f"{journal.name}.damaged").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["OUTPUT", "JOURNAL"])
def test_a_pipe_is_no_output(parameters: dict, tmp_path: Path, name: str) -> None:
    pipe = tmp_path / "pipe.gpkg"
    os.mkfifo(pipe)
    with pytest.raises(QgsProcessingException, match="is a pipe"):
        run(parameters, **{name: str(pipe)})


def test_a_complete_run_again_computes_nothing_and_says_so(parameters: dict) -> None:
    run(parameters)
    feedback = Said()
    run(parameters, feedback)
    (line,) = [line for line in feedback.lines if "nothing was computed" in line]
    assert "7 tiles classified, 1 skipped" in line
    assert not any("0.0 tiles/s" in line for line in feedback.lines)


def test_cancel_keeps_finished_tiles_in_output_and_journal(
    parameters: dict, tmp_path: Path
) -> None:
    journal, output = tmp_path / "journal.gpkg", tmp_path / "out.gpkg"
    # Enough overlapping tiles that the end does not come before the cancel.
    feedback = Said()
    feedback.progressChanged.connect(lambda _: feedback.cancel())
    result = run(
        parameters, feedback, STRIDE=4, BATCH_SIZE=4, JOURNAL=str(journal), OUTPUT=str(output)
    )
    kept = result["CLASSIFIED"] + result["SKIPPED"]
    assert 0 < kept < 2000
    assert QgsVectorLayer(str(output), "out", "ogr").featureCount() == kept
    assert any("goes on from there" in line for line in feedback.lines)
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("SELECT state FROM mm_run").fetchone() == ("partial",)


def test_batch_of_runs(parameters: dict, tmp_path: Path) -> None:
    """One algorithm dialog, several rows: each a run of its own with its own output."""
    rows = [{"STRIDE": stride, "OUTPUT": str(tmp_path / f"{stride}.gpkg")} for stride in (120, 240)]
    counts = [run({**parameters, **row})["CLASSIFIED"] for row in rows]
    assert counts[0] == 7
    assert 0 < counts[1] < 7
    assert all(Path(row["OUTPUT"]).is_file() for row in rows)


def test_model_builder_chains_a_buffer(parameters: dict) -> None:
    import processing

    model = QgsProcessingModelAlgorithm("tiles and buffer", "test")
    for name in ("S2", "S1"):
        model.addModelParameter(
            QgsProcessingParameterMultipleLayers(name, name, QgsProcessing.SourceType.TypeRaster),
            QgsProcessingModelParameter(name),
        )
    source = QgsProcessingModelChildParameterSource
    classify = QgsProcessingModelChildAlgorithm(ALGORITHM)
    classify.setChildId("classify")
    for name in ("S2", "S1"):
        classify.addParameterSources(name, [source.fromModelParameter(name)])
    for name in ("MODEL", "DEVICE"):
        classify.addParameterSources(name, [source.fromStaticValue(parameters[name])])
    model.addChildAlgorithm(classify)
    buffer = QgsProcessingModelChildAlgorithm("native:buffer")
    buffer.setChildId("buffer")
    buffer.addParameterSources("INPUT", [source.fromChildOutput("classify", "OUTPUT")])
    buffer.addParameterSources("DISTANCE", [source.fromStaticValue(-100)])
    output = QgsProcessingModelOutput("buffered")
    output.setChildId("buffer")
    output.setChildOutputName("OUTPUT")
    buffer.setModelOutputs({"buffered": output})
    model.addChildAlgorithm(buffer)
    values = {"S2": parameters["S2"], "S1": parameters["S1"], "buffer:buffered": "memory:"}
    layer = processing.run(model, values)["buffer:buffered"]
    assert layer.featureCount() == TILES
    assert next(iter(layer.getFeatures())).geometry().area() == pytest.approx(1000.0**2, rel=1e-3)


@pytest.fixture
def bad_input(tmp_path: Path, s2_path: str, s1_path: str, model_folder: str) -> Callable:
    """Make the bad inputs of the issue, by name."""
    from osgeo import gdal

    def translated(source: str, name: str, **options) -> str:
        path = str(tmp_path / name)
        dataset = gdal.Translate(path, source, **options)
        assert dataset is not None
        return path

    def other_channels() -> dict:
        folder = tmp_path / "model"
        shutil.copytree(model_folder, folder)
        config = (folder / "config.json").read_text(encoding="utf-8")
        folder.joinpath("config.json").write_text(
            config.replace('"B8A"', '"B10"'), encoding="utf-8"
        )
        return {"MODEL": str(folder)}

    def damaged_weights() -> dict:
        folder = tmp_path / "damaged"
        shutil.copytree(model_folder, folder)
        weights = folder / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-100] ^= 0xFF
        weights.write_bytes(bytes(content))
        return {"MODEL": str(folder)}

    far_away = [500000, 5295600, 502400, 5290800]
    cases = {
        "not a raster": lambda: {"S2": [str(Path(s2_path).with_name(
            Path(s2_path).name.replace("_S2_12band_10m.tif", "_labels.geojson")))]},
        "missing file": lambda: {"S2": ["/nowhere/s2.tif"]},
        "no overlap": lambda: {"S1": [translated(s1_path, "far.tif", outputBounds=far_away)]},
        "no crs": lambda: {"S2": [without_crs(s2_path, tmp_path)]},
        "missing bands": lambda: {"S2": [translated(s2_path, "few.tif", bandList=[2, 3, 4])]},
        "no config": lambda: {"MODEL": str(tmp_path)},
        "other channels": other_channels,
        "damaged weights": damaged_weights,
        "unwritable output": lambda: {"OUTPUT": "/proc/nothing/here.gpkg"},
        "unknown format": lambda: {"OUTPUT": str(tmp_path / "tiles.abc")},
        "layer name in a file name": lambda: {"OUTPUT": str(tmp_path / "a.gpkg|layername=b")},
        "no S1": lambda: {"S1": None},
        "bad stride": lambda: {"STRIDE": 0},
        "broken stride": lambda: {"STRIDE": 1.5},
        "endless stride": lambda: {"STRIDE": 99999999999},
        "bad band map": lambda: {"S2_BANDS": "B02:1"},
        "area elsewhere": lambda: {"EXTENT": "0,100,0,100 [EPSG:32633]"},
        "no worker": lambda: {},
        "device by number": lambda: {"DEVICE": "1"},
        "unknown precision": lambda: {"PRECISION": "best"},
        "broken extent": lambda: {"EXTENT": "everywhere"},
        "share over 1": lambda: {"MIN_VALID": 75},
        "batch in words": lambda: {"BATCH_SIZE": "many"},
        "empty model": lambda: {"MODEL": ""},
        "journal of no kind": lambda: {"JOURNAL": str(tmp_path / "journal.txt")},
    }  # fmt: skip
    return lambda name: cases[name]()


def without_crs(source: str, folder: Path) -> str:
    from osgeo import gdal

    path = str(folder / "no_crs.tif")
    dataset = gdal.GetDriverByName("GTiff").CreateCopy(path, gdal.Open(source))
    dataset.SetProjection("")
    dataset = None
    return path


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("not a raster", "is not a raster|cannot be opened as raster"),
        ("missing file", "cannot be opened as raster layers"),
        ("no overlap", "overlap|do not meet"),
        ("no crs", "coordinate reference system|CRS"),
        ("missing bands", "B05"),
        ("no config", "is not a model folder.*Choose a folder"),
        ("other channels", "B10"),
        ("damaged weights", "damaged|does not match|SHA"),
        ("unwritable output", "cannot be written: choose a folder"),
        ("unknown format", "writes no '.abc' files"),
        ("layer name in a file name", "is not a file name"),
        (
            "no S1",
            r"No Sentinel-1 raster was given: choose layers at Sentinel-1 rasters \(S1\), or under "
            r"Advanced a Sentinel-1 folder \(S1_PATH\)",
        ),
        ("device by number", r"Device \(DEVICE\): '1' is not valid.*one of auto, cuda, mps, cpu"),
        ("unknown precision", "'best' is not valid.*one of auto, exact"),
        ("broken extent", r"\(EXTENT\): 'everywhere' is not valid.*xmin,xmax,ymin,ymax"),
        ("share over 1", r"\(MIN_VALID\): '75' is not valid.*from 0 to 1"),
        ("batch in words", r"Batch size \(BATCH_SIZE\): 'many' is not valid.*whole number"),
        ("empty model", r"No model folder was given: choose one at Model folder \(MODEL\)"),
        ("journal of no kind", r"Journal \(JOURNAL\): .*is not valid.*\.gpkg"),
        ("bad stride", "STRIDE|stride|Stride"),
        ("broken stride", "whole pixels, not 1.5"),
        ("endless stride", "stride must be 1 to 100000 pixels"),
        ("bad band map", "write channel=band number"),
        ("area elsewhere", "area|extent|tile"),
        ("no worker", "No Python with torch.*Set up worker environment"),
    ],
)
def test_bad_input_is_told_in_plain_words(
    parameters: dict, bad_input, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str,
    words: str,
) -> None:  # fmt: skip
    output = tmp_path / "result.gpkg"
    changes = {"OUTPUT": str(output), **bad_input(case)}
    if case == "no worker":
        monkeypatch.delenv("MULTIMODAL_WORKER_PYTHON")
    with pytest.raises(QgsProcessingException, match=f"(?s){words}") as caught:
        run(parameters, **changes)
    assert "Traceback" not in str(caught.value)
    assert not output.exists(), "a failed run must not leave an output"


def test_a_failed_run_leaves_an_older_output_alone(
    parameters: dict, tmp_path: Path, fake_worker
) -> None:
    output = tmp_path / "result.gpkg"
    run(parameters, OUTPUT=str(output))
    before = output.read_bytes()
    fake_worker("crash")
    with pytest.raises(QgsProcessingException, match=r"(?s)ended without a word.*corrupted heap"):
        run(parameters, OUTPUT=str(output))
    assert output.read_bytes() == before


def test_crash_is_explained_with_the_end_of_stderr(parameters: dict, fake_worker) -> None:
    fake_worker("exit_early")
    with pytest.raises(QgsProcessingException, match="no module named torch"):
        run(parameters)


def test_layers_of_the_project_work_like_paths(parameters: dict) -> None:
    layers = [QgsRasterLayer(parameters[key][0], key) for key in ("S2", "S1")]
    QgsProject.instance().addMapLayers(layers)
    result = run(parameters, S2=[layers[0].id()], S1=[layers[1]])
    assert result["CLASSIFIED"] == 7


def test_help_and_parameters_are_complete(provider) -> None:
    algorithm = provider.algorithm("classify")
    assert algorithm.id() == ALGORITHM
    assert not algorithm.icon().isNull()
    assert "model folder" in algorithm.shortHelpString().lower()
    assert algorithm.helpUrl().startswith("https://")
    names = {definition.name() for definition in algorithm.parameterDefinitions()}
    assert names >= {
        "S2", "S1", "S2_PATH", "S1_PATH", "MODEL", "EXTENT", "AOI", "STRIDE", "DEVICE",
        "BATCH_SIZE", "OUTPUT", "JOURNAL", "PRECISION", "MIN_VALID", "S2_BANDS", "S1_BANDS",
        "S2_OFFSET", "S1_UNIT", "MASK", "MASK_CLASSES", "MAX_CLOUD", "FILL_MISSING", "MAX_DAYS",
        "ANY_PIXEL_SIZE",
    }  # fmt: skip
    outputs = {output.name() for output in algorithm.outputDefinitions()}
    assert outputs >= {"OUTPUT", "CLASSIFIED", "SKIPPED", "JOURNAL"}
    journal = algorithm.parameterDefinition("JOURNAL")
    assert not journal.isDestination(), "it would stand outside the advanced group"
