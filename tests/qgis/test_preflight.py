"""The pre-flight panel: what is understood, what must be decided, what can be corrected."""

from __future__ import annotations

import time
from copy import deepcopy
from pathlib import Path

import pytest
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsGeometry,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QEvent, Qt
from qgis.PyQt.QtWidgets import QApplication

from mm_qgis_plugin import band_memory
from mm_qgis_plugin.core.contract.errors import (
    DecisionError,
    MissingChannelsError,
    SourceError,
)
from mm_qgis_plugin.core.contract.scene_options import SceneOptions
from mm_qgis_plugin.gui.dock import ClassifyDock
from mm_qgis_plugin.gui.picks import Pick
from mm_qgis_plugin.gui.rasters_dialog import RastersDialog
from mm_qgis_plugin.processing.options import told
from mm_qgis_plugin.report import read_report
from mm_qgis_plugin.report_text import lines

OFFSET = {
    "decision": "s2_offset", "choices": [0, -1000],
    "message": "Nothing says whether the values of Sentinel-2 carry an offset.",
}  # fmt: skip


@pytest.fixture
def dock(inspecting, dock: ClassifyDock) -> ClassifyDock:
    """A dock whose worker says what a test wants, from the first look on."""
    return dock


@pytest.fixture
def known(dock: ClassifyDock, spin_until) -> ClassifyDock:
    """A dock in view whose scene was looked at by itself."""
    dock.show()
    spin_until(lambda: dock.preflight.panel.report or dock.preflight.panel.problem, 20)
    return dock


def headline(dock: ClassifyDock) -> str:
    return dock.preflight.panel.headline.text()


def idle(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def test_a_scene_is_looked_at_without_being_asked(known: ClassifyDock, inspecting) -> None:
    panel = known.preflight.panel
    assert "8 tiles, about 1 of them to be skipped." in headline(known)
    facts = dict(panel.facts.rows)
    assert "2017-06-13, L2A, 12 bands of 10 m, EPSG:32633" in facts["Sentinel-2"]
    assert "no offset: processing baseline 02.05" in facts["Sentinel-2"]
    assert "Read as dB, gamma0" in facts["Sentinel-1"]
    assert facts["Overlap"].startswith("100 %")
    assert panel.warnings.texts[0].startswith("Sentinel-2 is L1C"), "the most costly first"
    assert panel.sign.kind == "warning"
    assert panel.bands.isCollapsed()
    assert panel.bands.table.rowCount() == 14
    assert panel.bands.table.item(12, 0).text() == "VV"
    assert len(inspecting.orders) == 1


def test_a_dock_that_cannot_be_seen_asks_nothing(dock: ClassifyDock, inspecting) -> None:
    dock.advanced.stride.setValue(60)
    idle(1.0)
    assert not inspecting.orders


def test_many_changes_are_one_question(known: ClassifyDock, spin_until, inspecting) -> None:
    for stride in (10, 20, 30):
        known.advanced.stride.setValue(stride)
    spin_until(lambda: len(inspecting.orders) == 2, 10)
    idle(0.8)
    assert [order["stride"] for order in inspecting.orders] == [None, 30]


def test_what_changes_nothing_asks_nothing(known: ClassifyDock, inspecting) -> None:
    known.output.setFilePath("/tmp/elsewhere.gpkg")
    known.advanced.overwrite.setChecked(True)
    idle(1.0)
    assert len(inspecting.orders) == 1
    known.preflight.panel.check_button.click()
    idle(0.5)
    assert len(inspecting.orders) == 2, "the button always asks"


def test_a_stale_answer_is_dropped(known: ClassifyDock, spin_until, inspecting) -> None:
    inspecting.answer(report={"selected": 111}, seconds=1.0)
    known.advanced.stride.setValue(60)
    spin_until(lambda: len(inspecting.orders) == 2, 10)
    inspecting.answer(report={"selected": 222})
    known.advanced.stride.setValue(30)
    seen: list[str] = []
    known.preflight.inspector.answered.connect(lambda report, problem: seen.append(report))
    spin_until(lambda: seen, 10)
    assert [report.selected for report in seen] == [222]
    assert "222 tiles" in headline(known)
    assert inspecting.orders[-1]["stride"] == 30


def test_the_window_lives_while_the_worker_looks(known: ClassifyDock, inspecting) -> None:
    inspecting.answer(report={"selected": 5}, seconds=0.7)
    known.preflight.panel.check_button.click()
    assert "Looking at the rasters" in headline(known)
    longest, last = 0.0, time.monotonic()
    while "5 tiles" not in headline(known):
        QApplication.processEvents()
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        assert now - last < 10
        time.sleep(0.005)
    assert longest < 0.4


@pytest.mark.parametrize("report", [{}, {"s2": 3, "warnings": [None, "x", {"message": 2}]}])
def test_an_answer_that_lacks_everything_is_shown(
    dock: ClassifyDock, spin_until, inspecting, report
) -> None:
    inspecting.answer(report=report)
    dock.show()
    spin_until(lambda: dock.preflight.panel.report, 20)
    assert headline(dock) == "The rasters fit together."
    dock.preflight.panel.show_grid.setChecked(True)
    assert not dock.preflight.grid.is_shown


def test_a_decision_is_asked_with_buttons_and_checked_at_once(
    dock: ClassifyDock, spin_until, inspecting, qgis_iface
) -> None:
    inspecting.answer(decision=OFFSET, report=inspecting.full)
    dock.show()
    panel = dock.preflight.panel
    spin_until(lambda: panel.problem, 20)
    texts = [button.text() for button in panel.decision.buttons]
    assert texts == ["There is no offset (0)", "Remove the offset (-1000)"]
    assert panel.decision.question.text() == OFFSET["message"]
    frames = panel.controls._frames
    assert [name for name, frame in frames.items() if frame.is_marked] == ["s2_offset"]
    assert not panel.controls.isCollapsed()
    dock.run_button.click()
    assert dock.active_run is None
    assert "Not started: a decision is open" in dock.panel.message.text()
    assert [order["type"] for order in inspecting.orders] == ["inspect"]
    panel.decision.buttons[1].click()
    assert panel.controls.offset.currentData() == -1000
    spin_until(lambda: panel.report, 10)
    assert panel.decision.isHidden()
    assert not dock.panel.message.text(), "the reproach goes with its reason"
    assert not any(frame.is_marked for frame in frames.values())
    assert inspecting.orders[-1]["options"]["s2_offset"] == -1000.0
    dock.run_button.click()
    spin_until(lambda: dock.active_run is None, 20)
    assert inspecting.orders[-1]["type"] == "classify"
    assert inspecting.orders[-1]["options"]["s2_offset"] == -1000.0


@pytest.mark.parametrize(
    ("decision", "choices", "texts", "seen"),
    [
        ("s1_unit", ["power", "db"], ["Read it as linear power", "Read it as dB"],
         lambda order: order["options"]["s1_unit"] == "power"),
        ("mask_classes", [[3, 8, 9]], ["Reject 3,8,9"],
         lambda order: order["options"]["mask_classes"] == [3, 8, 9]),
        ("s1_bands", ["VV=1,VH=2", {"VV": 2, "VH": 1}], ["Use VV=1,VH=2", "Use VV=2,VH=1"],
         lambda order: order["s1"][0]["bands"] == {"VV": 1, "VH": 2}),
        ("fill_missing", [True], ["Fill with the training mean"],
         lambda order: order["options"]["fill_missing"]),
        ("any_pixel_size", [True], ["Take it all the same"],
         lambda order: order["options"]["any_pixel_size"]),
        ("mask_band", [2], ["Take band 2"],
         lambda order: order["mask"]["bands"] == {"CLOUD": 2}),
        ("s2_offset", [-500], ["Remove the offset (-500)"],
         lambda order: order["options"]["s2_offset"] == -500),
    ],
)  # fmt: skip
def test_every_kind_of_decision(
    known: ClassifyDock, spin_until, inspecting, decision, choices, texts, seen
) -> None:
    panel = known.preflight.panel
    if decision == "mask_band":
        panel.controls.mask.setLayer(known.rasters.layer("s2"))
        spin_until(lambda: len(inspecting.orders) == 2, 10)
    asked = len(inspecting.orders)
    panel.show_problem(DecisionError("What is it?", decision=decision, choices=choices))
    assert [button.text() for button in panel.decision.buttons] == texts
    assert panel.controls._frames[decision].is_marked
    panel.decision.buttons[0].click()
    spin_until(lambda: len(inspecting.orders) == asked + 1, 10)
    assert seen(inspecting.orders[-1])


def test_an_answer_about_one_band_leaves_what_the_user_mapped(known: ClassifyDock) -> None:
    controls = known.preflight.panel.controls
    for before, after in (
        ("B02=1,B03=2", "B02=1,B03=2,B04=7"), ("B04=3,B08=7", "B04=7"), ("nonsense", "B04=7"),
    ):  # fmt: skip
        controls.bands["s2"].setText(before)
        controls.decide("s2_bands", {"B04": 7})
        assert controls.bands["s2"].text() == after


def test_a_band_of_the_mask_is_chosen_where_there_are_several(
    dock: ClassifyDock, tmp_path: Path, s1_path: str
) -> None:
    controls = dock.preflight.controls
    assert controls.mask_band.isHidden()
    controls.mask.setLayer(dock.rasters.layer("s2"))
    assert not controls.mask_band.isHidden()
    assert controls.mask_band.maximum() == 12
    assert controls.mask_source().bands == {}
    controls.mask_band.setValue(12)
    assert controls.mask_source().bands == {"CLOUD": 12}
    controls.mask.setLayer(dock.rasters.layer("s1"))
    assert controls.mask_source().bands == {}, "that was a band of another raster"
    assert controls.mask_band.maximum() == 2


LONG = (
    "The model needs Sentinel-2 B04, B03, B02, not found. No band has a known name. Files with "
    "bands that nothing names: '/data/a.b/S2L1C.tif' (13). Say which band is which."
)


def test_answers_stand_right_below_the_first_sentence(known: ClassifyDock) -> None:
    panel = known.preflight.panel
    details = {"missing": ["B04"], "found": ["B05"], "decision": "s2_bands"}
    panel.show_problem(MissingChannelsError(LONG, **details))
    known.resize(340, 700)
    QApplication.processEvents()
    assert headline(known) == "The model needs Sentinel-2 B04, B03, B02, not found."
    assert panel.details.text().replace("\N{ZERO WIDTH SPACE}", "").endswith("band is which.")
    tops = [
        part.mapTo(panel, part.rect().topLeft()).y()
        for part in (panel.headline, *panel.decision.buttons, panel.decision.hint, panel.details)
    ]
    assert tops == sorted(tops)
    assert panel.headline.width() > panel.width() - 60, "nothing stands beside it"
    panel.show_problem(DecisionError(LONG, decision="s2_offset", choices=[0]))
    assert panel.decision.question.text() == "The model needs Sentinel-2 B04, B03, B02, not found."
    assert not panel.details.isHidden()
    panel.show_unready("Choose.")
    assert panel.details.isHidden()


@pytest.mark.parametrize("width", [321, 400])
def test_the_bands_need_no_scrolling_sideways(known: ClassifyDock, width: int) -> None:
    known.setFloating(True)
    known.resize(width, 800)
    table_width = width - 75  # what frames and the scroll bar of the dock leave
    bands = known.preflight.panel.bands
    bands.setCollapsed(False)
    QApplication.processEvents()
    table = bands.table
    table.setFixedWidth(table_width)
    QApplication.processEvents()
    assert table.horizontalHeader().length() <= table.viewport().width()
    assert not table.horizontalScrollBar().isVisible()
    for column in range(3):
        assert table.columnWidth(column) >= table.sizeHintForColumn(column)
    assert table.columnWidth(4) >= 19
    assert not table.verticalScrollBar().isVisible(), "it would take what the file name needs"
    assert table.item(0, 4).toolTip() == "/data/s2.tif"


def test_a_long_band_map_shows_its_start(dock: ClassifyDock) -> None:
    line = dock.preflight.controls.bands["s2"]
    text = ",".join(f"B{number:02}={number}" for number in range(1, 13))
    dock.preflight.controls.decide("s2_bands", text)
    assert line.cursorPosition() == 0
    assert line.toolTip().startswith(text)


def test_cloud_classes_are_ticked(known: ClassifyDock, spin_until, inspecting) -> None:
    panel = known.preflight.panel
    choices = [float(value) for value in range(12)]
    panel.show_problem(DecisionError("Cloud?", decision="mask_classes", choices=choices))
    assert [tick.text() for tick in panel.decision.ticks][-2:] == ["10", "11"]
    (take,) = panel.decision.buttons
    take.click()
    assert panel.problem is not None, "nothing was ticked"
    for number in (8, 9):
        panel.decision.ticks[number].click()
    take.click()
    spin_until(lambda: len(inspecting.orders) == 2, 10)
    assert inspecting.orders[-1]["options"]["mask_classes"] == [8, 9]


def test_measured_values_are_no_cloud_classes_to_tick(known: ClassifyDock) -> None:
    panel = known.preflight.panel
    problem = DecisionError("Cloud?", decision="mask_classes", choices=[-29.11, -28.9, 3.0])
    panel.show_problem(problem)
    assert not panel.decision.ticks
    assert not panel.decision.buttons
    assert "framed field" in panel.decision.hint.text()
    assert told(problem) == "Cloud? Set the advanced parameter MASK_CLASSES."
    problem = DecisionError("Cloud?", decision="mask_classes", choices=[0, 1, 2])
    assert told(problem).endswith("MASK_CLASSES to those that count as cloud, of: 0, 1, 2.")


def test_the_band_of_a_mask_goes_with_the_mask(dock: ClassifyDock) -> None:
    controls = dock.preflight.controls
    for let_go in (
        lambda: controls.mask.setCurrentIndex(0),
        lambda: controls.forget_scene("s2"),
        lambda: QgsProject.instance().removeMapLayer(dock.rasters.layer("s2").id()),
    ):
        controls.mask.setLayer(dock.rasters.layer("s2"))
        controls.mask_band.setValue(4)
        let_go()
        assert controls.mask_source() is None
        assert controls.mask_band.isHidden()
        assert controls.mask_band.value() == 0


def test_the_band_of_a_mask_stays_when_other_layers_come(dock: ClassifyDock, s1_path: str) -> None:
    controls = dock.preflight.controls
    controls.mask.setLayer(dock.rasters.layer("s2"))
    controls.mask_band.setValue(4)
    QgsProject.instance().addMapLayer(QgsRasterLayer(s1_path, "a first one"))
    assert controls.mask_source().bands == {"CLOUD": 4}


@pytest.mark.parametrize("text", ["B02=\N{SUPERSCRIPT TWO}", "B02", "B02=" + 5000 * "9"])
def test_a_map_that_is_not_understood_is_refused_and_not_in_force(
    known: ClassifyDock, spin_until, text: str
) -> None:
    known.preflight.controls.bands["s2"].setText(text)
    assert not known.preflight.panel.maps.texts
    spin_until(lambda: "is not understood at" in headline(known), 10)


@pytest.mark.parametrize("text", ["\N{SUPERSCRIPT TWO}", 5000 * "9"])
def test_classes_that_are_no_numbers_are_refused(
    known: ClassifyDock, spin_until, text: str
) -> None:
    known.preflight.controls.mask_classes.setText(text)
    spin_until(lambda: "not like 3,8,9,10" in headline(known), 10)


def test_plain_refusals_may_have_a_way_on(known: ClassifyDock, spin_until, inspecting) -> None:
    panel = known.preflight.panel
    missing = MissingChannelsError(
        "No B05.", missing=["B05"], found=["B04", "VV"], decision="s2_bands"
    )
    panel.show_problem(missing)
    assert (headline(known), panel.sign.kind) == ("No B05.", "error")
    assert panel.controls._frames["s2_bands"].is_marked
    assert panel.decision.question.isHidden()
    assert "Or correct it in the framed field" in panel.decision.hint.text()
    (fill,) = panel.decision.buttons
    fill.click()
    spin_until(lambda: len(inspecting.orders) == 2, 10)
    assert inspecting.orders[-1]["options"]["fill_missing"]
    panel.show_problem(SourceError("Pixels of 100 m.", decision="any_pixel_size"))
    assert [button.text() for button in panel.decision.buttons] == ["Take it all the same"]
    panel.show_problem(SourceError("Cannot be opened."))
    assert panel.decision.isHidden()


def test_usual_orders_are_offered_where_nothing_has_a_name(
    dock: ClassifyDock, spin_until, inspecting
) -> None:
    details = {"missing": ["VV", "VH"], "found": ["B04"], "decision": "s1_bands"}
    error = {"code": "missing_channels", "message": "No names.", "details": details}
    inspecting.answer(error=error)
    dock.show()
    panel = dock.preflight.panel
    spin_until(lambda: panel.problem, 20)
    texts = [button.text() for button in panel.decision.buttons]
    assert texts == ["The bands are VV, VH", "The bands are VH, VV"], "and nothing to fill from"
    inspecting.answer(error={**error, "details": {**details, "found": [], "decision": "s2_bands"}})
    panel.decision.buttons[1].click()
    spin_until(lambda: "B01" in panel.decision.buttons[0].text(), 10)
    assert inspecting.orders[-1]["s1"][0]["bands"] == {"VH": 1, "VV": 2}
    assert panel.decision.buttons[0].text() == "The bands are B01, B02, B03 ... B12"
    panel.decision.buttons[0].click()
    spin_until(lambda: len(inspecting.orders) == 3, 10)
    assert inspecting.orders[-1]["s2"][0]["bands"]["B8A"] == 9


def test_a_decision_without_choices_or_of_another_version(known: ClassifyDock) -> None:
    panel = known.preflight.panel
    panel.show_problem(DecisionError("Which band is which?", decision="s2_bands", choices=[]))
    assert "framed field" in panel.decision.hint.text()
    assert not panel.decision.hint.isHidden()
    panel.show_problem(DecisionError("New?", decision="of tomorrow", choices=["a"]))
    assert not panel.decision.buttons, "a press would change nothing"
    panel.show_problem(SourceError("Twice.", decision="bands", choices=["a.tif band 1"]))
    assert panel.decision.isHidden()
    panel.show_problem(DecisionError("Nothing at all."))


def test_a_long_answer_does_not_widen_the_dock(known: ClassifyDock) -> None:
    panel = known.preflight.panel
    bands = ",".join(f"B{number:02}={number}" for number in range(1, 13))
    panel.show_problem(DecisionError("Which?", decision="s2_bands", choices=[bands]))
    QApplication.processEvents()
    assert panel.decision.minimumSizeHint().width() < 150
    assert panel.decision.buttons[0].toolTip() == f"Use {bands}"


def test_a_run_that_needs_a_decision_asks_it_in_the_panel(
    dock: ClassifyDock, spin_until, inspecting
) -> None:
    inspecting.answer(decision=OFFSET, report={})
    dock.run_button.click()
    spin_until(lambda: dock.active_run is None, 20)
    assert OFFSET["message"] in dock.panel.message.text()
    assert len(dock.preflight.panel.decision.buttons) == 2
    dock.run_button.click()
    assert "Not started" in dock.panel.message.text()
    assert len(inspecting.orders) == 1


def test_a_refusal_is_said_in_words(dock: ClassifyDock, spin_until, inspecting) -> None:
    inspecting.answer(error={"code": "radiometry", "message": "Calibrate to sigma0 first."})
    dock.show()
    spin_until(lambda: dock.preflight.panel.problem, 20)
    assert headline(dock) == "Calibrate to sigma0 first."
    assert dock.preflight.panel.sign.kind == "error"
    assert dock.preflight.panel.facts.isHidden()
    assert not dock.preflight.panel.show_grid.isEnabled()


def test_what_is_still_to_be_chosen_is_no_error(known: ClassifyDock, spin_until) -> None:
    known.rasters.combos["s1"].setLayer(None)
    spin_until(lambda: "Choose the rasters of both sensors" in headline(known), 10)
    assert known.preflight.panel.sign.kind == "info"
    known.area.mode.setCurrentIndex(known.area.mode.findData("drawn"))
    known.rasters.combos["s1"].setLayer(QgsProject.instance().mapLayersByName("radar")[0])
    spin_until(lambda: "No rectangle was drawn" in headline(known), 10)
    assert known.preflight.panel.sign.kind == "info"
    known.area.mode.setCurrentIndex(0)
    known.preflight.controls.mask_classes.setText("clouds")
    known.rasters.combos["s1"].setLayer(QgsProject.instance().mapLayersByName("radar")[0])
    spin_until(lambda: "not like 3,8,9,10" in headline(known), 10)


def test_nothing_is_asked_while_a_run_goes_on(known: ClassifyDock, spin_until, inspecting) -> None:
    panel = known.preflight.panel
    panel.show_grid.setChecked(True)
    assert known.preflight.grid.is_shown
    inspecting.answer(report={}, seconds=1.5)
    known.run_button.click()
    assert not known.preflight.grid.is_shown, "the result comes"
    assert not panel.controls.isEnabled()
    assert not panel.check_button.isEnabled()
    known.preflight.inspector.check_again()
    idle(1.0)
    assert known.active_run is not None
    spin_until(lambda: known.active_run is None, 20)
    assert [order["type"] for order in inspecting.orders] == ["inspect", "classify"]
    assert panel.controls.isEnabled()


def test_a_run_during_a_look_leaves_no_look_going_on(
    known: ClassifyDock, spin_until, inspecting
) -> None:
    inspecting.answer(report=inspecting.full, seconds=0.6)
    known.preflight.panel.check_button.click()
    known.run_button.click()
    assert "Looking" not in headline(known)
    assert "a run goes on" in headline(known)
    spin_until(lambda: known.active_run is None, 20)
    spin_until(lambda: "8 tiles" in headline(known), 20)


def test_a_stopped_look_is_no_error_and_says_how_to_go_on(
    known: ClassifyDock, spin_until, inspecting
) -> None:
    inspecting.answer(report=inspecting.full, seconds=5)
    known.preflight.panel.check_button.click()
    spin_until(lambda: len(inspecting.orders) == 2, 10)
    QgsApplication.taskManager().cancelAll()
    spin_until(lambda: "was stopped" in headline(known), 10)
    assert known.preflight.panel.sign.kind == "info"
    assert "Press Check" in headline(known)
    inspecting.answer(report=inspecting.full)
    known.preflight.panel.check_button.click()
    spin_until(lambda: known.preflight.panel.report, 20)


def test_what_is_changed_back_is_not_asked_again(
    known: ClassifyDock, spin_until, inspecting
) -> None:
    inspecting.answer(report=inspecting.full, seconds=1.0)
    known.preflight.panel.check_button.click()
    for stride in (60, 0):
        known.advanced.stride.setValue(stride)
        known.preflight.inspector.check()
    spin_until(lambda: "8 tiles" in headline(known), 20)
    assert [order["stride"] for order in inspecting.orders] == [None, None]


@pytest.mark.parametrize("mode", ["layer", "polygons"])
def test_an_area_as_large_as_the_world_is_the_whole_scene(dock: ClassifyDock, mode: str) -> None:
    world = QgsVectorLayer("Polygon?crs=EPSG:4326", "world", "memory")
    everywhere = QgsFeature()
    everywhere.setGeometry(QgsGeometry.fromRect(QgsRectangle(-180, -90, 180, 90)))
    world.dataProvider().addFeatures([everywhere])
    world.updateExtents()
    QgsProject.instance().addMapLayer(world)
    dock.area.mode.setCurrentIndex(dock.area.mode.findData(mode))
    getattr(dock.area, mode).setLayer(world)
    job = dock.preflight._order()
    scene = QgsGeometry.fromRect(dock.rasters.layer("s2").extent())
    assert QgsGeometry.fromWkt(job.extent_wkt or job.aoi_wkt).contains(scene)


def test_options_reach_the_run_and_thresholds_are_remembered(
    dock: ClassifyDock, spin_until, inspecting, qgis_iface
) -> None:
    controls = dock.preflight.controls
    controls.offset.setCurrentIndex(controls.offset.findData(-1000.0))
    controls.unit.setCurrentIndex(controls.unit.findData("db*100"))
    controls.mask.setLayer(dock.rasters.layer("s2"))
    controls.mask_classes.setText("3, 8")
    controls.max_cloud.setValue(30)
    controls.max_days.setValue(4)
    controls.fill_missing.setChecked(True)
    controls.any_pixel_size.setChecked(True)
    dock.run_button.click()
    spin_until(lambda: dock.active_run is None, 20)
    (order,) = inspecting.orders
    assert order["options"] == {
        "s2_offset": -1000.0, "s1_unit": "db*100", "mask_classes": [3, 8], "max_cloud": 0.3,
        "fill_missing": True, "max_days": 4, "any_pixel_size": True,
    }  # fmt: skip
    assert order["mask"]["path"] == dock.rasters.layer("s2").source()
    second = ClassifyDock(qgis_iface)
    options = second.preflight.controls.options()
    assert (options.max_cloud, options.max_days) == (0.3, 4)
    assert options.s2_offset is None
    assert options.s1_unit == "auto"
    assert not options.fill_missing
    assert second.preflight.controls.mask_source() is None
    second.shut_down()


def test_decisions_go_with_their_rasters(dock: ClassifyDock, s1_path: str, s2_path: str) -> None:
    controls = dock.preflight.controls
    decide_everything(dock)
    dock.rasters.choose("s1", [Pick(path=s1_path)])
    assert controls.options().s1_unit == "auto"
    assert not controls.options().fill_missing
    assert controls.options().s2_offset == -1000, "decided about the rasters that are still chosen"
    decide_everything(dock)
    dock.rasters.choose("s2", [Pick(path=s2_path)])
    assert controls.options() == SceneOptions(s1_unit="power", max_cloud=0.3, max_days=4)
    assert controls.mask_source() is None
    assert controls.mask.currentText() == "[Automatic]"


def test_a_project_takes_its_decisions_along(
    dock: ClassifyDock, spin_until, s1_path: str, s2_path: str
) -> None:
    controls = dock.preflight.controls
    dock.rasters.choose("s1", [Pick(path=s1_path)])
    decide_everything(dock)
    controls.bands["s1"].setText("VV=2,VH=1")
    controls.bands["s2"].setText("B02=1")
    dock.panel.say("success", "The last run.")
    dock.panel.warn("A warning.")
    QgsProject.instance().clear()
    assert not dock.rasters.widgets["s1"].picks()
    assert [line.text() for line in controls.bands.values()] == ["", ""]
    assert dock.preflight.panel.maps.isHidden()
    assert controls.options() == SceneOptions(max_cloud=0.3, max_days=4)
    assert dock.panel.message_row.isHidden()
    assert dock.panel.warning_row.isHidden()
    QgsProject.instance().addMapLayer(QgsRasterLayer(s2_path, "optical"))
    assert controls.bands["s2"].text() == ""


def decide_everything(dock: ClassifyDock) -> None:
    controls = dock.preflight.controls
    for decision, value in (
        ("s2_offset", -1000), ("s1_unit", "power"), ("fill_missing", True),
        ("any_pixel_size", True), ("mask_classes", [8, 9]),
    ):  # fmt: skip
        controls.decide(decision, value)
    controls.mask.setLayer(QgsProject.instance().mapLayersByName("optical")[0])
    controls.max_cloud.setValue(30)
    controls.max_days.setValue(4)


def test_a_message_goes_with_the_rasters_of_its_run(dock: ClassifyDock, s1_path: str) -> None:
    dock.panel.say("success", "The last run.")
    dock.rasters.choose("s1", dock.rasters.picks("s1"))
    assert dock.panel.message.text() == "The last run.", "the same rasters"
    dock.rasters.choose("s1", [Pick(path=s1_path)])
    assert dock.panel.message.text() == ""


def test_a_removed_layer_leaves_nothing_in_its_place(dock: ClassifyDock, s2_path: str) -> None:
    project = QgsProject.instance()
    project.addMapLayers([QgsRasterLayer(s2_path, name) for name in ("another", "third")])
    project.removeMapLayer(dock.rasters.layer("s2").id())
    assert dock.rasters.combos["s2"].currentLayer() is None
    assert dock.rasters.combos["s2"].currentText() == ""
    mask = dock.preflight.controls.mask
    mask.setLayer(project.mapLayersByName("third")[0])
    project.removeMapLayer(mask.currentLayer().id())
    assert mask.currentLayer() is None
    assert mask.currentText() == "[Automatic]"
    assert dock.rasters.combos["s1"].currentLayer().name() == "radar"


def test_band_maps_come_back_for_rasters_of_the_same_kind(
    dock: ClassifyDock, spin_until, inspecting, tmp_path: Path, s1_path: str
) -> None:
    names = ("S1_20170613.tif", "S1_20200101.tif")
    first, second = (copy_of(s1_path, tmp_path / name) for name in names)
    line, maps = dock.preflight.controls.bands["s1"], dock.preflight.panel.maps
    dock.rasters.choose("s1", [Pick(layer_id=first)])
    line.setText("VV=1,VH=2")
    assert maps.texts == ["The band map of Sentinel-1 is in force: VV=1,VH=2."]
    dock.rasters.choose("s1", [Pick(layer_id=second)])
    assert line.text() == "VV=1,VH=2", "written for rasters of this kind"
    dock.run_button.click()
    spin_until(lambda: dock.active_run is None, 20)
    line.clear()
    assert maps.isHidden()
    dock.rasters.choose("s1", [Pick(layer_id=first)])
    assert line.text() == "VV=1,VH=2"
    assert "used before with rasters of this kind" in maps.texts[0]
    assert not maps.isHidden()


def test_a_band_map_never_rules_rasters_of_another_kind(
    dock: ClassifyDock, spin_until, inspecting, tmp_path: Path, s1_path: str
) -> None:
    first, other = (copy_of(s1_path, tmp_path / name) for name in ("S1_1.tif", "ALOS_2.tif"))
    line = dock.preflight.controls.bands["s1"]
    dock.rasters.choose("s1", [Pick(layer_id=first)])
    line.setText("VV=2,VH=1")
    dock.rasters.choose("s1", [Pick(layer_id=other)])
    assert line.text() == "", "written for other rasters"
    assert dock.preflight.panel.maps.isHidden()
    dock.run_button.click()
    spin_until(lambda: dock.active_run is None, 20)
    assert inspecting.orders[-1]["s1"][0]["bands"] == {}
    assert band_memory.recall("s1", dock.rasters.pattern("s1")) == ""
    line.setText("VV=1,VH=2")
    dock.rasters.choose("s1", [])
    assert line.text() == ""


def copy_of(path: str, name: Path) -> str:
    name.write_bytes(Path(path).read_bytes())
    layer = QgsRasterLayer(str(name), name.stem)
    QgsProject.instance().addMapLayer(layer)
    return layer.id()


def test_several_rasters_of_one_sensor(
    known: ClassifyDock, spin_until, inspecting, s1_path: str
) -> None:
    radar = known.rasters.picks("s1")[0]
    known.rasters.choose("s1", [radar, Pick(path=s1_path), Pick(path=str(Path(s1_path).parent))])
    known.preflight.controls.bands["s1"].setText("VV=1,VH=2")
    combo = known.rasters.combos["s1"]
    assert combo.currentText() == "3 rasters"
    spin_until(lambda: len(inspecting.orders) > 1 and len(inspecting.orders[-1]["s1"]) == 3, 10)
    assert [source["bands"] for source in inspecting.orders[-1]["s1"]] == [{"VV": 1, "VH": 2}] * 3
    combo.setLayer(radar.layer())
    assert known.rasters.picks("s1") == [radar]
    combo.setCurrentIndex(combo.count() - 1)
    assert len(known.rasters.picks("s1")) == 3, "they can be taken again"
    QgsProject.instance().addMapLayer(QgsRasterLayer(s1_path, "another"))
    assert len(known.rasters.picks("s1")) == 3
    QgsProject.instance().removeMapLayer(radar.layer_id)
    assert combo.currentText() == "2 rasters"
    assert all(pick.path for pick in known.rasters.picks("s1"))


def test_a_path_alone_is_enough(dock: ClassifyDock, tmp_path: Path, s2_path: str) -> None:
    dock.rasters.choose("s2", [Pick(path=s2_path)])
    assert dock.rasters.combos["s2"].currentText() == Path(s2_path).name
    assert dock.rasters.title("s2") == Path(s2_path).name
    dock.area.mode.setCurrentIndex(dock.area.mode.findData("layer"))
    dock.area.layer.setLayer(QgsProject.instance().mapLayersByName("optical")[0])
    job = dock._job()
    assert job.s2[0].path == s2_path
    assert job.extent_wkt is not None
    dock.rasters.choose("s2", [Pick(path=str(tmp_path / "gone.SAFE"))])
    dock.run_button.click()
    assert "does not exist: check the path" in dock.panel.message.text()


def test_the_list_of_rasters(dock: ClassifyDock, s2_path: str) -> None:
    picks = dock.rasters.picks("s2")
    dialog = RastersDialog("Sentinel-2", picks, dock)
    assert [dialog.list.item(row).text() for row in range(2)] == ["optical", "radar"]
    assert dialog.picks() == picks
    dialog.add_paths([s2_path, s2_path, ""])
    assert dialog.picks() == [*picks, Pick(path=s2_path)]
    dialog.list.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert dialog.picks() == [Pick(path=s2_path)]
    again = RastersDialog("Sentinel-2", dialog.picks(), dock)
    assert again.list.count() == 3
    for made in (dialog, again):
        made.deleteLater()


def test_the_tile_grid_follows_the_area_and_leaves_in_time(
    known: ClassifyDock, spin_until, qgis_iface
) -> None:
    panel, grid = known.preflight.panel, known.preflight.grid
    canvas = qgis_iface.mapCanvas()
    canvas.setDestinationCrs(known.rasters.crs("s2"))
    panel.show_grid.setChecked(True)
    assert grid.geometry().boundingBox().width() == pytest.approx(2400)
    known.area.mode.setCurrentIndex(known.area.mode.findData("drawn"))
    known.area.draw.setChecked(True)
    canvas.mapTool().extentChanged.emit(QgsRectangle(345700, 5294500, 346700, 5295500))
    spin_until(lambda: grid.geometry().boundingBox().width() < 1300, 10)
    known.hide()
    assert not grid.is_shown
    known.show()
    panel.show_grid.setChecked(True)
    assert grid.is_shown
    QgsProject.instance().clear()
    assert not grid.is_shown
    assert not panel.show_grid.isChecked()


def test_what_was_changed_elsewhere_is_seen_when_the_user_comes_back(
    known: ClassifyDock, spin_until, inspecting
) -> None:
    known.rasters.layer("s2").setCrs(QgsCoordinateReferenceSystem("EPSG:32634"))
    QApplication.sendEvent(known, QEvent(QEvent.Type.Enter))
    spin_until(lambda: len(inspecting.orders) == 2, 10)
    assert "34N" in inspecting.orders[-1]["s2"][0]["crs_wkt"]


def test_shutting_down_while_it_looks(dock: ClassifyDock, spin_until, inspecting) -> None:
    inspecting.answer(report={}, seconds=1.0)
    dock.show()
    spin_until(lambda: inspecting.orders, 20)
    answers: list = []
    dock.preflight.inspector.answered.connect(lambda *answer: answers.append(answer))
    dock.preflight.shut_down()
    idle(1.5)
    assert not answers
    QgsProject.instance().cleared.connect(dock.preflight.hide_grid)  # for the fixture's end
    QgsProject.instance().cleared.connect(dock.preflight.recall._on_cleared)
    dock.preflight.grid._canvas.destinationCrsChanged.connect(dock.preflight.grid._draw)


def test_reports_of_all_shapes_are_read(inspecting) -> None:
    def broken(value: object) -> list:
        """Return copies of the report, each with one value replaced."""
        made = []

        def walk(node: object, path: tuple) -> None:
            if isinstance(node, dict):
                for key in node:
                    walk(node[key], (*path, key))
            if path:
                copy = deepcopy(inspecting.full)
                target = copy
                for key in path[:-1]:
                    target = target[key]
                target[path[-1]] = value
                made.append(copy)

        walk(inspecting.full, ())
        return made

    for value in (None, "text", 7, [], {}, [None], True):
        for payload in broken(value):
            assert lines(read_report(payload))
