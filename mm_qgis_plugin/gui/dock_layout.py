"""How the parts of the dock stand: choices that scroll, and below them what is always in view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgis.PyQt.QtWidgets import QGroupBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from ..about import tr
from .rasters_widget import SENSORS
from .widgets import Scrolling, form, name_children

if TYPE_CHECKING:
    from .dock import ClassifyDock


def lay_out(dock: ClassifyDock) -> Scrolling:
    """Put the parts of the dock into it; returns what scrolls."""
    body = QWidget()
    layout = QVBoxLayout(body)
    for part in (_inputs(dock), dock.preflight.panel, dock.advanced):
        layout.addWidget(part)
    layout.addStretch(1)
    name_children(
        body, "multimodal_body", output=dock.output, device=dock.device,
        run=dock.run_button, cancel=dock.cancel_button,
    )  # fmt: skip
    scroll = Scrolling(body)
    scroll.setObjectName("multimodal_scroll")
    whole = QWidget()
    halves = QVBoxLayout(whole)
    halves.setContentsMargins(0, 0, 0, 0)
    halves.setSpacing(0)
    halves.addWidget(scroll, 1)
    halves.addWidget(_foot(dock))
    dock.setWidget(whole)
    return scroll


def _inputs(dock: ClassifyDock) -> QGroupBox:
    inputs = dock.inputs = QGroupBox()
    inputs.setFlat(True)
    rows = form(inputs)
    for sensor, label in SENSORS.items():
        rows.addRow(label, dock.rasters.widgets[sensor])
    rows.addRow(QLabel(tr("Model folder")))
    rows.addRow(dock.model)
    rows.addRow(dock.model.summary)
    rows.addRow(tr("Area"), dock.area)
    rows.addRow(tr("Output"), dock.output)
    rows.addRow(tr("Device"), dock.device)
    return inputs


def _foot(dock: ClassifyDock) -> QWidget:
    """Run, Cancel and the status: below what scrolls, so that they are always in view."""
    foot = QWidget()
    below = QVBoxLayout(foot)
    row = QHBoxLayout()
    row.addWidget(dock.run_button, 1)
    row.addWidget(dock.cancel_button, 1)
    below.addLayout(row)
    below.addWidget(dock.panel)
    return foot
