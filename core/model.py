"""MultiModalModel: DINOv3 on RGB and a ResNet on the rest, fused late, classified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from .backbones import Dinov3Backbone, ResNetBackbone
from .backbones.dinov3_hub import is_local, name_alone
from .classifier import build_head
from .config import DEFAULT_CLASSES, DEFAULT_IMAGE_SIZE, ModelConfig
from .contract.classes import BIGEARTHNET19_NAMES
from .contract.errors import ConfigError
from .contract.spec import ModelSpec, default_spec
from .fusion import build_fusion
from .input_checks import check_input
from .modality_dropout import ModalityDropout

_RGB_CHANNELS = 3


class MultiModalModel(nn.Module):
    """Classify Sentinel-1 and Sentinel-2 tiles.

    Args:
        config: the nested configuration dict; what it leaves out gets the defaults.
        spec: channels and classes; by default BigEarthNet's statistics, 14 S2 and 2 S1
            channels, and as many classes as the configuration says.
        load_backbones: False builds both backbones from their sizes alone, whatever
            ``pretrained`` says: for weights that are loaded afterwards.

    Raises:
        ConfigError: the configuration is wrong, or contradicts the spec.
        WeightsUnavailableError: ``pretrained`` weights cannot be had.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        spec: ModelSpec | None = None,
        *,
        load_backbones: bool = True,
    ) -> None:
        super().__init__()
        wanted, self.spec = _reconciled(ModelConfig.from_dict(config), spec)
        dinov3, resnet = wanted.backbones.dinov3, wanted.backbones.resnet101
        self.dinov3_backbone = Dinov3Backbone(
            dinov3, self.spec.s2[:_RGB_CHANNELS], pretrained=dinov3.pretrained and load_backbones
        )
        self.resnet_backbone = ResNetBackbone(
            resnet, resnet_channels(self.spec), pretrained=resnet.pretrained and load_backbones
        )
        self.modality_dropout = ModalityDropout(wanted.modality_dropout)
        widths = (self.dinov3_backbone.output_dim, self.resnet_backbone.output_dim)
        self.fusion = build_fusion(wanted.fusion, widths)
        self.classifier = build_head(
            wanted.classifier, self.fusion.output_dim, len(self.spec.classes)
        )
        self.config = _as_built(wanted, self.dinov3_backbone)

    @overload
    def forward(
        self,
        s1_data: Tensor | None,
        s2_data: Tensor | None,
        return_embeddings: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def forward(
        self, s1_data: Tensor | None, s2_data: Tensor | None, return_embeddings: Literal[True]
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    def forward(
        self, s1_data: Tensor | None, s2_data: Tensor | None, return_embeddings: bool = False
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Return raw logits (B, classes), and the embeddings when asked for.

        Args:
            s1_data: (B, S1 channels, H, W), dB, (x - mean) / std by the spec; default VH, VV.
            s2_data: (B, S2 channels, H, W), DN, (x - mean) / std by the spec; RGB first.
                One of the two may be None where the model was trained with ``modality_dropout``.
            return_embeddings: also return ``{"dinov3", "resnet", "fused"}``, each (B, width).
        """
        self._check_inputs(s1_data, s2_data)
        if s1_data is None or s2_data is None:
            s1_data, s2_data = self.modality_dropout.completed(
                s1_data, s2_data, len(self.spec.s1), len(self.spec.s2)
            )
        else:  # of the two that are there; never the only one
            s1_data, s2_data = self.modality_dropout(s1_data, s2_data)
        rgb, rest = s2_data[:, :_RGB_CHANNELS], s2_data[:, _RGB_CHANNELS:]
        embeddings = {
            "dinov3": self.dinov3_backbone(rgb),
            "resnet": self.resnet_backbone(torch.cat((rest, s1_data), dim=1)),
        }
        embeddings["fused"] = self.fusion(embeddings["dinov3"], embeddings["resnet"])
        logits = self.classifier(embeddings["fused"])
        return (logits, embeddings) if return_embeddings else logits

    def get_parameter_groups(self) -> list[dict[str, Any]]:
        """Return optimizer groups ``{name, params, lr}``; frozen parameters are left out."""
        config = self.config
        rates = {
            "dinov3_backbone": config.backbones.dinov3.lr,
            "resnet_backbone": config.backbones.resnet101.lr,
            "fusion": config.fusion.lr,
            "classifier": config.classifier.lr,
        }
        groups = []
        for name, rate in rates.items():
            parameters = [p for p in getattr(self, name).parameters() if p.requires_grad]
            if parameters:
                groups.append({"name": name, "params": parameters, "lr": rate})
        return groups

    def save_pretrained(
        self, folder: str | Path, spec: ModelSpec | None = None, **options: Any
    ) -> None:
        """Write a model folder; see :func:`multimodal.checkpoint.save_pretrained`."""
        from .checkpoint import save_pretrained

        save_pretrained(self, folder, spec, **options)

    @classmethod
    def from_pretrained(cls, folder_or_hub_id: str | Path, **options: Any) -> MultiModalModel:
        """Load a model folder; see :func:`multimodal.checkpoint.from_pretrained`."""
        from .checkpoint import from_pretrained

        return from_pretrained(folder_or_hub_id, **options)

    def _check_inputs(self, s1_data: Tensor | None, s2_data: Tensor | None) -> None:
        dtype = self.resnet_backbone.conv1.weight.dtype
        if s1_data is not None:
            check_input("s1_data", s1_data, self.spec.s1_names, dtype)
        if s2_data is not None:
            check_input("s2_data", s2_data, self.spec.s2_names, dtype)
        if s1_data is None or s2_data is None:
            return
        if s1_data.shape[0] != s2_data.shape[0] or s1_data.shape[2:] != s2_data.shape[2:]:
            raise ConfigError(
                "s1_data and s2_data must have the same batch, height and width, "
                f"not {tuple(s1_data.shape)} and {tuple(s2_data.shape)}."
            )


def resnet_channels(spec: ModelSpec) -> tuple[str, ...]:
    """Return the names of the channels that the ResNet sees: S2 without RGB, then S1."""
    return (*spec.s2_names[_RGB_CHANNELS:], *spec.s1_names)


def check_spec(config: ModelConfig, spec: ModelSpec) -> None:
    """Raise a :class:`ConfigError` where a configuration and a spec contradict each other."""
    pairs = (
        ("classifier.num_classes", config.classifier.num_classes, len(spec.classes), "classes"),
        (
            "backbones.resnet101.in_channels",
            config.backbones.resnet101.in_channels,
            len(resnet_channels(spec)),
            "non-RGB channels",
        ),
        ("image_size", config.image_size, spec.tile_size, "pixels a tile side"),
    )
    for key, configured, described, what in pairs:
        if configured is not None and configured != described:
            raise ConfigError(
                f"'{key}' is {configured}, but the spec has {described} {what}: "
                "change one of them, or leave the key out.",
                key=key,
            )


def check_same_inputs(model: MultiModalModel, spec: ModelSpec) -> None:
    """Raise a :class:`ConfigError` where a model would take a spec's inputs for something else."""
    own = model.spec
    if (spec.s2_names, spec.s1_names) != (own.s2_names, own.s1_names):
        raise ConfigError(
            f"The spec has the channels {', '.join((*spec.s2_names, *spec.s1_names))}, but the "
            f"model was built for {', '.join((*own.s2_names, *own.s1_names))}, in this order: "
            "give the spec to MultiModalModel(config, spec) when the model is built."
        )
    used = model.config.backbones.dinov3.normalization
    if used != "dataset" and _statistics(spec) != _statistics(own):
        raise ConfigError(
            f"The spec has another mean or std of RGB than the model was built with, which the "
            f"normalization '{used}' is computed from: give the spec to "
            "MultiModalModel(config, spec) when the model is built.",
            key="backbones.dinov3.normalization",
        )


def _statistics(spec: ModelSpec) -> list[tuple[float, float]]:
    return [(channel.mean, channel.std) for channel in spec.s2[:_RGB_CHANNELS]]


def _reconciled(config: ModelConfig, spec: ModelSpec | None) -> tuple[ModelConfig, ModelSpec]:
    """Return both complete: what the configuration leaves open is taken from the spec."""
    if spec is None:
        count = config.classifier.num_classes or DEFAULT_CLASSES
        known = count == len(BIGEARTHNET19_NAMES)
        names = BIGEARTHNET19_NAMES if known else [f"class_{number}" for number in range(count)]
        spec = default_spec(names, tile_size=config.image_size or DEFAULT_IMAGE_SIZE)
    check_spec(config, spec)
    resnet = replace(config.backbones.resnet101, in_channels=len(resnet_channels(spec)))
    return (
        replace(
            config,
            backbones=replace(config.backbones, resnet101=resnet),
            classifier=replace(config.classifier, num_classes=len(spec.classes)),
            image_size=spec.tile_size,
        ),
        spec,
    )


def _as_built(config: ModelConfig, backbone: Dinov3Backbone) -> ModelConfig:
    """Return the configuration with all that rebuilds the RGB branch without files or network."""
    dinov3, resnet = config.backbones.dinov3, config.backbones.resnet101
    name = dinov3.model_name
    dinov3 = replace(
        dinov3, config=backbone.architecture(), revision=backbone.revision,
        model_name=name_alone(name) if is_local(name) else name,
        weights=None if dinov3.weights is None else name_alone(dinov3.weights),
    )  # fmt: skip
    resnet = replace(resnet, weights=None if resnet.weights is None else name_alone(resnet.weights))
    return replace(config, backbones=replace(config.backbones, dinov3=dinov3, resnet101=resnet))
