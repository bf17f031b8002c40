"""The RGB branch: a DINOv3 ViT or ConvNeXt of transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from ..config import Dinov3Config
from ..contract.errors import ConfigError, WeightsUnavailableError
from ..contract.spec import ChannelSpec
from ..torchvision_guard import (
    AutoConfig,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PretrainedConfig,
    PreTrainedModel,
)
from .dinov3_sizes import CONVNEXT, REGISTER_TOKENS, RELEASED, VIT
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
        pretrained: load the weights that ``model_name`` names, else build from sizes alone.

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
        architecture = _architecture(config, prefer_files=pretrained)
        self.model = _pretrained(config, architecture) if pretrained else _random(architecture)
        self.revision = getattr(self.model.config, "_commit_hash", None) or config.revision
        self.prefix_tokens = 1 + getattr(architecture, "num_register_tokens", 0)
        self.output_dim = _width(architecture) * (2 if self.with_mean else 1)
        if config.freeze:
            self.freeze()

    def forward(self, rgb: Tensor) -> Tensor:
        """Embed RGB (B, 3, H, W), z-scored by the spec, into (B, output_dim)."""
        with self.gradients():
            output = self.model(pixel_values=self.rgb_input(rgb))
            if not self.with_mean:
                return output.pooler_output
            patches = output.last_hidden_state[:, self.prefix_tokens :]  # (B, patches, width)
            return torch.cat((output.pooler_output, patches.mean(dim=1)), dim=1)

    def architecture(self) -> dict[str, Any]:
        """Return every field that rebuilds this network without files or a network."""
        config: PretrainedConfig = self.model.config
        return {
            "model_type": config.model_type,
            **{key: getattr(config, key) for key in _fields(type(config))},
        }


def _architecture(config: Dinov3Config, *, prefer_files: bool) -> PretrainedConfig:
    """Return the transformers configuration: that of files or of the table, then overrides."""
    name, overrides = config.model_name, dict(config.config)
    kind = overrides.pop("model_type", None)
    _refuse_vitg16(name)
    if prefer_files or (name not in RELEASED and kind is None and Path(name).is_dir()):
        base = _read_architecture(config)
    else:
        base = _listed_architecture(name, kind)
    if kind is not None and kind != base.model_type:
        raise ConfigError(
            f"'{_KEY}.config.model_type' is '{kind}', but '{name}' is a '{base.model_type}'.",
            key=f"{_KEY}.config.model_type",
        )
    return _overridden(base, overrides)


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


def _read_architecture(config: Dinov3Config) -> PretrainedConfig:
    try:
        found = AutoConfig.from_pretrained(config.model_name, revision=config.revision)
    except (OSError, ValueError) as problem:
        raise _unavailable(config.model_name, problem) from problem
    if found.model_type not in _KINDS:
        raise ConfigError(
            f"'{config.model_name}' holds a '{found.model_type}' model; "
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
    try:
        changed = type(base)(**{**fields, **overrides})
    except (StrictDataclassError, TypeError, ValueError) as problem:
        raise ConfigError(f"'{_KEY}.config' is not possible: {problem}", key=_KEY) from problem
    _check_sizes(changed)
    return changed


def _check_sizes(architecture: PretrainedConfig) -> None:
    if architecture.num_channels != 3:
        raise ConfigError(f"'{_KEY}.config.num_channels' must be 3: this branch sees RGB.")
    if architecture.model_type != VIT:
        return
    hidden, heads = architecture.hidden_size, architecture.num_attention_heads
    if min(hidden, heads) < 1 or hidden % (4 * heads):
        raise ConfigError(
            f"'{_KEY}.config.hidden_size' ({hidden}) must be a multiple of four times "
            f"'num_attention_heads' ({heads}): rotary position coding takes fours.",
            key=f"{_KEY}.config.hidden_size",
        )


def _width(architecture: PretrainedConfig) -> int:
    if architecture.model_type == CONVNEXT:
        return int(architecture.hidden_sizes[-1])
    return int(architecture.hidden_size)


def _random(architecture: PretrainedConfig) -> PreTrainedModel:
    return _KINDS[architecture.model_type][1](architecture)


def _pretrained(config: Dinov3Config, architecture: PretrainedConfig) -> PreTrainedModel:
    try:
        loaded: Any = _KINDS[architecture.model_type][1].from_pretrained(
            config.model_name,
            revision=config.revision or "main",
            config=architecture,
            use_safetensors=True,  # a pickle is never loaded
            output_loading_info=True,
            dtype=torch.float32,
        )
    except (OSError, ValueError) as problem:
        raise _unavailable(config.model_name, problem) from problem
    except RuntimeError as problem:
        raise ConfigError(
            f"The weights of '{config.model_name}' do not fit '{_KEY}.config': {problem}", key=_KEY
        ) from problem
    model, report = loaded
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise WeightsUnavailableError(
            f"The weights in '{config.model_name}' are incomplete: {missing} and more are "
            "missing. Download the folder again."
        )
    return model


def _unavailable(name: str, problem: Exception) -> WeightsUnavailableError:
    if Path(name).is_absolute() or name.startswith(".") or Path(name).is_dir():
        origin = (
            f"'{name}' must be a folder with config.json and model.safetensors of a DINOv3 model."
        )
    else:
        page = f"https://huggingface.co/{name}"
        origin = (
            f"These weights are gated: accept the DINOv3 License at {page} , make an access "
            "token and log in with `hf auth login` (or set HF_TOKEN), and be online. "
            f"Or copy config.json and model.safetensors from that page into a folder and set "
            f"'{_KEY}.model_name' to the folder."
        )
    summary = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    return WeightsUnavailableError(
        f"The pretrained DINOv3 weights '{name}' cannot be loaded. {origin} To build the network "
        f"without pretrained weights, offline, set '{_KEY}.pretrained' to False. ({summary})",
        model=name,
    )
