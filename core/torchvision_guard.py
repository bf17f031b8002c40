"""The one door to torchvision and transformers.

torchvision wheels that are linked to CUDA cannot load their compiled operators beside a CPU
torch, and their Python side then fails with ``operator torchvision::nms does not exist``;
transformers imports torchvision and fails with it. We use no such operator, so naming the two
is enough. With a torchvision that imports by itself nothing is done here.
"""

from __future__ import annotations

import importlib
import re
import sys

import torch

_MISSING_OPERATOR = re.compile(r"operator torchvision::(nms|qnms) does not exist")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")
# A library's registrations end with the object.
_registered: list[torch.library.Library] = []


def ensure_torchvision() -> None:
    """Import torchvision, naming its missing operators first where it fails for their lack.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: it fails for another reason.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as problem:
        if not _MISSING_OPERATOR.search(str(problem)):
            raise
        _name_operators()
        _forget_half_imported()
        importlib.import_module("torchvision")


def _name_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + _SCHEMA)
    _registered.append(library)


def _forget_half_imported() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


ensure_torchvision()

from torchvision.models import get_model_weights  # noqa: E402
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.activations import ACT2FN  # noqa: E402

__all__ = [
    "ACT2FN",
    "AutoConfig",
    "BasicBlock",
    "Bottleneck",
    "DINOv3ConvNextConfig",
    "DINOv3ConvNextModel",
    "DINOv3ViTConfig",
    "DINOv3ViTModel",
    "PreTrainedModel",
    "PretrainedConfig",
    "ResNet",
    "ensure_torchvision",
    "get_model_weights",
]
