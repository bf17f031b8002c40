"""The model folder, and what was understood of it."""

from __future__ import annotations

from qgis.gui import QgsFileWidget
from qgis.PyQt.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from .. import settings
from ..about import tr
from ..core.contract.errors import JobError, MultimodalError
from ..core.contract.spec import ModelSpec, read_spec
from .widgets import note

_SHOWN_METRICS = 3


class ModelWidget(QWidget):
    """A folder chooser, a button for the sample model, and a summary of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = QgsFileWidget()
        self.folder.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.folder.setDialogTitle(tr("Choose a model folder"))
        self.folder.setToolTip(tr("Folder with config.json and model.safetensors"))
        self.sample = QPushButton(tr("Sample"))
        self.sample.setToolTip(tr("Use the small model that ships with the plugin, to try it out"))
        self.sample.setVisible(settings.sample_model() is not None)
        self.summary = note()
        self._lay_out()
        self.folder.fileChanged.connect(self._show)
        self.sample.clicked.connect(self._use_sample)
        self.folder.setFilePath(settings.default_model())

    def spec(self) -> ModelSpec:
        """Return the model's description; raises MultimodalError with what is wrong."""
        if not self.path():
            raise JobError(tr("No model folder was chosen: choose one."))
        return read_spec(self.path())

    def path(self) -> str:
        """Return the folder as given."""
        return self.folder.filePath().strip()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.folder, 1)
        row.addWidget(self.sample)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.summary)

    def _use_sample(self) -> None:
        self.folder.setFilePath(str(settings.sample_model()))

    def _show(self) -> None:
        if not self.path():
            self.summary.setText("")
            return
        try:
            self.summary.setText(describe(self.spec()))
        except MultimodalError as problem:
            self.summary.setText(problem.message)


def describe(spec: ModelSpec) -> str:
    """Return classes, channels, metrics and licence of a model in four short lines."""
    kind = tr("several per tile") if spec.task == "multilabel" else tr("one per tile")
    calibrated = tr("calibrated") if spec.calibrated else tr("not calibrated")
    lines = [
        tr("{} classes, {}; probabilities {}").format(len(spec.classes), kind, calibrated),
        tr("Sentinel-2: {}").format(" ".join(spec.s2_names)),
        tr("Sentinel-1: {}").format(" ".join(spec.s1_names)),
    ]
    purpose = spec.provenance.get("purpose")
    if isinstance(purpose, str):
        lines.insert(0, purpose[:1].upper() + purpose[1:])
    metrics = [
        f"{key.replace('_', ' ')} {number:.2f}"
        for key, number in spec.metrics.items()
        if isinstance(number, float)
    ]
    if metrics:
        lines.append(tr("Scores: {}").format(", ".join(metrics[:_SHOWN_METRICS])))
    lines.append(tr("Licence: {}").format(spec.license or tr("not stated")))
    return "\n".join(lines)
