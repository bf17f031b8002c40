"""Which versions computed a result, as its file records them."""

from __future__ import annotations

import platform

import numpy
import torch

from .contract.version import version


def computing_versions() -> dict[str, str]:
    """Return the versions that numbers may depend on."""
    return {
        "multimodal": version(), "torch": torch.__version__, "numpy": numpy.__version__,
        "python": platform.python_version(),
    }  # fmt: skip
