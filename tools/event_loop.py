"""Measures for how long QGIS does not answer while the 8,281 rows of a full scene arrive.

Run by QGIS's Python: ``make event-loop``, or with EVENT_LOOP="--rate 0" for another rate. A window
with map, layers and the dock's status panel stands for QGIS; client, task, run and layers are the
plugin's own, the worker is flooding.py. A timer of 10 ms ticks from the order until one second
after the result is in the project; printed is the longest time between two ticks, for each of five
runs, and the median. Once with a file as the result, once with a temporary layer.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The plugin as it is linked together; the source folder of the same name has no core.
sys.path.insert(0, str(ROOT / "build" / "plugin"))

from qgis.core import QgsApplication, QgsLayerTreeModel, QgsProject, QgsRectangle  # noqa: E402
from qgis.gui import QgsLayerTreeMapCanvasBridge, QgsLayerTreeView, QgsMapCanvas  # noqa: E402
from qgis.PyQt import sip  # noqa: E402
from qgis.PyQt.QtCore import QEventLoop, Qt, QTimer  # noqa: E402
from qgis.PyQt.QtWidgets import QHBoxLayout, QWidget  # noqa: E402

from mm_qgis_plugin import task, worker  # noqa: E402
from mm_qgis_plugin.core.contract.job import ClassifyJob, RasterSource  # noqa: E402
from mm_qgis_plugin.core.contract.spec import default_spec  # noqa: E402
from mm_qgis_plugin.gui.run import Run  # noqa: E402
from mm_qgis_plugin.gui.status_panel import StatusPanel  # noqa: E402

RUNS = 5
TICK_MILLISECONDS = 10
SETTLE_SECONDS = 1.0
TILES = 8281
SCENE = QgsRectangle(300_000, 5_190_840, 409_200, 5_300_040)
WORKER_PYTHON = ROOT / ".venv" / "bin" / "python"


class Window(QWidget):
    """The parts of QGIS that work when a layer changes."""

    def __init__(self) -> None:
        super().__init__()
        root = QgsProject.instance().layerTreeRoot()
        self.canvas = QgsMapCanvas()
        self.bridge = QgsLayerTreeMapCanvasBridge(root, self.canvas)
        self.tree = QgsLayerTreeView()
        model = QgsLayerTreeModel(root, self)
        for flag in ("AllowNodeReorder", "AllowNodeChangeVisibility", "ShowLegendAsTree"):
            model.setFlag(getattr(QgsLayerTreeModel.Flag, flag))
        self.tree.setModel(model)
        self.panel = StatusPanel()
        layout = QHBoxLayout(self)
        layout.addWidget(self.tree, 1)
        layout.addWidget(self.canvas, 3)
        layout.addWidget(self.panel, 1)
        self.resize(1400, 900)

    def shut_down(self) -> None:
        """Let go of the project before QGIS does."""
        self.tree.setModel(None)
        for part in (self.bridge, self.canvas, self):
            sip.delete(part)


class Pulse:
    """A timer that remembers the longest time between two ticks."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MILLISECONDS)

    def stop(self) -> float:
        """Return the longest time in milliseconds."""
        self._tick()
        self._timer.stop()
        return 1000 * self.longest

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last)
        self._last = now


def wait_until(condition: Callable[[], object]) -> None:
    """Let Qt live as QGIS does: asleep until something happens."""
    loop, timer = QEventLoop(), QTimer()
    timer.timeout.connect(lambda: loop.quit() if condition() else None)
    timer.start(50)
    loop.exec()


def longest_stall(window: Window, output: Path, is_temporary: bool) -> float:
    """Run once, and return the longest time in milliseconds in which nothing was answered."""
    nothing = (RasterSource("none.tif"),)
    job = ClassifyJob(nothing, nothing, "none", str(output))
    run = Run(job, default_spec(), output.stem, is_temporary, window)
    ended: list[object] = []
    run.progress.connect(window.panel.set_progress)
    run.phase.connect(lambda text: window.panel.say("info", text))
    run.ended.connect(lambda summary, problem: ended.append(problem))
    pulse = Pulse()
    run.start()
    wait_until(lambda: ended)
    end = time.monotonic() + SETTLE_SECONDS
    wait_until(lambda: time.monotonic() > end and not window.canvas.isDrawing())
    longest = pulse.stop()
    assert ended == [None], ended
    assert run.layer is not None
    assert run.layer.featureCount() == TILES
    return longest


def measured(rate: float, is_temporary: bool) -> list[float]:
    """Return the longest stall of each run."""
    command = [str(WORKER_PYTHON), str(ROOT / "tools" / "flooding.py"), str(rate)]
    worker.worker_command = lambda python, main: command
    window = Window()
    window.show()
    window.canvas.setExtent(SCENE)
    stalls = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(RUNS + 1):
            output = Path(folder) / f"run {number}.gpkg"
            stalls.append(longest_stall(window, output, is_temporary))
            QgsProject.instance().clear()
            window.canvas.setExtent(SCENE)
    task.session_worker().close()
    window.shut_down()
    return stalls[1:]  # The first one loads what QGIS loads once in a session.


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1000.0, help="rows a second, 0: no limit")
    rate = parser.parse_args().rate
    application = QgsApplication([], True)
    application.initQgis()
    for kind in ("a file", "a temporary layer"):
        stalls = measured(rate, kind == "a temporary layer")
        told = ", ".join(f"{stall:.0f}" for stall in stalls)
        median = statistics.median(stalls)
        print(f"{kind}: longest stalls {told} ms, median {median:.0f} ms", flush=True)
    application.exitQgis()


if __name__ == "__main__":
    main()
