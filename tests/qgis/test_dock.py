"""The dock in a real QGIS without a screen: run, cancel, errors, memory, unload."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFillSymbol,
    QgsGeometry,
    QgsMapLayerStyle,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsRuleBasedRenderer,
    QgsSingleSymbolRenderer,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.gui import QgsMapCanvas, QgsMapToolPan, QgsMessageBar
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import (
    QAction,
    QApplication,
    QComboBox,
    QLineEdit,
    QScrollArea,
    QWidget,
)

from mm_qgis_plugin import settings
from mm_qgis_plugin.core.contract.errors import JobError, OutputError
from mm_qgis_plugin.core.contract.job import MAX_BATCH
from mm_qgis_plugin.gui import dock as dock_module
from mm_qgis_plugin.gui import status_panel as status
from mm_qgis_plugin.gui.dock import ClassifyDock
from mm_qgis_plugin.gui.held_layers import HeldLayer, clean_leftovers
from mm_qgis_plugin.gui.own_message import beginning
from mm_qgis_plugin.gui.result_layers import ResultLayers
from mm_qgis_plugin.gui.signs import sign

TILES = 8


class DeletedTask:
    """What is left in Python of a task that QGIS has deleted: all but its own attributes fails."""

    notice = ""


class IfaceWithTips:
    """The test's iface with what it lacks: an action for map tips, and an active layer to see."""

    def __init__(self, iface: object, tips: QAction) -> None:
        self._iface = iface
        self.active: QgsVectorLayer | None = None
        self.actionMapTips = lambda: tips

    def __getattr__(self, name: str) -> object:
        return getattr(self._iface, name)

    def activeLayer(self) -> QgsVectorLayer | None:
        return self.active

    def setActiveLayer(self, layer: QgsVectorLayer) -> None:
        self.active = layer


def layers_named(text: str) -> list[QgsVectorLayer]:
    layers = QgsProject.instance().mapLayers().values()
    return [layer for layer in layers if text in layer.name()]


def swap_rasters(dock: ClassifyDock, folder: Path) -> None:
    s1, s2 = (dock.rasters.combos[sensor] for sensor in ("s1", "s2"))
    first, second = s1.currentLayer(), s2.currentLayer()
    s1.setLayer(second)
    s2.setLayer(first)


def one_raster_twice(dock: ClassifyDock, folder: Path) -> None:
    dock.rasters.combos["s1"].setLayer(dock.rasters.layer("s2"))


def say(dock: ClassifyDock) -> str:
    return dock.panel.message.text()


def test_the_batch_size_is_offered_as_far_as_a_job_takes_it(dock: ClassifyDock, provider) -> None:
    parameter = provider.algorithm("classify").parameterDefinition("BATCH_SIZE")
    assert dock.advanced.batch_size.maximum() == parameter.maximum() == MAX_BATCH


def test_layers_are_guessed_and_the_model_is_described(dock: ClassifyDock) -> None:
    assert dock.rasters.layer("s2").name() == "optical"
    assert dock.rasters.layer("s1").name() == "radar"
    summary = dock.model.summary.text()
    assert "19 classes" in summary
    assert "not a classifier" in summary
    assert "chance 0.26" in summary
    assert "CDLA-Permissive-1.0" in summary


def test_run_into_a_file_equals_the_command_line(
    dock: ClassifyDock, tmp_path: Path, finish, assert_same_tiles
) -> None:
    output = tmp_path / "land cover"
    dock.output.setFilePath(str(output))
    dock.run_button.click()
    assert not dock.run_button.isEnabled()
    assert dock.cancel_button.isEnabled()
    finish(dock)
    assert "7 tiles classified, 1 skipped" in say(dock)
    (layer,) = layers_named("land cover")
    assert layer.source().startswith(f"{output}.gpkg")
    assert isinstance(layer.renderer(), QgsRuleBasedRenderer)
    assert_same_tiles(layer)
    assert QgsProject.instance().layerTreeRoot().children()[0].layerId() == layer.id()
    assert dock.run_button.isEnabled()


def test_temporary_layer_and_the_preview_on_the_way(
    dock: ClassifyDock, spin_until, finish, assert_same_tiles
) -> None:
    dock.run_button.click()
    spin_until(lambda: layers_named("running") or dock.active_run is None)
    finish(dock)
    assert not layers_named("running")
    (layer,) = layers_named("Classified optical")
    assert layer.providerType() == "memory"
    assert_same_tiles(layer)


def test_a_damaged_journal_of_ours_is_put_aside_with_a_word(
    dock: ClassifyDock, finish, data_dir: Path
) -> None:
    dock.run_button.click()
    finish(dock)
    (journal,) = (data_dir / "journals").glob("*.gpkg")
    journal.write_text("something else")
    dock.run_button.click()
    assert dock.active_run is not None, dock.panel.message.text()
    finish(dock)
    assert "was put aside" in dock.panel.warnings.text()
    assert journal.with_name(f"{journal.name}.damaged").read_text() == "something else"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.timeout(60)
def test_a_pipe_as_output_is_refused_at_once(dock: ClassifyDock, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gpkg")
    dock.output.setFilePath(str(tmp_path / "pipe.gpkg"))
    dock.run_button.click()
    assert dock.active_run is None
    assert "is a pipe" in dock.panel.message.text()


def test_preview_fills_while_it_runs_and_cannot_be_edited(
    dock: ClassifyDock, spin_until, finish
) -> None:
    dock.advanced.stride.setValue(4)
    dock.advanced.batch_size.setValue(8)
    dock.run_button.click()
    spin_until(lambda: layers_named("running") and layers_named("running")[0].featureCount())
    (preview,) = layers_named("running")
    assert preview.readOnly()
    assert not preview.startEditing()
    assert "left" in dock.panel.progress.text()
    started = time.monotonic()
    dock.cancel_button.click()
    finish(dock)
    assert time.monotonic() - started < 2.0
    (kept,) = layers_named("incomplete")
    assert kept.featureCount() > 0
    assert "are kept; the same run again goes on" in say(dock)


def cancelled_temporary(dock: ClassifyDock, spin_until, finish) -> QgsVectorLayer:
    """Stop a temporary run in the middle; return what it shows."""
    dock.advanced.stride.setValue(12)
    dock.advanced.batch_size.setValue(4)
    dock.run_button.click()
    spin_until(lambda: dock.panel.bar.value() > 8)
    dock.cancel_button.click()
    finish(dock)
    (part,) = layers_named("Classified optical (incomplete)")
    return part


def test_a_resumed_temporary_run_goes_on_in_its_layer(
    dock: ClassifyDock, spin_until, finish
) -> None:
    part = cancelled_temporary(dock, spin_until, finish)
    layer_id, kept = part.id(), part.featureCount()
    part.setRenderer(QgsSingleSymbolRenderer(QgsFillSymbol.createSimple({"color": "red"})))
    dock.run_button.click()
    finish(dock)
    (whole,) = layers_named("Classified optical")
    assert whole.id() == layer_id
    assert whole.name() == "Classified optical"
    assert whole.featureCount() > kept
    assert whole.extent().contains(dock.rasters.layer("s2").extent().center())
    assert isinstance(whole.renderer(), QgsSingleSymbolRenderer)
    dock.advanced.stride.setValue(240)
    dock.run_button.click()
    finish(dock)
    assert len(layers_named("Classified optical")) == 2, "another run, another layer"


@pytest.mark.parametrize("still_editing", [True, False])
def test_a_temporary_layer_that_was_edited_stays(
    dock: ClassifyDock, spin_until, finish, still_editing: bool
) -> None:
    part = cancelled_temporary(dock, spin_until, finish)
    kept = part.featureCount()
    copy = part.clone()
    copy.setName("my copy")
    QgsProject.instance().addMapLayer(copy)
    assert part.startEditing()
    part.deleteFeature(next(part.getFeatures()).id())
    assert still_editing or part.commitChanges()
    dock.run_button.click()
    finish(dock)
    assert part.featureCount() == kept - 1
    assert copy.featureCount() == kept
    assert len(layers_named("Classified optical")) == 2
    part.rollBack()


@pytest.mark.parametrize("temporary", [True, False])
def test_nothing_is_shown_of_a_run_without_a_tile(
    dock: ClassifyDock, tmp_path: Path, finish, spin_until, fake_worker, temporary: bool
) -> None:
    dock.output.setFilePath("" if temporary else str(tmp_path / "none.gpkg"))
    fake_worker("obey_cancel_at_once")
    dock.run_button.click()
    dock.active_run.path.write_bytes(b"")
    task = dock.active_run._task
    spin_until(lambda: task.status() == task.TaskStatus.Running)
    time.sleep(0.5)
    dock.cancel_button.click()
    finish(dock)
    assert "Stopped before the first tile" in say(dock)
    assert not layers_named("Classified")
    assert not layers_named("none")


def test_a_file_is_free_of_journals_after_a_crash(
    dock: ClassifyDock, thesis_map: QgsVectorLayer, finish, fake_worker
) -> None:
    journal = Path(f"{thesis_map.source().split('|')[0]}-journal")
    journal.write_bytes(b"\0" * 512)
    fake_worker("crash")
    dock.run_button.click()
    finish(dock)
    assert not journal.exists()
    assert thesis_map.featureCount() == TILES


def test_removing_the_preview_does_not_stop_the_run(dock: ClassifyDock, spin_until, finish) -> None:
    dock.advanced.stride.setValue(30)
    dock.run_button.click()
    spin_until(lambda: layers_named("running"))
    QgsProject.instance().removeMapLayer(layers_named("running")[0].id())
    finish(dock)
    (layer,) = layers_named("Classified optical")
    assert layer.featureCount() > TILES


def test_a_cancelled_file_goes_on_although_qgis_shows_it(
    dock: ClassifyDock, tmp_path: Path, spin_until, finish
) -> None:
    dock.output.setFilePath(str(tmp_path / "part.gpkg"))
    dock.advanced.stride.setValue(8)
    dock.advanced.batch_size.setValue(8)
    dock.run_button.click()
    spin_until(lambda: dock.panel.bar.value() > 8)
    dock.cancel_button.click()
    finish(dock)
    (part,) = layers_named("part (incomplete)")
    kept = part.featureCount()
    del part
    dock.run_button.click()
    finish(dock)
    assert "tiles classified" in say(dock), say(dock)
    (whole,) = layers_named("part")
    assert whole.name() == "part"
    assert whole.featureCount() > kept


def test_another_run_in_the_file_is_not_lost_without_a_word(
    dock: ClassifyDock, tmp_path: Path, finish
) -> None:
    dock.output.setFilePath(str(tmp_path / "taken.gpkg"))
    dock.run_button.click()
    finish(dock)
    dock.advanced.stride.setValue(240)
    dock.run_button.click()
    finish(dock)
    assert "holds another run" in say(dock)
    assert layers_named("taken")[0].featureCount() == TILES
    assert not dock.panel.remedy.isHidden()
    dock.panel.remedy.click()
    finish(dock)
    assert layers_named("taken")[0].featureCount() < TILES


def identity(layer: QgsVectorLayer) -> tuple:
    """What must stay of a layer that a run held off its file."""
    style = QgsMapLayerStyle()
    style.readFromLayer(layer)
    node = QgsProject.instance().layerTreeRoot().findLayer(layer.id())
    place = (node.parent().name(), node.parent().children().index(node))
    return layer.id(), layer.name(), layer.source(), layer.readOnly(), place, style.xmlData()


@pytest.fixture
def thesis_map(dock: ClassifyDock, tmp_path: Path, finish) -> QgsVectorLayer:
    """A finished result that the user has renamed, restyled and put into a group."""
    dock.output.setFilePath(str(tmp_path / "shown.gpkg"))
    dock.run_button.click()
    finish(dock)
    (layer,) = layers_named("shown")
    layer.setName("the map of my thesis")
    layer.setFieldAlias(layer.fields().indexOf("entropy"), "Doubt")
    layer.setRenderer(QgsSingleSymbolRenderer(QgsFillSymbol.createSimple({"color": "red"})))
    root = QgsProject.instance().layerTreeRoot()
    group = root.insertGroup(1, "chapter 3")
    group.insertChildNode(0, root.findLayer(layer.id()).clone())
    root.removeChildNode(root.children()[0])
    return layer


def test_the_same_run_again_keeps_what_the_user_made_of_the_layer(
    dock: ClassifyDock, thesis_map: QgsVectorLayer, finish
) -> None:
    before = identity(thesis_map)
    dock.confirm = lambda question: pytest.fail("there is nothing to lose")
    dock.run_button.click()
    assert thesis_map.providerType() == "memory", "the file is free for the worker"
    finish(dock)
    assert "complete already (7 tiles classified, 1 skipped): nothing was computed" in say(dock)
    assert "Start over" in say(dock)
    assert identity(thesis_map) == before
    assert thesis_map.featureCount() == TILES
    assert not layers_named("shown")


def test_refused_run_leaves_layers_and_file_alone(
    dock: ClassifyDock, thesis_map: QgsVectorLayer
) -> None:
    before = identity(thesis_map)
    dock.advanced.stride.setValue(240)
    dock.run_button.click()
    assert dock.active_run is None
    assert "holds another run" in say(dock)
    assert identity(thesis_map) == before
    assert thesis_map.featureCount() == TILES


def test_file_that_is_not_ours_keeps_its_layer(dock: ClassifyDock, tmp_path: Path) -> None:
    path = tmp_path / "parcels.gpkg"
    memory = QgsVectorLayer("Polygon?crs=EPSG:32633&field=owner:string", "m", "memory")
    options = QgsVectorFileWriter.SaveVectorOptions()
    context = QgsProject.instance().transformContext()
    QgsVectorFileWriter.writeAsVectorFormatV3(memory, str(path), context, options)
    QgsProject.instance().addMapLayer(QgsVectorLayer(str(path), "parcels", "ogr"))
    (parcels,) = layers_named("parcels")
    before = identity(parcels)
    dock.output.setFilePath(str(path))
    for overwrite in (False, True):
        dock.advanced.overwrite.setChecked(overwrite)
        dock.run_button.click()
        assert dock.active_run is None
        assert "choose another file" in say(dock)
        assert dock.panel.remedy.isHidden()
        assert identity(parcels) == before
        assert parcels.isValid()


@pytest.mark.parametrize("mode", ["fail", "crash"])
def test_failed_run_gives_the_layer_back(
    dock: ClassifyDock, thesis_map: QgsVectorLayer, finish, fake_worker, mode: str
) -> None:
    before = identity(thesis_map)
    fake_worker(mode)
    dock.run_button.click()
    assert thesis_map.providerType() == "memory"
    finish(dock)
    assert dock.panel.sign.kind == "error"
    assert identity(thesis_map) == before
    assert thesis_map.featureCount() == TILES
    assert not layers_named("incomplete")


def test_another_model_gives_the_layer_another_style(
    dock: ClassifyDock, thesis_map: QgsVectorLayer, finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeldLayer, "has_same_fields", lambda held, layer: False)
    dock.run_button.click()
    finish(dock)
    assert thesis_map.name() == "the map of my thesis"
    assert isinstance(thesis_map.renderer(), QgsRuleBasedRenderer)


def test_replacement_is_offered_for_one_file_alone(
    dock: ClassifyDock, tmp_path: Path, finish
) -> None:
    first, precious = tmp_path / "first.gpkg", tmp_path / "precious.gpkg"
    dock.output.setFilePath(str(first))
    dock.run_button.click()
    finish(dock)
    shutil.copy(first, precious)
    content = precious.read_bytes()
    dock.advanced.stride.setValue(240)
    dock.run_button.click()
    assert not dock.panel.remedy.isHidden()
    dock.output.setFilePath(str(precious))
    assert dock.panel.remedy.isHidden()
    dock._replace(first)
    assert dock.active_run is None
    assert "output was changed" in say(dock)
    assert precious.read_bytes() == content


@pytest.mark.parametrize(
    ("change"),
    [
        lambda dock: dock.advanced.stride.setValue(60),
        lambda dock: dock.preflight.controls.bands["s2"].setText("B02=1"),
        lambda dock: dock.rasters.combos["s1"].setLayer(None),
        lambda dock: dock.area.mode.setCurrentIndex(2),
    ],
    ids=["stride", "bands", "layer", "area"],
)
def test_replacement_is_withdrawn_when_an_input_changes(dock: ClassifyDock, change) -> None:
    changed = OutputError("It holds another run.", path="/x.gpkg", changed=["stride"])
    dock._tell_error(changed)
    assert not dock.panel.remedy.isHidden()
    change(dock)
    assert dock.panel.remedy.isHidden()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("/", "is a folder"),
        ("{folder}", "is a folder"),
        ("{folder}/new/", "is a folder"),
        ("{folder}/a.shp", "must be a GeoPackage, but 'a.shp' ends in .shp"),
        ("{folder}/a.TIF", "ends in .TIF"),
        ("{folder}/a.geojson", "ends in .geojson"),
        ("{folder}/a.csv", "ends in .csv"),
        ("{folder}/a.parquet", "ends in .parquet"),
    ],
)
def test_output_that_is_no_geopackage_is_refused(
    dock: ClassifyDock, tmp_path: Path, given: str, words: str
) -> None:
    dock.output.setFilePath(given.format(folder=tmp_path))
    dock.run_button.click()
    assert dock.active_run is None
    assert words in say(dock)
    assert not list(tmp_path.glob("*.gpkg"))


def test_dots_in_a_name_are_no_suffix(dock: ClassifyDock, tmp_path: Path) -> None:
    dock.output.setFilePath(str(tmp_path / "my.scene v1.2"))
    assert dock._job().output == str(tmp_path / "my.scene v1.2.gpkg")
    dock.output.setFilePath(str(tmp_path / "MAP.GPKG"))
    assert dock._job().output == str(tmp_path / "MAP.GPKG")


@pytest.mark.parametrize("temporary", [True, False])
def test_result_does_not_follow_into_another_project(
    dock: ClassifyDock, tmp_path: Path, spin_until, finish, temporary: bool
) -> None:
    path = tmp_path / "first.gpkg"
    dock.output.setFilePath("" if temporary else str(path))
    dock.advanced.stride.setValue(8)
    dock.advanced.batch_size.setValue(8)
    dock.run_button.click()
    spin_until(lambda: layers_named("running") and layers_named("running")[0].featureCount())
    QgsProject.instance().clear()
    assert dock.active_run is not None
    QgsProject.instance().setDirty(False)
    dock.cancel_button.click()
    finish(dock)
    assert not QgsProject.instance().mapLayers()
    assert not QgsProject.instance().isDirty()
    assert "project was closed meanwhile" in say(dock)
    assert "goes on from there" in say(dock)
    assert (str(path) in say(dock)) != temporary


def test_temporary_result_of_a_closed_project_is_a_run_away(
    dock: ClassifyDock, finish, s2_path: str, s1_path: str
) -> None:
    dock.run_button.click()
    QgsProject.instance().clear()
    finish(dock)
    assert "shows the result at once" in say(dock)
    assert not QgsProject.instance().mapLayers()
    rasters = [QgsRasterLayer(s1_path, "radar"), QgsRasterLayer(s2_path, "optical")]
    QgsProject.instance().addMapLayers(rasters)
    dock.run_button.click()
    finish(dock)
    assert "nothing was computed" in say(dock)
    assert layers_named("Classified optical")[0].featureCount() == TILES


@pytest.mark.parametrize("temporary", [True, False])
def test_a_project_that_is_closed_while_the_result_is_put_in_place_gets_nothing(
    dock: ClassifyDock, tmp_path: Path, spin_until, finish, temporary: bool
) -> None:
    path = tmp_path / "first.gpkg"
    dock.output.setFilePath("" if temporary else str(path))
    dock.run_button.click()
    spin_until(lambda: dock.active_run._showing.is_running)
    QgsProject.instance().clear()
    finish(dock)
    assert not QgsProject.instance().mapLayers()
    assert "project was closed meanwhile" in say(dock)
    assert (str(path) in say(dock)) != temporary


@pytest.mark.parametrize("end", ["cancel", "shut_down"])
def test_a_run_that_is_over_but_not_yet_shown_can_be_cancelled_and_shut_down(
    dock: ClassifyDock, spin_until, finish, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    broken: list[object] = []
    monkeypatch.setattr(sys, "excepthook", lambda *problem: broken.append(problem))
    dock.run_button.click()
    spin_until(lambda: dock.active_run._showing.is_running)
    run = dock.active_run
    run._task = DeletedTask()  # As QGIS does a moment later.
    getattr(run, end)()
    if end == "cancel":
        finish(dock)
        assert layers_named("Classified optical")[0].featureCount() == TILES
    else:
        until = time.monotonic() + 0.2
        spin_until(lambda: time.monotonic() > until)
        assert not layers_named("Classified")
        dock.active_run = None
    assert not broken


def test_preview_survives_a_revert_and_leaves_no_ghost(
    dock: ClassifyDock, tmp_path: Path, spin_until, finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[object] = []
    monkeypatch.setattr(sys, "excepthook", lambda *problem: broken.append(problem))
    project = QgsProject.instance()
    dock.advanced.stride.setValue(8)
    dock.advanced.batch_size.setValue(8)
    dock.run_button.click()
    spin_until(lambda: layers_named("running"))
    preview = layers_named("running")[0].id()
    assert project.write(str(tmp_path / "saved.qgz"))
    assert project.read(str(tmp_path / "saved.qgz"))
    assert project.mapLayer(preview) is not None
    seen = dock.panel.bar.value()
    spin_until(lambda: dock.panel.bar.value() > seen + 200 or dock.active_run is None)
    dock.cancel_button.click()
    finish(dock)
    assert not broken
    clean_leftovers()
    assert project.mapLayer(preview) is None


def test_project_saved_during_a_run_opens_whole(
    dock: ClassifyDock, thesis_map: QgsVectorLayer, tmp_path: Path, finish, fake_worker,
    qgis_iface, spin_until,
) -> None:  # fmt: skip
    """Neither an empty preview nor a layer off its file; while a run writes, it is held again."""
    from mm_qgis_plugin import classFactory

    project = QgsProject.instance()
    before = identity(thesis_map)
    fake_worker("ignore_cancel")
    plugin = classFactory(qgis_iface)
    plugin.initGui()
    try:
        dock.run_button.click()
        dock.active_run._layers.begin("EPSG:32633")
        spin_until(lambda: layers_named("running"))
        assert project.write(str(tmp_path / "saved.qgz"))
        assert project.read(str(tmp_path / "saved.qgz"))
        (layer,) = layers_named("thesis")
        assert layer.providerType() == "memory", "the run goes on and writes the file"
        dock.cancel_button.click()
        finish(dock)
        assert identity(layer)[:5] == before[:5]
        del layer
        assert project.read(str(tmp_path / "saved.qgz"))
        assert not layers_named("running")
        (layer,) = layers_named("thesis")
        assert identity(layer)[:4] == before[:4]
        assert layer.featureCount() == TILES
        assert isinstance(layer.renderer(), QgsSingleSymbolRenderer)
        assert layer.attributeAlias(layer.fields().indexOf("entropy")) == "Doubt"
    finally:
        plugin.unload()


def test_waiting_rows_go_with_the_preview(
    dock: ClassifyDock, tmp_path: Path, spin_until, finish
) -> None:
    dock.advanced.stride.setValue(8)
    dock.advanced.batch_size.setValue(8)
    dock.run_button.click()
    spin_until(lambda: layers_named("running"))
    QgsProject.instance().removeMapLayer(layers_named("running")[0].id())
    layers = dock.active_run._layers
    spin_until(lambda: dock.panel.bar.value() > 16)
    spin_until(lambda: not layers._waiting, 1.0)
    assert not layers._adding.is_running
    dock.cancel_button.click()
    finish(dock)


def test_result_takes_the_place_of_the_preview(dock: ClassifyDock, spin_until, finish) -> None:
    dock.advanced.stride.setValue(30)
    dock.run_button.click()
    spin_until(lambda: layers_named("running"))
    root = QgsProject.instance().layerTreeRoot()
    group = root.addGroup("results")
    node = root.findLayer(layers_named("running")[0].id())
    group.addChildNode(node.clone())
    root.removeChildNode(node)
    group.children()[0].setItemVisibilityChecked(False)
    finish(dock)
    (layer,) = layers_named("Classified optical")
    assert [child.layerId() for child in group.children()] == [layer.id()]
    assert not group.children()[0].itemVisibilityChecked()


def test_defects_of_ours_never_leave_the_dock_busy(
    dock: ClassifyDock, finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of the test")

    places = (
        (dock, "_remember"), (dock.output, "path"), (ResultLayers, "hold"),
        (ResultLayers, "show_copy"), (ResultLayers, "begin"), (dock_module, "present"),
    )  # fmt: skip
    for owner, name in places:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, broken)
            dock.panel.say("info", "")
            dock.run_button.click()
            finish(dock)
        told = say(dock) + dock.panel.warnings.text()
        assert "of the test" in told, name
        assert "Please report it" in told, name
        assert dock.run_button.isEnabled(), name
        assert not layers_named("running"), name
    dock.run_button.click()
    finish(dock)
    assert layers_named("Classified optical")


def test_unsaved_edits_of_our_own_layer_are_asked_about(
    dock: ClassifyDock, tmp_path: Path, finish
) -> None:
    dock.output.setFilePath(str(tmp_path / "edited.gpkg"))
    dock.run_button.click()
    finish(dock)
    (layer,) = layers_named("edited")
    assert layer.startEditing()
    layer.deleteFeature(next(layer.getFeatures()).id())
    dock.confirm = lambda question: False
    dock.run_button.click()
    assert dock.active_run is None
    assert layer.isModified()
    layer.rollBack()


def test_start_over_replaces_once(dock: ClassifyDock, tmp_path: Path, finish) -> None:
    dock.output.setFilePath(str(tmp_path / "over.gpkg"))
    dock.run_button.click()
    finish(dock)
    dock.advanced.stride.setValue(240)
    dock.advanced.overwrite.setChecked(True)
    dock.run_button.click()
    finish(dock)
    assert layers_named("over")[0].featureCount() < TILES
    assert not dock.advanced.overwrite.isChecked(), "a cancelled run is to go on, not to start over"


def test_result_gets_map_tips(dock: ClassifyDock, qgis_iface, finish) -> None:
    tips = QAction()
    tips.setCheckable(True)
    dock._iface = IfaceWithTips(qgis_iface, tips)
    dock.run_button.click()
    finish(dock)
    (layer,) = layers_named("Classified optical")
    assert tips.isChecked()
    assert dock._iface.active == layer
    assert "Tile" in layer.mapTipTemplate()
    dock.run_button.click()
    finish(dock)
    assert tips.isChecked(), "a second run does not switch them off"


def test_band_map_wins_over_names(dock: ClassifyDock, finish) -> None:
    dock.preflight.controls.bands["s1"].setText("VV=9")
    dock.run_button.click()
    finish(dock)
    assert "The band map says that VV is band 9" in say(dock)
    assert "has only 2 bands" in say(dock)
    assert not layers_named("Classified")


def test_area_of_selected_polygons(dock: ClassifyDock, finish) -> None:
    areas = QgsVectorLayer("Polygon?crs=EPSG:32633", "areas", "memory")
    features = [QgsFeature(), QgsFeature()]
    for feature, x in zip(features, (345000, 346200)):
        rectangle = QgsRectangle(x - 50, 5293800 - 50, x + 50, 5293800 + 50)
        feature.setGeometry(QgsGeometry.fromRect(rectangle))
    areas.dataProvider().addFeatures(features)
    QgsProject.instance().addMapLayer(areas)
    areas.selectByIds([2])
    dock.area.mode.setCurrentIndex(dock.area.mode.findData("polygons"))
    dock.area.polygons.setLayer(areas)
    dock.area.selected_only.setChecked(True)
    dock.run_button.click()
    finish(dock)
    (layer,) = layers_named("Classified optical")
    assert [feature["tile_id"] for feature in layer.getFeatures()] == [3]


def test_drawn_rectangle_and_canvas(dock: ClassifyDock, qgis_iface) -> None:
    crs = dock.rasters.layer("s2").crs()
    qgis_iface.mapCanvas().setDestinationCrs(crs)
    dock.area.mode.setCurrentIndex(dock.area.mode.findData("drawn"))
    dock.run_button.click()
    assert "No rectangle was drawn" in say(dock)
    dock.area.draw.setChecked(True)
    tool = qgis_iface.mapCanvas().mapTool()
    tool.extentChanged.emit(QgsRectangle(345700, 5294500, 346700, 5295500))
    assert not dock.area.draw.isChecked()
    assert qgis_iface.mapCanvas().mapTool() != tool
    extent, polygons = dock.area.wkt(crs)
    assert QgsGeometry.fromWkt(extent).area() == pytest.approx(1e6)
    assert polygons is None


@pytest.fixture
def canvas(qgis_iface, dock: ClassifyDock) -> Iterator[QgsMapCanvas]:
    """A canvas in the CRS of the scene with a tool in hand, as QGIS has it."""
    canvas = qgis_iface.mapCanvas()
    canvas.setDestinationCrs(dock.rasters.layer("s2").crs())
    pan = QgsMapToolPan(canvas)
    canvas.setMapTool(pan)
    yield canvas
    dock.area.stop_drawing()
    canvas.unsetMapTool(pan)


def draw_rectangle(dock: ClassifyDock, canvas: QgsMapCanvas, rectangle: QgsRectangle) -> None:
    dock.area.mode.setCurrentIndex(dock.area.mode.findData("drawn"))
    dock.area.draw.setChecked(True)
    canvas.mapTool().extentChanged.emit(rectangle)


IN_SCENE = QgsRectangle(345700, 5294500, 346700, 5295500)


def test_drawing_gives_the_tool_back(dock: ClassifyDock, canvas: QgsMapCanvas) -> None:
    pan = canvas.mapTool()
    draw_rectangle(dock, canvas, IN_SCENE)
    assert canvas.mapTool() == pan
    dock.area.draw.setChecked(True)
    assert canvas.mapTool() != pan
    dock.area.draw.setChecked(False)
    assert canvas.mapTool() == pan
    dock.area.draw.setChecked(True)
    dock.show()
    dock.hide()
    assert canvas.mapTool() == pan
    assert not dock.area.draw.isChecked()


def test_another_tool_taken_while_drawing_stays(dock: ClassifyDock, canvas: QgsMapCanvas) -> None:
    dock.area.mode.setCurrentIndex(dock.area.mode.findData("drawn"))
    dock.area.draw.setChecked(True)
    other = QgsMapToolPan(canvas)
    canvas.setMapTool(other)
    assert canvas.mapTool() == other
    assert not dock.area.draw.isChecked()
    canvas.unsetMapTool(other)


def test_drawn_rectangle_follows_the_crs_of_the_map(
    dock: ClassifyDock, canvas: QgsMapCanvas
) -> None:
    draw_rectangle(dock, canvas, IN_SCENE)
    extent, _ = dock.area.wkt(dock.rasters.layer("s2").crs())
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
    shown = dock.area._band.asGeometry().boundingBox()
    assert shown.xMinimum() == pytest.approx(12.92, abs=0.05)
    assert shown.yMinimum() == pytest.approx(47.78, abs=0.05)
    assert dock.area.wkt(dock.rasters.layer("s2").crs()) == (extent, None)


def test_drawn_rectangle_in_degrees_has_decimals(dock: ClassifyDock, canvas: QgsMapCanvas) -> None:
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:4326"))
    draw_rectangle(dock, canvas, QgsRectangle(12.92123, 47.78123, 12.93456, 47.79456))
    assert "12.92123" in dock.area.drawn_note.text()
    assert "47.79456" in dock.area.drawn_note.text()


def test_drawn_rectangle_goes_with_its_project(dock: ClassifyDock, canvas: QgsMapCanvas) -> None:
    s2 = dock.rasters.layer("s2").crs()
    draw_rectangle(dock, canvas, IN_SCENE)
    assert dock.area._band is not None
    QgsProject.instance().clear()
    assert dock.area._band is None
    assert not dock.area.drawn_note.text()
    with pytest.raises(JobError, match="No rectangle was drawn"):
        dock.area.wkt(s2)


def test_map_without_a_crs_is_a_matter_of_the_project(
    dock: ClassifyDock, canvas: QgsMapCanvas
) -> None:
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem())
    dock.area.mode.setCurrentIndex(dock.area.mode.findData("canvas"))
    canvas.setExtent(IN_SCENE)
    dock.run_button.click()
    assert "The project has no coordinate reference system" in say(dock)
    assert "layer properties" not in say(dock)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda d, folder: d.model.folder.setFilePath(str(folder)), "is not a model folder"),
        (lambda d, folder: d.rasters.combos["s1"].setLayer(None), "No Sentinel-1 layer was chosen"),
        (
            lambda d, folder: d.preflight.controls.bands["s2"].setText("B02:1"),
            "write channel=band number",
        ),
        (lambda d, folder: d.output.setFilePath("/nowhere/out.gpkg"), "does not exist: make it"),
        (lambda d, folder: d.output.setFilePath(str(folder / "out.tif")), "must be a GeoPackage"),
        (one_raster_twice, "The same layer 'optical' was chosen for Sentinel-2 and for"),
        (swap_rasters, "The two layers are swapped: 'radar' holds Sentinel-1"),
        (
            lambda d, folder: d.advanced.python.setFilePath(str(folder / "python")),
            "does not exist: choose another",
        ),
    ],
    ids=["model", "no S1", "bands", "folder", "suffix", "twice", "swapped", "python"],
)
def test_errors_are_said_in_the_dock_and_the_message_bar(
    dock: ClassifyDock, tmp_path: Path, finish, qgis_iface, break_it, words: str
) -> None:
    break_it(dock, tmp_path)
    dock.run_button.click()
    finish(dock)
    assert words in say(dock)
    assert qgis_iface.messageBar().get_messages(2)  # Critical
    assert dock.run_button.isEnabled()
    assert not layers_named("Classified")


def test_missing_worker_offers_to_set_one_up(
    dock: ClassifyDock, finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MULTIMODAL_WORKER_PYTHON")
    dock.run_button.click()
    finish(dock)
    assert "No Python with torch" in say(dock)
    assert not dock.panel.remedy.isHidden()
    assert "Set up" in dock.panel.remedy.text()


def test_set_up_shows_its_log_and_its_failure(
    dock: ClassifyDock, spin_until, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real steps with an empty list of packages: the check at the end must then fail."""
    from mm_qgis_plugin.core.client import environment

    empty = tmp_path / "requirements.txt"
    empty.write_text("", encoding="utf-8")
    monkeypatch.setattr(environment, "REQUIREMENTS", empty)
    dock.set_up_environment()
    assert not dock.run_button.isEnabled()
    spin_until(dock.run_button.isEnabled)
    assert "lacks torch" in say(dock)
    assert not (settings.managed_environment() / "venv").exists(), "half-made"


def test_crash_of_the_worker_is_explained(dock: ClassifyDock, finish, fake_worker) -> None:
    fake_worker("crash")
    dock.run_button.click()
    finish(dock)
    assert "corrupted heap" in say(dock)
    assert not layers_named("running")


def test_worker_that_ignores_cancel_is_ended_in_time(
    dock: ClassifyDock, spin_until, finish, fake_worker
) -> None:
    fake_worker("ignore_cancel")
    dock.run_button.click()
    task = dock.active_run._task
    spin_until(lambda: task.status() == task.TaskStatus.Running)
    time.sleep(0.5)
    started = time.monotonic()
    dock.cancel_button.click()
    finish(dock)
    assert time.monotonic() - started < 2.0
    assert "Cancelled before a tile was finished" in say(dock)
    assert ".gpkg" not in say(dock), "the journal of a temporary run is nobody's business"


def test_choices_are_remembered(dock: ClassifyDock, qgis_iface, finish) -> None:
    dock.advanced.stride.setValue(60)
    dock.advanced.min_valid.setValue(50)
    dock.run_button.click()
    finish(dock)
    second = ClassifyDock(qgis_iface)
    assert second.advanced.stride.value() == 60
    assert second.advanced.min_valid.value() == 50
    assert second.device.currentData() == "cpu"
    assert second.model.path() == dock.model.path()
    second.shut_down()


@pytest.mark.parametrize("folded", [True, False])
def test_nothing_is_cut_off_at_the_smallest_width(dock: ClassifyDock, folded: bool) -> None:
    dock.advanced.setCollapsed(folded)
    dock.output.setFilePath("/a folder with a long name/and another one in it/result.gpkg")
    dock.area.mode.setCurrentIndex(dock.area.mode.findData("polygons"))
    dock.panel.say(status.ERROR, "Something is wrong with " + "a_very_long_word" * 9, "Help", print)
    dock.setFloating(True)
    dock.show()
    QApplication.processEvents()
    dock.resize(100, 500)
    QApplication.processEvents()
    assert dock.width() <= 400, "the scroll bar included"
    area = dock.findChild(QScrollArea, "multimodal_scroll")
    assert area.verticalScrollBar().isVisible()
    assert area.widget().width() <= area.viewport().width()
    buttons = [dock.run_button, dock.cancel_button, dock.panel.remedy]
    for part in (*area.widget().findChildren(QWidget), *buttons):
        if part.isVisible() and not isinstance(part.parent(), (QLineEdit, QComboBox)):
            right = part.mapTo(dock, QPoint(part.width(), 0)).x()
            assert right <= dock.width(), part.objectName()
            assert part.width() >= part.minimumSizeHint().width() - 1, part.objectName()


def test_buttons_and_messages_are_in_view_on_a_small_screen(
    dock: ClassifyDock, spin_until, finish
) -> None:
    dock.setFloating(True)
    dock.advanced.setCollapsed(False)
    dock.show()
    dock.resize(330, 440)
    dock.panel.start("Classifying")
    dock.panel.set_progress(1, 8, "1 of 8 tiles, 2.0 tiles/s")
    for number in range(12):
        dock.panel.warn(f"Warning {number} about something in one of the two rasters.")
    dock.panel.say(status.INFO, "Classifying 8 tiles on cpu")
    QApplication.processEvents()
    parts = (
        dock.run_button, dock.cancel_button, dock.panel.bar, dock.panel.progress,
        dock.panel.message,
    )  # fmt: skip
    for part in parts:
        place = part.mapTo(dock, QPoint(0, part.height()))
        assert 0 < place.y() <= dock.height() <= 440, part.objectName()
        assert not part.visibleRegion().isEmpty(), part.objectName()


def test_short_message_is_seen_whole_and_a_long_one_scrolls(dock: ClassifyDock, spin_until) -> None:
    dock.setFloating(True)
    dock.advanced.setCollapsed(False)
    dock.show()
    dock.resize(330, 300)
    dock.panel.say(status.ERROR, "Some words that do not say much. " * 4, "Replace", print)
    texts, message = dock.panel._texts, dock.panel.message
    spin_until(lambda: texts.height() >= message.heightForWidth(message.width()) > 30, 5)
    assert not texts.verticalScrollBar().isVisible()
    dock.panel.say(status.ERROR, "Some words that do not say much. " * 40)
    spin_until(texts.verticalScrollBar().isVisible, 5)
    assert dock.height() <= 400


def test_signs_are_seen_on_light_and_dark() -> None:
    for kind in (status.INFO, status.SUCCESS, status.WARNING, status.ERROR):
        image = sign(kind).toImage()
        color = image.pixelColor(3, 8)
        for ground in (QColor("#efefef"), QColor("#323232")):
            assert contrast(color, ground) > 2.2, (kind, ground.name())
        assert contrast(color, QColor("white")) > 3, "the glyph is white"


def contrast(one: QColor, other: QColor) -> float:
    """The contrast ratio of WCAG."""

    def luminance(color: QColor) -> float:
        parts = (color.redF(), color.greenF(), color.blueF())
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_warnings_stand_apart_with_a_sign(dock: ClassifyDock) -> None:
    dock.panel.start("Classifying")
    assert dock.panel.warning_row.isHidden()
    dock.panel.warn("Sentinel-2 holds no-data in 12 % of its pixels.")
    dock.panel.say(status.SUCCESS, "8 tiles classified")
    assert not dock.panel.warning_row.isHidden()
    assert (dock.panel.sign.kind, dock.panel.warning_sign.kind) == ("success", "warning")
    assert dock.panel.warnings.text() not in dock.panel.message.text()


class IfaceWithBar:
    """The test's iface with a message bar that really shows what it is given."""

    def __init__(self, iface: object) -> None:
        self._iface = iface
        self.bar = QgsMessageBar()
        self.messageBar = lambda: self.bar

    def __getattr__(self, name: str) -> object:
        return getattr(self._iface, name)


def test_our_last_message_leaves_the_bar_and_others_stay(
    dock: ClassifyDock, qgis_iface, finish, spin_until
) -> None:
    dock._iface = IfaceWithBar(qgis_iface)
    bar = dock._iface.bar
    bar.pushMessage("Other plugin", "look", Qgis.MessageLevel.Info, 0)
    combo = dock.rasters.combos["s1"]
    layer = combo.currentLayer()
    combo.setLayer(None)
    for _ in range(3):
        dock.run_button.click()
    spin_until(lambda: len(bar.items()) == 2, 5)
    combo.setLayer(layer)
    dock.run_button.click()
    spin_until(lambda: [item.title() for item in bar.items()] == ["Other plugin"], 5)
    finish(dock)
    spin_until(lambda: len(bar.items()) == 2, 5)
    assert bar.currentItem().level() == Qgis.MessageLevel.Success


def test_what_qgis_says_of_the_task_leaves_the_bar(
    dock: ClassifyDock, qgis_iface, finish, spin_until
) -> None:
    """QGIS before 3.26 puts it over our message, after a run of 5 s and more."""
    dock._iface = IfaceWithBar(qgis_iface)
    bar = dock._iface.bar

    def show_notify(task_id: int, status: int) -> None:
        task = QgsApplication.taskManager().task(task_id)
        if status in (task.TaskStatus.Complete, task.TaskStatus.Terminated):
            bar.pushMessage("Task complete", task.description(), Qgis.MessageLevel.Info)
            said.append(task.description())

    said: list[str] = []
    manager = QgsApplication.taskManager()
    manager.statusChanged.connect(show_notify)
    try:
        dock.run_button.click()
        finish(dock)
        spin_until(lambda: said, 5)
    finally:
        manager.statusChanged.disconnect(show_notify)
    assert said == ["Classifying Sentinel tiles: done"]
    spin_until(lambda: [item.title() for item in bar.items()] == ["Multimodal"], 5)
    assert bar.currentItem().level() == Qgis.MessageLevel.Success


@pytest.mark.parametrize("pixels", [400, 490, 900])
def test_message_bar_never_needs_a_second_line(pixels: int) -> None:
    bar = QgsMessageBar()
    bar.resize(pixels, 40)
    text = "The folder '/nowhere/with a name' does not exist: make it first, then run again. " * 3
    short = beginning(text, bar)
    assert short.endswith(" ...")
    assert text.startswith(short[:-4])
    assert bar.fontMetrics().horizontalAdvance(short) <= max(pixels - 300, 180)
    assert beginning("Choose a layer.", bar) == "Choose a layer."


@pytest.mark.parametrize("width", [100, 330, 420])
def test_notes_are_seen_whole_in_every_area_mode(
    dock: ClassifyDock, canvas: QgsMapCanvas, width: int
) -> None:
    dock.setFloating(True)
    dock.advanced.setCollapsed(False)
    dock.show()
    for height in (500, 1000, 700):
        dock.resize(width, height)
        for mode in range(dock.area.mode.count()):
            dock.area.mode.setCurrentIndex(mode)
            QApplication.processEvents()
            if dock.area.mode.currentData() == "drawn":
                draw_rectangle(dock, canvas, IN_SCENE)
            QApplication.processEvents()
            for label in (dock.model.summary, dock.area.drawn_note):
                wanted = label.heightForWidth(label.width()) if label.isVisible() else 0
                assert label.height() >= wanted, (label.objectName(), mode, height)


def test_model_folder_can_be_read(dock: ClassifyDock) -> None:
    dock.setFloating(True)
    dock.show()
    dock.resize(100, 500)
    QApplication.processEvents()
    assert dock.model.folder.lineEdit().width() > 110
    assert dock.model.folder.toolTip() == dock.model.path()


def test_plugin_comes_and_goes_without_a_trace(project: QgsProject, qgis_iface, spin_until) -> None:
    from mm_qgis_plugin import classFactory
    from mm_qgis_plugin.worker import session_worker

    registry = QgsApplication.processingRegistry()
    plugin = classFactory(qgis_iface)
    plugin.initGui()
    assert registry.providerById("multimodal") is not None
    assert plugin.dock is None, "the dock waits for the first click"
    plugin.action.trigger()
    assert plugin.dock is not None
    assert plugin.action.isChecked()
    plugin.dock.device.setCurrentIndex(plugin.dock.device.findData("cpu"))
    plugin.dock.advanced.stride.setValue(4)
    plugin.dock.run_button.click()
    spin_until(lambda: layers_named("running"))
    plugin.unload()
    spin_until(lambda: QgsApplication.taskManager().countActiveTasks() == 0)
    assert registry.providerById("multimodal") is None
    assert plugin.dock is None
    assert not layers_named("running")
    assert session_worker()._client is None
    plugin = classFactory(qgis_iface)
    plugin.initGui()
    plugin.unload()


def test_nothing_heavy_comes_with_the_dock(dock: ClassifyDock) -> None:
    assert not {"torch", "rasterio", "transformers"} & sys.modules.keys()


def test_no_widget_of_ours_is_a_window_of_its_own(project: QgsProject, qgis_iface) -> None:
    """What is not laid out flashes as a window and stays after the dock."""
    before = set(QApplication.topLevelWidgets())
    made = ClassifyDock(qgis_iface)
    new = [widget for widget in QApplication.topLevelWidgets() if widget not in before]
    assert [type(w).__name__ for w in new if w.windowType() != Qt.WindowType.Popup] == [
        "ClassifyDock"
    ]
    made.shut_down()
    made.deleteLater()
