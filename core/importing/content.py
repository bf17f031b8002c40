"""What stands in a file that a training program saved, and which of it is a MultiModalModel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..backbones.weight_files import not_finite, read_content, unwrapped, without_prefix
from ..config import ModelConfig
from ..contract.errors import ConfigError, WeightsUnavailableError

_PARTS = ("dinov3_backbone", "resnet_backbone", "fusion", "classifier")
# Put into every key by torch.compile, DataParallel and DDP, FSDP, and activation checkpointing.
_WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_ROOT = re.compile(r"^((?:[^.]+\.)*?)dinov3_backbone\.")
_PROGRESS = ("epoch", "global_step")
_SHOWN = 3


@dataclass(frozen=True)
class Content:
    """One model out of a file: its tensors under the model's own keys, and what stood beside."""

    state: Mapping[str, Tensor]
    config: Mapping[str, Any]
    spec: Mapping[str, Any] | None
    progress: Mapping[str, int]
    notes: tuple[str, ...]


def read_checkpoint(path: Path) -> Content:
    """Read a Lightning checkpoint or a bare state dict; nothing in it is ever run.

    Raises:
        ConfigError: it holds no MultiModalModel, or several.
        WeightsUnavailableError: missing, damaged, unsafe, or no state dict.
    """
    _check_file(path)
    content = read_content(path)
    tensors, root = _one_model(_bare(unwrapped(content, path), path), path)
    beside = _mapping(content)
    hyper = _mapping(beside.get("hyper_parameters"))
    config, unknown = _known(_config(beside, hyper), ModelConfig().to_dict())
    state = without_prefix(tensors, root)
    _check_parts(state, path)
    left = [key for key in tensors if not key.startswith(root)]
    notes = []
    if unknown:
        notes.append(f"what the checkpoint's configuration says of {', '.join(unknown)} means "
                     "nothing here and is left out")  # fmt: skip
    if left:
        notes.append(f"{_some(left)} in the checkpoint: no part of the model, left out")
    progress = {key: beside[key] for key in _PROGRESS if isinstance(beside.get(key), int)}
    if not progress.get("global_step"):
        notes.append("that the model is trained: the checkpoint counts no steps")
    spec = hyper.get("spec")
    return Content(
        state, config, spec if isinstance(spec, Mapping) else None, progress, tuple(notes)
    )


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise WeightsUnavailableError(
            f"'{path}' is a folder: name the checkpoint file itself.", path=str(path)
        )
    if not path.is_file():
        raise WeightsUnavailableError(
            f"'{path}' is not there: correct the path of the checkpoint.", path=str(path)
        )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _config(beside: Mapping[str, Any], hyper: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the nested configuration, wherever the training program kept it."""
    for found in (hyper.get("config"), beside.get("config")):
        if isinstance(found, Mapping):
            return found
    # save_hyperparameters(config) spreads its keys out, among those of the training itself.
    return {key: value for key, value in hyper.items() if key in ModelConfig().to_dict()}


def _known(
    said: Mapping[str, Any], template: Mapping[str, Any], where: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Return the part of a configuration that this version knows, and the keys that it does not."""
    kept: dict[str, Any] = {}
    unknown: list[str] = []
    for key, value in said.items():
        inner = template.get(key)
        if key not in template:
            unknown.append(f"{where}{key}")
        elif isinstance(value, Mapping) and isinstance(inner, Mapping) and inner:
            kept[key], more = _known(value, inner, f"{where}{key}.")
            unknown += more
        else:
            kept[key] = value
    return kept, unknown


def _bare(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the state dict without what wrappers put into its keys."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        name = ".".join(step for step in key.split(".") if step not in _WRAPPERS)
        if name in found and not _equal(found[name], value):
            raise ConfigError(
                f"'{path}' holds '{name}' twice, with other values: save the state dict of one "
                "model alone.",
                path=str(path),
            )
        found[name] = value
    return found


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _one_model(tensors: Mapping[str, Tensor], path: Path) -> tuple[Mapping[str, Tensor], str]:
    """Return the tensors, and the prefix of the model in them."""
    roots = sorted({match[1] for key in tensors if (match := _ROOT.match(key))}, key=len)
    if not roots:
        raise ConfigError(
            f"'{path}' holds no MultiModalModel: no key has 'dinov3_backbone' (the first ones are "
            f"{', '.join(list(tensors)[:_SHOWN])}). Import the checkpoint of such a model.",
            path=str(path),
        )
    first = without_prefix(tensors, roots[0])
    for root in roots[1:]:
        other = without_prefix(tensors, root)
        if not all(key in first and _equal(first[key], value) for key, value in other.items()):
            raise ConfigError(
                f"'{path}' holds several models, under {' and '.join(map(repr, roots))}, with "
                "other values: save the state dict of the one that you want alone.",
                path=str(path),
            )
    return tensors, roots[0]


def _check_parts(state: Mapping[str, Tensor], path: Path) -> None:
    present = {key.split(".")[0] for key in state}
    missing = [name for name in _PARTS if name not in present and name != "fusion"]
    if missing:
        raise ConfigError(
            f"'{path}' holds no '{', '.join(missing)}': it is incomplete, or of another model.",
            path=str(path),
        )
    unknown = [key for key in state if key.split(".")[0] not in _PARTS]
    if unknown:
        raise ConfigError(
            f"The model in '{path}' has {_some(unknown)}, which MultiModalModel does not have: "
            "without it the outputs would be others. If it is no part of the model, save the "
            "state dict without it.",
            path=str(path),
        )
    broken = list(not_finite(state))
    if broken:
        raise ConfigError(
            f"{_some(broken)} in '{path}' holds values that are no numbers (NaN or infinite): the "
            "training went wrong, or the file is damaged. Take an earlier checkpoint.",
            path=str(path),
        )


def _some(keys: Iterable[str]) -> str:
    names = sorted(keys)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
