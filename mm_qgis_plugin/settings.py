"""What the plugin remembers, and the folders it uses outside its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from qgis.core import QgsSettings
from qgis.PyQt.QtCore import QStandardPaths

from .about import FOLDER

WORKER_PYTHON = "worker_python"
MODEL = "model"
DEVICE = "device"
STRIDE = "stride"
BATCH_SIZE = "batch_size"
MIN_VALID = "min_valid"
PRECISION = "precision"
MAX_CLOUD = "max_cloud_percent"
MAX_DAYS = "max_days"

_GROUP = "multimodal"
_PYTHON_VARIABLE = "MULTIMODAL_WORKER_PYTHON"
_DATA_VARIABLE = "MULTIMODAL_DATA_DIR"


def value(key: str, default: Any) -> Any:
    """Return a remembered value, in the type of ``default``."""
    return QgsSettings().value(f"{_GROUP}/{key}", default, type=type(default))


def remember(key: str, content: Any) -> None:
    """Keep a value for the next session."""
    QgsSettings().setValue(f"{_GROUP}/{key}", content)


def worker_python() -> str | None:
    """Return the interpreter that the user or the environment variable names, if any."""
    return value(WORKER_PYTHON, "") or os.environ.get(_PYTHON_VARIABLE) or None


def data_folder() -> Path:
    """Return the user's data folder of this plugin: no upgrade and no profile touches it."""
    given = os.environ.get(_DATA_VARIABLE)
    if given:
        return Path(given)
    location = QStandardPaths.StandardLocation.GenericDataLocation
    return Path(QStandardPaths.writableLocation(location)) / "multimodal-sentinel"


def managed_environment() -> Path:
    """Return the folder of the worker environment that the plugin makes."""
    return data_folder() / "environment"


def sample_model() -> Path | None:
    """Return the folder of the model that ships with the plugin, where it does."""
    folder = FOLDER / "sample_model"
    return folder if (folder / "config.json").is_file() else None


def default_model() -> str:
    """Return the model folder to offer: the last one that still exists, else the sample."""
    last = value(MODEL, "")
    if last and os.path.isdir(last):
        return last
    sample = sample_model()
    return str(sample) if sample else ""
