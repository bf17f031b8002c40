"""Runs inside QGIS desktop (``qgis --code``): clicks through the dock and takes pictures.

Reads a JSON order from MULTIMODAL_DESKTOP_ORDER, writes what it saw to the file named there.
An exception in a --code script would leave QGIS hanging, so everything ends in a result.
"""

import json
import os
import time
import traceback
from pathlib import Path

import processing
from qgis.core import (
    NULL,
    QgsApplication,
    QgsContrastEnhancement,
    QgsFeature,
    QgsMultiBandColorRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsRasterMinMaxOrigin,
)
from qgis.PyQt.QtCore import QPoint, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import (
    QAction,
    QDockWidget,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QWidget,
)
from qgis.utils import iface, plugins

ORDER = json.loads(os.environ["MULTIMODAL_DESKTOP_ORDER"])
PICTURES = Path(ORDER["pictures"])
WAIT_SECONDS = 180.0
RGB = (4, 3, 2)


def wait_for(condition, what: str) -> None:
    """Let QGIS live until ``condition`` holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for: {what}")
        QgsApplication.processEvents()
        time.sleep(0.01)


def settle(seconds: float = 1.0) -> None:
    """Give QGIS time to draw."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end and not iface.mapCanvas().isDrawing(), "drawing")


def picture(name: str) -> None:
    """Save what the user sees."""
    iface.mainWindow().grab().save(str(PICTURES / f"{name}.png"))


def load_rasters() -> None:
    s1 = QgsRasterLayer(ORDER["s1"], "Sentinel-1 VV VH")
    s2 = QgsRasterLayer(ORDER["s2"], "Sentinel-2")
    s2.setRenderer(QgsMultiBandColorRenderer(s2.dataProvider(), *RGB))
    s2.setContrastEnhancement(
        QgsContrastEnhancement.ContrastEnhancementAlgorithm.StretchToMinimumMaximum,
        QgsRasterMinMaxOrigin.Limits.CumulativeCut,
    )
    QgsProject.instance().addMapLayers([s2, s1])
    iface.mapCanvas().setExtent(s2.extent().buffered(900))
    iface.mapCanvas().refresh()


def open_dock():
    action = iface.mainWindow().findChild(QAction, "multimodal_classify")
    action.trigger()
    dock = plugins["mm_qgis_plugin"].dock
    iface.mainWindow().resizeDocks([dock], [400], Qt.Orientation.Horizontal)
    return dock


def preflight(dock, seen: dict) -> None:
    """What is understood, by itself; with the tile grid, the bands and the corrections."""
    panel = dock.preflight.panel
    wait_for(lambda: panel.report is not None, "what is understood")
    panel.show_grid.setChecked(True)
    seen["understood"] = panel.headline.text()
    seen["facts"] = dict(panel.facts.rows)
    show_from_top(dock, panel)
    picture("preflight")
    panel.bands.setCollapsed(False)
    panel.controls.setCollapsed(False)
    settle()
    show_from_top(dock, panel.bands)
    picture("preflight_unfolded")
    panel.bands.setCollapsed(True)
    panel.controls.setCollapsed(True)
    settle()


def show_from_top(dock, part) -> None:
    """Scroll the dock until this part stands at its top."""
    scroll = dock.findChild(QScrollArea, "multimodal_scroll")
    scroll.verticalScrollBar().setValue(part.mapTo(scroll.widget(), part.rect().topLeft()).y())
    settle()


def cancelled_run(dock, seen: dict) -> None:
    """Many overlapping tiles, stopped in the middle."""
    dock.advanced.stride.setValue(4)
    press(dock.run_button)
    # Not by the bar: it begins where the run of before was cancelled.
    wait_for(lambda: rows_of("running") > 0, "tiles")
    settle(1.5)
    picture("running")
    seen["tasks_while_running"] = task_names()
    task_bar = child(iface.mainWindow(), "QgsTaskManagerStatusBarWidget")
    task_bar.click()
    settle(5.0)  # from 5 s on, QGIS before 3.26 tells the end of a task
    picture("task_bar")
    task_bar.click()
    started = time.monotonic()
    press(dock.cancel_button)
    wait_for(lambda: dock.active_run is None, "the end of the cancelled run")
    seen["cancel_seconds"] = time.monotonic() - started
    seen["kept"] = result_layer("incomplete").featureCount()
    seen["cancel_message"] = dock.panel.message.text()
    settle()
    seen["on_the_bar"] = on_the_bar()
    picture("cancelled")
    QgsProject.instance().removeMapLayer(result_layer("incomplete").id())


def complete_run(dock, seen: dict) -> None:
    """The usual run, into a file."""
    dock.advanced.stride.setValue(0)
    dock.output.setFilePath(ORDER["output"])
    press(dock.run_button)
    wait_for(lambda: dock.active_run is None, "the end of the run")
    layer = result_layer(Path(ORDER["output"]).stem)
    seen["features"] = layer.featureCount()
    seen["legend"] = [item.label() for item in layer.renderer().legendSymbolItems()]
    seen["message"] = dock.panel.message.text()
    seen["tiles"] = {feature["tile_id"]: values_of(feature) for feature in layer.getFeatures()}
    seen["active"] = iface.activeLayer().name()
    seen["map_tips"] = iface.actionMapTips().isChecked() and bool(layer.mapTipTemplate())
    settle(2.0)
    picture("finished")
    map_tip(seen)


def failed_run(dock, seen: dict) -> None:
    """A model folder that is none."""
    dock.model.folder.setFilePath(ORDER["pictures"])
    press(dock.run_button)
    seen["error"] = dock.panel.message.text()
    dock.advanced.setCollapsed(False)
    settle()
    picture("error")
    dock.advanced.setCollapsed(True)


def small_screen(dock, seen: dict) -> None:
    """The smallest window and dock, everything unfolded, while it runs and after an error."""
    iface.mainWindow().setGeometry(0, 0, 1024, 700)
    dock.advanced.setCollapsed(False)
    iface.mainWindow().resizeDocks([dock], [100], Qt.Orientation.Horizontal)
    dock.output.setFilePath("/nowhere at all, but with a long name/tiles.gpkg")
    press(dock.run_button)
    settle()
    picture("small_error")
    seen["cut_off"] = [*cut_off(dock)]
    dock.output.setFilePath("")
    dock.advanced.stride.setValue(6)
    press(dock.run_button)
    wait_for(lambda: dock.panel.bar.value() > 20, "tiles")
    settle()
    picture("small_running")
    seen["cut_off"] += cut_off(dock)
    press(dock.cancel_button)
    wait_for(lambda: dock.active_run is None, "the end of the cancelled run")
    dock.advanced.stride.setValue(0)
    dock.advanced.setCollapsed(True)
    QgsProject.instance().removeMapLayer(result_layer("incomplete").id())
    iface.mainWindow().setGeometry(0, 0, 1400, 900)
    iface.mainWindow().resizeDocks([dock], [400], Qt.Orientation.Horizontal)
    layers = iface.mainWindow().findChild(QDockWidget, "Layers")
    iface.mainWindow().resizeDocks([layers], [300], Qt.Orientation.Horizontal)
    settle()


def all_areas(dock, seen: dict) -> None:
    """Every way to choose an area, at both widths of the dock: no line of a note is cut off."""
    seen["notes_cut_off"] = []
    for width in (100, 400):
        iface.mainWindow().resizeDocks([dock], [width], Qt.Orientation.Horizontal)
        for mode in range(dock.area.mode.count()):
            dock.area.mode.setCurrentIndex(mode)
            if dock.area.mode.currentData() == "drawn":
                dock.area.draw.setChecked(True)
                extent = dock.rasters.layer("s2").extent().buffered(-300)
                iface.mapCanvas().mapTool().extentChanged.emit(extent)
                dock.advanced.setCollapsed(False)
            settle(0.3)
            seen["notes_cut_off"] += notes_cut_off(dock)
            if dock.area.mode.currentData() == "drawn":
                picture(f"drawn_{width}")
                dock.advanced.setCollapsed(True)
    dock.area.mode.setCurrentIndex(0)
    settle(0.3)


def cut_off(dock) -> list[str]:
    """Return what of the dock should be in view and is not."""
    parts = [dock.run_button, dock.cancel_button, dock.panel.message, dock.output, dock.device]
    if dock.active_run is not None:
        parts += [dock.panel.bar, dock.panel.progress]
    missing = []
    for part in parts:
        corner = part.mapTo(dock, part.rect().bottomRight())
        scrolls = part in (dock.output, dock.device)
        if corner.x() > dock.width() or (corner.y() > dock.height() and not scrolls):
            missing.append(f"{part.objectName()} {corner.x()}, {corner.y()}")
    return missing + notes_cut_off(dock)


def notes_cut_off(dock) -> list[str]:
    """Return the notes that lack height for a line of theirs."""
    missing = []
    for label in (dock.model.summary, dock.area.drawn_note, dock.panel.message):
        if label.isVisible() and label.height() < label.heightForWidth(label.width()):
            missing.append(f"{label.objectName()} {label.width()} x {label.height()}")
    return missing


def map_tip(seen: dict) -> None:
    """Rest with the mouse on a tile."""
    canvas = iface.mapCanvas()
    place = canvas.rect().center() + QPoint(-60, 20)
    QTest.mouseMove(canvas.viewport(), place - QPoint(9, 9))
    QTest.mouseMove(canvas.viewport(), place)
    wait_for(lambda: child(canvas, "WebView") is not None, "the map tip")
    settle(0.5)
    seen["tip"] = [child(canvas, "WebView").width(), child(canvas, "WebView").height()]
    picture("tip_on_map")


def toolbox(seen: dict) -> None:
    """The dialog of the algorithm, all of it unfolded."""
    dialog = processing.createAlgorithmDialog("multimodal:classify")
    dialog.resize(900, 750)
    dialog.show()
    advanced = dialog.findChild(QWidget, "grpAdvanced")
    advanced.setProperty("collapsed", False)
    settle(0.5)
    texts = [label.text() for label in advanced.findChildren(QLabel)]
    seen["advanced"] = [text for text in texts if text.startswith("Journal")]
    lines = [line.placeholderText() for line in dialog.findChildren(QLineEdit)]
    seen["skipped_outputs"] = [text for text in lines if "Skip" in text]
    area = dialog.findChild(QScrollArea)
    area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())
    settle(0.5)
    dialog.grab().save(str(PICTURES / "toolbox.png"))
    dialog.close()


def child(parent: QWidget, name: str):
    """Return a visible child of a class that Python has no name for, None where there is none."""
    for widget in parent.findChildren(QWidget):
        if name in widget.metaObject().className() and widget.isVisible():
            return widget
    return None


def task_names() -> list[str]:
    return [task.description() for task in QgsApplication.taskManager().activeTasks()]


def on_the_bar() -> list[str]:
    return [item.title() for item in iface.messageBar().items()]


def values_of(feature: QgsFeature) -> list:
    """Return the status and every probability, None where there is none."""
    names = [field.name() for field in feature.fields() if field.name().startswith("p_")]
    values = [feature[name] for name in names]
    return [feature["status"], *(None if value == NULL else value for value in values)]


def press(button: QPushButton) -> None:
    """Click where a user would: a button that is hidden or disabled does nothing."""
    assert button.isVisible(), button.objectName()
    assert button.isEnabled(), button.objectName()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def rows_of(part: str) -> int:
    layers = QgsProject.instance().mapLayers().values()
    return sum(layer.featureCount() for layer in layers if part in layer.name())


def result_layer(part: str):
    found = [layer for layer in QgsProject.instance().mapLayers().values() if part in layer.name()]
    if not found:
        raise AssertionError(f"no layer named like '{part}'")
    return found[0]


def session() -> dict:
    window = iface.mainWindow()
    window.showNormal()
    window.setGeometry(0, 0, 1400, 900)
    window.findChild(QDockWidget, "Browser").hide()  # room for the legend
    load_rasters()
    seen: dict = {}
    dock = open_dock()
    seen["guessed"] = [dock.rasters.layer(sensor).name() for sensor in ("s2", "s1")]
    settle()
    picture("dock")
    seen["dock_width"] = dock.width()
    preflight(dock, seen)
    all_areas(dock, seen)
    small_screen(dock, seen)
    cancelled_run(dock, seen)
    complete_run(dock, seen)
    failed_run(dock, seen)
    toolbox(seen)
    return seen


def main() -> None:
    try:
        outcome = {"seen": session()}
    except BaseException:  # noqa: BLE001  # told to the test, which fails
        picture("failure")
        outcome = {"failure": traceback.format_exc()}
    Path(ORDER["result"]).write_text(json.dumps(outcome, indent=1), encoding="utf-8")
    # A scratch layer that is still there makes QGIS ask, and hang.
    QgsProject.instance().clear()
    QTimer.singleShot(500, QgsApplication.exit)


QTimer.singleShot(3000, main)
