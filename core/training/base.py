"""The networks that a head is trained over: of a model folder, or pretrained backbones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..checkpoint import from_pretrained
from ..config import ModelConfig
from ..contract.errors import ConfigError, ModelFolderError
from ..contract.json_file import read_json_file
from ..contract.model_folder import read_spec
from ..contract.spec import ModelSpec, default_spec
from ..model import MultiModalModel
from .linear_head import LinearHead
from .mlp_head import MlpHead

_HEAD = "classifier."


def load_base(base: str, is_cancelled: Callable[[], bool] = lambda: False) -> MultiModalModel:
    """Return the model of a folder, or build what a configuration (``.json``) describes.

    Raises:
        ModelFolderError, ConfigError, WeightsUnavailableError: what is wrong and what to do.
    """
    if not _is_config(base):
        return from_pretrained(Path(base), is_cancelled=is_cancelled)
    try:
        payload = read_json_file(base)
    except (OSError, ValueError) as problem:
        raise ConfigError(f"The configuration '{base}' cannot be read ({problem}).") from problem
    if not isinstance(payload, Mapping):
        raise ConfigError(f"The configuration '{base}' must be a JSON object.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what is not pretrained, as a projection, is the same each time
        return MultiModalModel(payload).eval()


def spec_of(base: str) -> ModelSpec:
    """Return the spec of a base without its networks."""
    return default_spec() if _is_config(base) else read_spec(base)


def _is_config(base: str) -> bool:
    return base.lower().endswith(".json")


def doubts(model: MultiModalModel) -> list[str]:
    """Say where the networks may have learned nothing."""
    config: ModelConfig = model.config
    parts = config.backbones
    learned = {"DINOv3": parts.dinov3.pretrained, "ResNet": parts.resnet101.pretrained}
    names = [name for name, is_pretrained in learned.items() if not is_pretrained]
    if not names or model.spec.provenance:
        return []
    return [
        f"{' and '.join(names)} of the base began with random weights, and the base says nothing "
        "about its training: plain band statistics may be as good."
    ]


def with_head(
    base: MultiModalModel, spec: ModelSpec, head: LinearHead | MlpHead
) -> MultiModalModel:
    """Return a model with the networks of ``base`` and another head."""
    config = base.config.to_dict()
    kind = "linear" if isinstance(head, LinearHead) else "mlp"
    config["classifier"] = {**config["classifier"], "type": kind, "num_classes": len(spec.classes)}
    model = MultiModalModel(config, spec, load_backbones=False)
    # How the networks came about is the base's story, commits of the hub included.
    model.config = replace(model.config, backbones=base.config.backbones)
    state = {k: v for k, v in base.state_dict().items() if not k.startswith(_HEAD)}
    state.update({f"{_HEAD}{key}": value for key, value in head_state(head).items()})
    problems = model.load_state_dict(state, strict=False)
    if problems.missing_keys or problems.unexpected_keys:
        raise ModelFolderError(f"The head does not fit the networks of the base: {problems}.")
    return model.eval()


def head_state(head: LinearHead | MlpHead) -> dict[str, Any]:
    """Return the tensors of a head as the module names them, float32."""
    if isinstance(head, MlpHead):
        return dict(head.module.state_dict())
    return {
        "fc.weight": torch.from_numpy(head.weight).float(),
        "fc.bias": torch.from_numpy(head.bias).float(),
    }
