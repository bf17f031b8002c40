"""The branch of the non-RGB channels: torchvision's ResNet with any width and input."""

from __future__ import annotations

from collections.abc import Sequence
from pickle import UnpicklingError  # nosec B403: its name alone, to tell of what torch refuses

import torch
from torch import Tensor, nn

from ..config import ALL_BUT_STEM, RESNETS, ResNetConfig
from ..contract.errors import ConfigError, WeightsUnavailableError
from ..torchvision_guard import BasicBlock, Bottleneck, ResNet, get_model_weights
from .freezing import Freezable
from .resnet_weights import (
    CONV1,
    OPTIONAL,
    Checkpoint,
    fit_conv1,
    read_checkpoint,
    widen_conv1,
)
from .weight_files import check_fit

STEM = ("conv1", "bn1")
_STOCK_WIDTH = 64
_KEY = "backbones.resnet101"


class ScaledResNet(ResNet):
    """A ResNet without ``fc`` whose planes are ``width`` / 64 of torchvision's.

    Names in the state dict are torchvision's; at width 64 so are all numbers.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: Sequence[int],
        width: int,
        in_channels: int,
    ) -> None:
        # Not ResNet.__init__: it would build the stock network first. Its parts are used below.
        nn.Module.__init__(self)
        self._norm_layer = nn.BatchNorm2d
        self.inplanes, self.dilation = width, 1
        self.groups, self.base_width = 1, _STOCK_WIDTH
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, width, layers[0])
        self.layer2 = self._make_layer(block, 2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Identity()
        self.output_dim = 8 * width * block.expansion
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNetBackbone(Freezable, ScaledResNet):
    """The ResNet branch.

    Args:
        config: the ``backbones.resnet101`` part of the configuration.
        channels: names of the channels of ``cat(s2[:, 3:], s1)``, in this order.
        pretrained: load the checkpoint ``weights``, its ``conv1`` fitted to ``channels`` by
            :func:`fit_conv1`; without one ImageNet's, widened by :func:`widen_conv1`.

    Raises:
        ConfigError: the weights are of another network, or their channels are not known.
        WeightsUnavailableError: the pretrained weights cannot be had.
    """

    def __init__(self, config: ResNetConfig, channels: Sequence[str], *, pretrained: bool) -> None:
        is_bottleneck, layers = RESNETS[config.arch]
        block = Bottleneck if is_bottleneck else BasicBlock
        from_imagenet = pretrained and config.weights is None
        if from_imagenet:
            _check_stock(config, layers)
        ScaledResNet.__init__(self, block, config.layers or layers, config.width, len(channels))
        if from_imagenet:
            self.load_imagenet(_download(config.arch))
        elif pretrained:
            self.load_checkpoint(read_checkpoint(config), channels)
        if config.freeze:
            self.freeze(except_for=STEM if config.freeze == ALL_BUT_STEM else ())

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Load a state dict of torchvision's, made for RGB; ``fc`` is left out."""
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
        state["conv1.weight"] = widen_conv1(state["conv1.weight"], self.conv1.in_channels)
        self.load_state_dict(state)

    def load_checkpoint(self, checkpoint: Checkpoint, channels: Sequence[str]) -> None:
        """Load a checkpoint, its ``conv1`` fitted to ``channels`` by name."""
        state = {**checkpoint.state, CONV1: fit_conv1(checkpoint, channels)}
        expected = self.state_dict()
        check_fit(state, expected, path=checkpoint.path, key=f"{_KEY}.weights", optional=OPTIONAL)
        self.load_state_dict({**expected, **state})

    def forward(self, channels: Tensor) -> Tensor:
        """Embed (B, in_channels, H, W) into pooled features (B, output_dim)."""
        with self.gradients():
            return super().forward(channels)


def _check_stock(config: ResNetConfig, layers: Sequence[int]) -> None:
    if config.width != _STOCK_WIDTH or (config.layers or layers) != layers:
        raise ConfigError(
            f"ImageNet weights exist for the stock {config.arch} only (width {_STOCK_WIDTH}, "
            f"layers {list(layers)}): set '{_KEY}.pretrained' to False, or leave out "
            f"'{_KEY}.width' and '{_KEY}.layers'.",
            key=f"{_KEY}.pretrained",
        )


def _download(arch: str) -> dict[str, Tensor]:
    weights = get_model_weights(arch).DEFAULT
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, UnpicklingError) as problem:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise WeightsUnavailableError(
            f"The pretrained {arch} weights ({weights}) cannot be loaded. Go online once, or copy "
            f"the file {weights.url} into '{folder}'. To build the network without pretrained "
            f"weights, offline, set '{_KEY}.pretrained' to False. ({problem})",
            url=weights.url,
        ) from problem
