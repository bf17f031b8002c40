"""The one door to Lightning and torchmetrics, which are an extra."""

from __future__ import annotations

from ..contract.errors import RuntimeMissingError
from ..torchvision_guard import ensure_torchvision

# torchmetrics imports torchvision: where that fails by itself, only the guard makes it work.
ensure_torchvision()

try:
    import pytorch_lightning as pl
    from torchmetrics import Metric
    from torchmetrics.functional.classification import multilabel_average_precision
    from torchmetrics.utilities import dim_zero_cat
except ImportError as problem:
    raise RuntimeMissingError(
        f"Training needs PyTorch Lightning, which this Python does not have ({problem}). Install "
        "it: pip install 'mm-sentinel-fusion[train]' (or pip install pytorch-lightning).",
        package="pytorch-lightning",
    ) from problem

__all__ = ["Metric", "dim_zero_cat", "multilabel_average_precision", "pl"]
