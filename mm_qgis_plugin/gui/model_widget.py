"""The model folder, and what was understood of it."""

from __future__ import annotations

from qgis.gui import QgsFileWidget
from qgis.PyQt.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from .. import settings
from ..about import tr
from ..core.contract.errors import JobError, MultimodalError
from ..core.contract.model_folder import read_spec
from ..core.contract.spec import ModelSpec
from .widgets import name_children, note, set_tip

_ERROR_STYLE = "color: #c0392b"  # readable on light and on dark themes
_PURPOSE = 200
_MOST = 1500  # characters of each line of a tooltip
_SHORT = 60  # characters of a licence that fit on a line of the dock


class ModelWidget(QWidget):
    """A folder chooser with a button for the sample model; ``summary`` is laid out by the dock."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = QgsFileWidget()
        self.folder.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.folder.setDialogTitle(tr("Choose a model folder"))
        self.sample = QPushButton(tr("Sample"))
        self.sample.setToolTip(tr("Use the small model that ships with the plugin, to try it out"))
        self.sample.setVisible(settings.sample_model() is not None)
        self.summary = note()
        self._lay_out()
        self.folder.setFilePath(settings.default_model())
        self.folder.fileChanged.connect(self._show)
        self.sample.clicked.connect(self._use_sample)
        self._show()

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
        name_children(
            self, "multimodal_model", folder=self.folder, sample=self.sample, summary=self.summary
        )

    def _use_sample(self) -> None:
        self.folder.setFilePath(str(settings.sample_model()))

    def _show(self) -> None:
        set_tip(self.folder, self.path() or tr("Folder with config.json and model.safetensors"))
        self.summary.setToolTip("")
        self.summary.setVisible(bool(self.path()))
        try:
            spec = self.spec()
        except MultimodalError as problem:
            self.summary.setText(problem.message)
            self.summary.setStyleSheet(_ERROR_STYLE)
            return
        self.summary.setText(describe(spec))
        self.summary.setStyleSheet("")
        set_tip(self.summary, describe_at_length(spec))


def describe(spec: ModelSpec) -> str:
    """Return purpose, classes, channels, scores and licence of a model in a few short lines."""
    kind = tr("several per tile") if spec.task == "multilabel" else tr("one per tile")
    calibrated = tr("calibrated") if spec.calibrated else tr("not calibrated")
    purpose = str(spec.provenance.get("purpose", ""))[:_PURPOSE]
    lines = [
        purpose[:1].upper() + purpose[1:],
        tr("{} classes, {}; probabilities {}").format(len(spec.classes), kind, calibrated),
        tr("Needs {} Sentinel-2 channels and {}").format(len(spec.s2), ", ".join(spec.s1_names)),
        _scores(spec),
        tr("Licence: {}").format(_short(spec.license) or tr("not stated")),
    ]
    return "\n".join(filter(None, lines))


def describe_at_length(spec: ModelSpec) -> str:
    """Return what :func:`describe` had to leave out."""
    channels = f"{', '.join(spec.s2_names)}; {', '.join(spec.s1_names)}"
    metrics = ", ".join(f"{key}: {value}" for key, value in spec.metrics.items())
    lines = (
        tr("Channels: {}").format(channels),
        tr("Classes: {}").format("; ".join(spec.class_names)),
        tr("Metrics: {}").format(metrics or tr("none")),
        tr("Licence: {}").format(spec.license or tr("not stated")),
    )
    return "\n".join(line if len(line) <= _MOST else f"{line[:_MOST]} ..." for line in lines)


def _scores(spec: ModelSpec) -> str:
    """Average precision beside what chance would give, where the model folder tells."""
    parts = []
    for average in ("micro", "macro"):
        score, chance = (spec.metrics.get(f"{average}_{key}") for key in ("ap", "prevalence"))
        if isinstance(score, float):
            text = tr("{} AP {:.2f}").format(average, score)
            parts.append(
                text + (tr(" (chance {:.2f})").format(chance) if isinstance(chance, float) else "")
            )
    return tr("Scores: {}").format(", ".join(parts)) if parts else ""


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else text.split("(")[0].strip()[:_SHORT]
