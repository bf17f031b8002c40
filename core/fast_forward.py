"""The same network computed faster: BatchNorm within convolutions, channels last, fewer bits."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .devices import BF16, FP16, FP32, TF32
from .model import MultiModalModel
from .torchvision_guard import BasicBlock, Bottleneck

DTYPES = {FP32: torch.float32, TF32: torch.float32, BF16: torch.bfloat16, FP16: torch.float16}
_RGB = 3


@dataclass(frozen=True)
class Way:
    """How a network is computed: with which numbers, and whether its layers are rearranged."""

    precision: str
    is_fused: bool = False

    @property
    def name(self) -> str:
        """What is shown and remembered: ``bf16 fused``."""
        return f"{self.precision} fused" if self.is_fused else self.precision


class FastForward(nn.Module):
    """A network for inference alone, made from a model that stays as it is.

    The ResNet has its BatchNorm folded into the convolutions and its pixels stored channels last;
    both backbones are computed in ``way.precision``; fusion and classifier stay in float32. What
    needs no copy is shared with the model.
    """

    def __init__(self, model: MultiModalModel, way: Way) -> None:
        super().__init__()
        self.dtype = DTYPES[way.precision]
        self.rgb_input = model.dinov3_backbone.rgb_input  # before rounding
        self.dinov3 = _rounded(model.dinov3_backbone, self.dtype)
        self.resnet = folded(model.resnet_backbone).to(self.dtype)
        _store_channels_last(self.resnet)
        self.fusion, self.classifier = model.fusion, model.classifier
        self.eval()

    def forward(self, s1_data: Tensor, s2_data: Tensor) -> Tensor:
        """Return raw logits (B, classes) in float32; as :meth:`MultiModalModel.forward`."""
        rgb = self.rgb_input(s2_data[:, :_RGB]).to(self.dtype)
        rest = torch.cat((s2_data[:, _RGB:], s1_data), dim=1)
        rest = rest.to(dtype=self.dtype, memory_format=torch.channels_last)
        seen = self.dinov3(rgb).float(), self.resnet(rest).float()
        logits: Tensor = self.classifier(self.fusion(*seen))
        return logits


def build(model: MultiModalModel, way: Way) -> nn.Module:
    """Return the network that goes a way; the model itself for the plain one."""
    return FastForward(model, way) if way.is_fused else model


def _rounded(backbone: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a backbone in a number format, without what prepares its input; shares the rest."""
    is_same = dtype is torch.float32
    shared = (*backbone.parameters(), *backbone.buffers()) if is_same else ()
    twin = copy.deepcopy(backbone, {id(tensor): tensor for tensor in shared})
    twin.rgb_input = nn.Identity()
    return twin.to(dtype)


def _store_channels_last(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def folded(network: nn.Module) -> nn.Module:
    """Return a copy of a ResNet in evaluation mode, each BatchNorm within its convolution."""
    twin = copy.deepcopy(network).eval()  # only then a fold is the same
    _fold(twin, "conv1", "bn1")
    for block in twin.modules():
        if isinstance(block, (BasicBlock, Bottleneck)):
            for number in (1, 2, 3) if isinstance(block, Bottleneck) else (1, 2):
                _fold(block, f"conv{number}", f"bn{number}")
            if block.downsample is not None:
                _fold(block.downsample, "0", "1")
    return twin.eval()


def _fold(parent: nn.Module, convolution: str, norm: str) -> None:
    parts = parent._modules
    before, after = parts[convolution], parts[norm]
    assert isinstance(before, nn.Conv2d)
    assert isinstance(after, nn.BatchNorm2d)
    parts[convolution] = fuse_conv_bn_eval(before, after)
    parts[norm] = nn.Identity()
