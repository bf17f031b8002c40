"""The choice of the device."""

from __future__ import annotations

from qgis.PyQt.QtWidgets import QComboBox

from .. import settings
from ..about import tr
from .widgets import choice


def device_combo() -> QComboBox:
    """Return the devices to choose from, at the one that was last chosen."""
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
