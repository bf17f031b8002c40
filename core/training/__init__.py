"""Training; needs the extra ``train``: ``pip install 'mm-sentinel-fusion[train]'``.

Names are loaded on first use (PEP 562), so that nothing but training pays for Lightning.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_EXPORTS = {
    "AveragePrecision": ".metrics",
    "MultiModalLightningModule": ".lightning_module",
    "embed": ".geoparquet",
    "evaluate": ".evaluation",
    "preview_labels": ".probe",
    "train": ".probe",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name], __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
