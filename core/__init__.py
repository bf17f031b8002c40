"""Sentinel-1 and Sentinel-2 fusion classification: ``from multimodal import MultiModalModel``.

Names are loaded on first use (PEP 562): QGIS imports ``core.contract`` and must never
pay for, or be harmed by, torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "MultiModalModel": ".model",
    "ModelSpec": ".contract.spec",
    "ClassifyJob": ".contract.job",
    "MultimodalError": ".contract.errors",
    "classify": ".pipeline",
    "export_onnx": ".onnx_export",
    "import_checkpoint": ".importing.importer",
    "load_model": ".checkpoint",
    "save_model": ".checkpoint",
}

__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module(".contract.version", __name__).version()
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
