"""The RGB branch: a DINOv3 ViT or ConvNeXt of transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from ..config import PATCH_SIZE, Dinov3Config, check_input_size
from ..contract.errors import ConfigError
from ..contract.spec import ChannelSpec
from ..torchvision_guard import (
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PretrainedConfig,
    PreTrainedModel,
)
from .dinov3_hub import Source, find_source, is_local, load_model, local_path, read_architecture
from .dinov3_limits import build_network, check_fields
from .dinov3_sizes import CONVNEXT, REGISTER_TOKENS, RELEASED, VIT
from .dinov3_weights import load_local
from .freezing import Freezable
from .rgb_input import RgbInput

_KINDS: dict[str, tuple[type[PretrainedConfig], type[PreTrainedModel]]] = {
    VIT: (DINOv3ViTConfig, DINOv3ViTModel),
    CONVNEXT: (DINOv3ConvNextConfig, DINOv3ConvNextModel),
}
_KEY = "backbones.dinov3"


class Dinov3Backbone(Freezable):
    """DINOv3 on z-scored RGB.

    Args:
        config: the ``backbones.dinov3`` part of the configuration.
        rgb: the spec's first three S2 channels; ``lvd`` and ``sat`` undo their mean and std.
        pretrained: load the weights: the file ``weights``, or what ``model_name`` names. Else
            build from sizes alone.

    Raises:
        ConfigError: an unknown model, or sizes that cannot be.
        WeightsUnavailableError: the pretrained weights cannot be had.
    """

    def __init__(
        self, config: Dinov3Config, rgb: Sequence[ChannelSpec], *, pretrained: bool
    ) -> None:
        super().__init__()
        self.with_mean = config.pooling == "cls+mean"
        self.rgb_input = RgbInput(config, rgb)
        self.model, self.revision = _built(config, pretrained=pretrained)
        self.model.train(self.training)  # a loaded one comes in eval mode, a new one does not
        architecture: PretrainedConfig = self.model.config
        self.prefix_tokens = 1 + getattr(architecture, "num_register_tokens", 0)
        self.smallest = _smallest(architecture)
        self.output_dim = _width(architecture) * (2 if self.with_mean else 1)
        _still_mask_token(self.model)
        if config.freeze:
            self.freeze()

    def forward(self, rgb: Tensor) -> Tensor:
        """Embed RGB (B, 3, H, W), z-scored by the spec, into (B, output_dim)."""
        with self.gradients():
            pixels = self.rgb_input(rgb)
            self._check_size(*pixels.shape[-2:])
            output = self.model(pixel_values=pixels)
            if not self.with_mean:
                return output.pooler_output
            patches = output.last_hidden_state[:, self.prefix_tokens :]  # (B, patches, width)
            return torch.cat((output.pooler_output, patches.mean(dim=1)), dim=1)

    def _check_size(self, height: int, width: int) -> None:
        if min(height, width) < self.smallest:
            raise ConfigError(
                f"This DINOv3 needs tiles of at least {self.smallest} x {self.smallest} pixels, "
                f"not {height} x {width}: set '{_KEY}.input_size'.",
                key=f"{_KEY}.input_size",
            )

    def architecture(self) -> dict[str, Any]:
        """Return every field that rebuilds this network without files or a network."""
        config: PretrainedConfig = self.model.config
        return {
            "model_type": config.model_type,
            **{key: getattr(config, key) for key in _fields(type(config))},
        }


def _built(config: Dinov3Config, *, pretrained: bool) -> tuple[PreTrainedModel, str | None]:
    """Return the network, and the commit of the hub that its weights are."""
    if pretrained and config.weights is None:
        _refuse_vitg16(config.model_name)
        source = find_source(config)
        architecture = _architecture(config, source)
        return load_model(source, architecture, _network(architecture)), source.revision
    architecture = _architecture(config, None)
    network = _network(architecture)
    if pretrained:
        return load_local(config, architecture, network), None
    return build_network(network, architecture), _kept_revision(config)


def _kept_revision(config: Dinov3Config) -> str | None:
    """Return the commit of weights that are put in later: None where they are not the hub's."""
    from_hub = config.pretrained and config.weights is None and not is_local(config.model_name)
    return config.revision if from_hub else None


def _still_mask_token(model: PreTrainedModel) -> None:
    """Make a buffer of the token that only the pretraining learnt; its name in files stays.

    Nothing here uses it, and DDP waits in vain for the gradient of what is not used.
    """
    for module in model.modules():
        token = getattr(module, "mask_token", None)
        if isinstance(token, nn.Parameter):
            del module.mask_token
            module.register_buffer("mask_token", token.detach())


def _network(architecture: PretrainedConfig) -> type[PreTrainedModel]:
    return _KINDS[architecture.model_type][1]


def _architecture(config: Dinov3Config, source: Source | None) -> PretrainedConfig:
    """Return the transformers configuration: that of files or of the table, then overrides."""
    name, overrides = config.model_name, dict(config.config)
    kind = overrides.pop("model_type", None)
    _refuse_vitg16(name)
    if source is None and name not in RELEASED and kind is None and local_path(name).is_dir():
        source = Source(str(local_path(name)))
    base = _listed_architecture(name, kind) if source is None else _read_architecture(source)
    if kind is not None and kind != base.model_type:
        raise ConfigError(
            f"'{_KEY}.config.model_type' is '{kind}', but '{name}' is a '{base.model_type}'.",
            key=f"{_KEY}.config.model_type",
        )
    architecture = _overridden(base, overrides)
    check_input_size(config.input_size, *_steps(architecture))
    return architecture


def _refuse_vitg16(name: str) -> None:
    if "dinov3-vitg16" in name:
        raise ConfigError(
            f"'{name}' was never released. The next sizes are "
            "'facebook/dinov3-vith16plus-pretrain-lvd1689m' (1280 wide) and "
            "'facebook/dinov3-vit7b16-pretrain-lvd1689m' (4096 wide).",
            key=f"{_KEY}.model_name",
        )


def _listed_architecture(name: str, kind: str | None) -> PretrainedConfig:
    if name in RELEASED:
        fields = dict(RELEASED[name])
    elif kind in _KINDS:
        fields = {"model_type": kind}
        if kind == VIT:
            fields["num_register_tokens"] = REGISTER_TOKENS
    else:
        raise ConfigError(
            f"'{_KEY}.model_name' is '{name}', which is neither a folder nor a released model; "
            f"choose from {', '.join(RELEASED)}.",
            key=f"{_KEY}.model_name",
        )
    return _KINDS[fields.pop("model_type")][0](**fields)


def _read_architecture(source: Source) -> PretrainedConfig:
    found = read_architecture(source)
    if found.model_type not in _KINDS:
        raise ConfigError(
            f"'{source.name}' holds a '{found.model_type}' model; "
            f"this branch takes {' or '.join(_KINDS)}.",
            key=f"{_KEY}.model_name",
        )
    return found


def _fields(kind: type[PretrainedConfig]) -> tuple[str, ...]:
    inherited = {item.name for item in dataclasses.fields(PretrainedConfig)}
    names = (item.name for item in dataclasses.fields(kind))
    return tuple(name for name in names if name not in inherited and not name.startswith("_"))


def _overridden(base: PretrainedConfig, overrides: Mapping[str, Any]) -> PretrainedConfig:
    known = _fields(type(base))
    for key in overrides:
        if key not in known:
            raise ConfigError(
                f"Unknown key '{_KEY}.config.{key}'; choose from {', '.join(known)}.",
                key=f"{_KEY}.config.{key}",
            )
    fields = {key: getattr(base, key) for key in known}
    fields.update(overrides)
    check_fields(base.model_type, fields)
    try:
        return type(base)(**fields)
    except (StrictDataclassError, TypeError, ValueError) as problem:
        key = f"{_KEY}.config"
        raise ConfigError(f"'{key}' is not possible: {problem}", key=key) from problem


def _smallest(architecture: PretrainedConfig) -> int:
    """Return the side of the smallest image: a patch, or a pixel after all of ConvNeXt's steps."""
    if architecture.model_type == CONVNEXT:
        return 2 ** (len(architecture.hidden_sizes) + 1)
    return int(architecture.patch_size)


def _steps(architecture: PretrainedConfig) -> tuple[int, int]:
    """Return of what the side of an image is a multiple, and its least."""
    smallest = _smallest(architecture)
    return (PATCH_SIZE if architecture.model_type == CONVNEXT else smallest), smallest


def _width(architecture: PretrainedConfig) -> int:
    if architecture.model_type == CONVNEXT:
        return int(architecture.hidden_sizes[-1])
    return int(architecture.hidden_size)
