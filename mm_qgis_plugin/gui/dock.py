"""The dock: choose, run, watch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from qgis.core import Qgis, QgsApplication, QgsMessageLog, QgsVectorLayer
from qgis.gui import QgisInterface, QgsDockWidget
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from .. import settings
from ..about import LOG_TAG, display_name, icon, tr
from ..core.contract.errors import CancelledError, MultimodalError, RuntimeMissingError
from ..core.contract.job import ClassifyJob
from ..core.contract.result import RunSummary
from ..progress_text import summary_text
from ..task import EnvironmentTask
from . import status_panel as status
from .advanced_box import AdvancedBox
from .area_widget import AreaWidget
from .model_widget import ModelWidget
from .output_widget import OutputWidget
from .rasters_widget import SENSORS, RasterPair
from .result_layers import layers_of
from .run import Run
from .status_panel import StatusPanel
from .widgets import ask, choice, form, name_children

_LATER = "later.gpkg"
_WAIT_MILLISECONDS = 3000
_BAR_LENGTH = 50
_BAR_SECONDS = 15


class ClassifyDock(QgsDockWidget):
    """Everything that one run needs, from top to bottom."""

    def __init__(self, iface: QgisInterface) -> None:
        super().__init__(display_name())
        self.setObjectName("MultimodalDock")
        self.setWindowIcon(icon())
        self._iface = iface
        self.active_run: Run | None = None
        self.confirm: Callable[[str], bool] = lambda question: ask(self, question)
        self._own_layers: set[str] = set()
        self._set_up_task: EnvironmentTask | None = None
        self.rasters = RasterPair()
        self.model = ModelWidget()
        self.output = OutputWidget()
        self.area = AreaWidget(iface.mapCanvas())
        self.device = _device_combo()
        self.advanced = AdvancedBox()
        self.panel = StatusPanel()
        self.run_button = QPushButton(icon("run"), tr("Run"))
        self.cancel_button = QPushButton(tr("Cancel"))
        self._lay_out()
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.advanced.set_up.clicked.connect(self.set_up_environment)
        self._set_busy(False)

    def run(self) -> None:
        """Start a run with what is chosen; what is wrong is said at once."""
        self._start(overwrite=self.advanced.overwrite.isChecked())

    def cancel(self) -> None:
        """Stop what runs; finished tiles are kept."""
        self.cancel_button.setEnabled(False)
        if self.active_run is not None:
            self.panel.say(status.INFO, tr("Stopping; finished tiles are kept ..."))
            self.active_run.cancel()
        elif self._set_up_task is not None:
            self.panel.say(status.INFO, tr("Stopping the set-up ..."))
            self._set_up_task.cancel()

    def set_up_environment(self) -> None:
        """Make the worker environment in the background, with its log in view."""
        task = self._set_up_task = EnvironmentTask()
        task.line.connect(self.panel.add_log)
        task.ended.connect(self._on_set_up)
        self.panel.start(tr("Downloading and installing packages; this takes some minutes."))
        self._set_busy(True)
        QgsApplication.taskManager().addTask(task)

    def shut_down(self) -> None:
        """End what runs and let go of canvas and project: the plugin is being unloaded."""
        if self.active_run is not None:
            self.active_run.shut_down()
            self.active_run = None
        if self._set_up_task is not None:
            self._set_up_task.ended.disconnect(self._on_set_up)
            self._set_up_task.line.disconnect(self.panel.add_log)
            self._set_up_task.cancel()
            self._set_up_task.waitForFinished(_WAIT_MILLISECONDS)
        self.area.shut_down()
        self.rasters.disconnect()

    def _start(self, overwrite: bool) -> None:
        try:
            spec = self.model.spec()
            job = replace(self._job(), overwrite=overwrite)
        except MultimodalError as problem:
            self._tell_error(problem)
            return
        if not self._may_release(Path(job.output)):
            return
        self._remember()
        title = self.output.title(job, self.rasters.layer("s2").name())
        run = self.active_run = Run(job, spec, title, self.output.is_temporary(), self)
        run.phase.connect(lambda text: self.panel.say(status.INFO, text))
        run.progress.connect(self.panel.set_progress)
        run.warning.connect(self.panel.warn)
        run.ended.connect(self._on_ended)
        self.panel.start(tr("Starting the worker; the first time takes some seconds."))
        self._set_busy(True)
        run.start()
        # The same run again is to go on where it was stopped.
        self.advanced.overwrite.setChecked(False)

    def _may_release(self, path: Path) -> bool:
        """Ask before a layer goes that is not ours, or that has edits nobody saved."""
        layers = [
            layer
            for layer in layers_of(path)
            if layer.isModified() or layer.id() not in self._own_layers
        ]
        if not layers:
            return True
        question = tr(
            "The output file is open in the project as {}. The layer has to make room while the "
            "file is written; unsaved edits and changes of its style are lost. Go on?"
        )
        return self.confirm(question.format(", ".join(f"'{layer.name()}'" for layer in layers)))

    def _job(self) -> ClassifyJob:
        extent, polygons = self.area.wkt(self.rasters.layer("s2").crs())
        job = ClassifyJob(
            s2=(self.rasters.source("s2", self.advanced.band_map("s2")),),
            s1=(self.rasters.source("s1", self.advanced.band_map("s1")),),
            model=str(Path(self.model.path()).absolute()),
            output=_LATER,
            extent_wkt=extent,
            aoi_wkt=polygons,
            stride=self.advanced.stride.value() or None,
            device=self.device.currentData(),
            precision=self.advanced.precision.currentData(),
            batch_size=self.advanced.batch_size.value(),
            min_valid=self.advanced.min_valid.value() / 100.0,
        )
        return replace(job, output=str(self.output.path(job)))

    def _on_ended(self, summary: RunSummary | None, problem: MultimodalError | None) -> None:
        run, self.active_run = self.active_run, None
        self._present(run.layer)
        run.deleteLater()
        self._set_busy(False)
        if problem is not None:
            self._tell_error(problem)
        elif summary.state == "complete":
            short = tr("{} tiles classified, {} skipped")
            short = short.format(summary.classified, summary.skipped)
            self._tell_end(status.SUCCESS, short, summary_text(summary))
        else:
            text = tr("Stopped. {} of {} tiles are kept; the same run again goes on from there.")
            finished = summary.classified + summary.skipped
            text = text.format(finished, summary.tiles)
            self._tell_end(status.WARNING, tr("Stopped; finished tiles are kept"), text)

    def _present(self, layer: QgsVectorLayer | None) -> None:
        """Switch map tips on, which QGIS shows for the active layer alone."""
        if layer is None:
            return
        self._own_layers.add(layer.id())
        active = self._iface.activeLayer()
        if active is not None and active.isEditable():
            return  # Somebody is drawing.
        self._iface.setActiveLayer(layer)
        if not self._iface.actionMapTips().isChecked():
            self._iface.actionMapTips().trigger()

    def _on_set_up(self, python: str | None, problem: MultimodalError | None) -> None:
        self._set_up_task = None
        self._set_busy(False)
        if problem is not None:
            self._tell_error(problem)
            return
        self.advanced.python.setFilePath("")
        self.advanced.remember_python()
        text = tr("The worker environment is ready: press Run.")
        self._tell_end(status.SUCCESS, text, text)

    def _tell_end(self, kind: str, short: str, text: str) -> None:
        self.panel.say(kind, text)
        level = Qgis.MessageLevel.Success if kind == status.SUCCESS else Qgis.MessageLevel.Warning
        self._push(short, level)
        QgsMessageLog.logMessage(text, LOG_TAG, Qgis.MessageLevel.Info)

    def _tell_error(self, problem: MultimodalError) -> None:
        cancelled = isinstance(problem, CancelledError)
        kind = status.WARNING if cancelled else status.ERROR
        self.panel.say(kind, problem.message, *self._remedy(problem))
        level = Qgis.MessageLevel.Warning if cancelled else Qgis.MessageLevel.Critical
        self._push(_beginning(problem.message), level, problem.message)
        details = str(problem.details.get("traceback", ""))
        QgsMessageLog.logMessage(f"{problem.message}\n{details}".strip(), LOG_TAG, level)

    def _push(self, text: str, level: Qgis.MessageLevel, more: str = "") -> None:
        # An empty text would still get a "Show more" button.
        texts = (text, more) if more else (text,)
        self._iface.messageBar().pushMessage(LOG_TAG, *texts, level, _BAR_SECONDS)

    def _remedy(self, problem: MultimodalError) -> tuple:
        if isinstance(problem, RuntimeMissingError):
            return tr("Set up worker environment"), self.set_up_environment
        if "changed" in problem.details:  # The file holds another run of ours.
            return tr("Replace the file and run"), lambda: self._start(overwrite=True)
        return ()

    def _set_busy(self, busy: bool) -> None:
        for part in (self.inputs, self.advanced, self.run_button):
            part.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        if not busy:
            self.panel.show_idle()

    def _remember(self) -> None:
        settings.remember(settings.MODEL, self.model.path())
        settings.remember(settings.DEVICE, self.device.currentData())
        self.advanced.remember()

    def _lay_out(self) -> None:
        self.inputs = QGroupBox()
        self.inputs.setFlat(True)
        rows = form(self.inputs)
        for sensor, label in SENSORS.items():
            rows.addRow(label, self.rasters.combos[sensor])
        rows.addRow(tr("Model folder"), self.model)
        rows.addRow(self.model.summary)
        rows.addRow(tr("Area"), self.area)
        rows.addRow(tr("Output"), self.output)
        rows.addRow(tr("Device"), self.device)
        body = QWidget()
        layout = QVBoxLayout(body)
        layout.addWidget(self.inputs)
        layout.addWidget(self.advanced)
        layout.addLayout(self._buttons())
        layout.addWidget(self.panel)
        layout.addStretch(1)
        self.setWidget(_scrolling(body))
        name_children(
            body, "multimodal_body", output=self.output, device=self.device,
            run=self.run_button, cancel=self.cancel_button,
        )  # fmt: skip

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.addWidget(self.run_button, 1)
        row.addWidget(self.cancel_button, 1)
        return row


def _beginning(text: str) -> str:
    """Return the first words: the message bar cuts longer texts off without a sign."""
    line = text.splitlines()[0]
    return line if len(line) <= _BAR_LENGTH else line[:_BAR_LENGTH].rsplit(" ", 1)[0] + " ..."


def _scrolling(body: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(body)
    return area


def _device_combo():
    combo = choice(
        (
            (tr("Automatic"), "auto"),
            (tr("NVIDIA GPU (CUDA)"), "cuda"),
            (tr("Apple GPU (MPS)"), "mps"),
            (tr("CPU"), "cpu"),
        )
    )
    combo.setCurrentIndex(max(0, combo.findData(settings.value(settings.DEVICE, "auto"))))
    combo.setToolTip(tr("Automatic takes a GPU where there is one, else the CPU"))
    return combo
