"""Initial ResNet weights from a local file or folder: torchvision, timm, or BIFOLD's reBEN models.

All three name the parts of a plain ResNet alike. What differs is the first convolution, and that
is matched by the names of the channels, never by their position.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import RESNETS, ResNetConfig
from ..contract.channels import INDEX_BANDS, s1_band_from_text, s2_band_from_text
from ..contract.errors import ConfigError, WeightsUnavailableError
from ..contract.json_file import read_json_file
from .weight_files import State, check_finite, read_state, weight_file, without_prefix

_KEY = "backbones.resnet101"
CONV1 = "conv1.weight"
_RGB = 3
_PREFIXES = ("module.", "model.", "backbone.", "encoder.", "vision_encoder.")
_HEADS = {"fc", "head", "classifier"}
# torchvision counts batches here, which older checkpoints did not.
OPTIONAL = ("num_batches_tracked",)

_REBEN = "vision_encoder."  # the part of a reBEN classifier that is its network
_REBEN_S2 = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
_REBEN_S1 = ("VV", "VH")
_REBEN_ORDERS = {2: _REBEN_S1, 10: _REBEN_S2, 12: (*_REBEN_S1, *_REBEN_S2)}
# The first release had other orders in networks of the same shape.
_REBEN_RELEASE = re.compile(r"-(all|s1|s2)-v\d+\.\d+")
_REBEN_OLD = re.compile(r"-v0\.1(\.\d+)?\b")
_REBEN_OLD_S2 = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12", "B8A")
_REBEN_OLD_S1 = ("VH", "VV")
_REBEN_OLD_ORDERS = {
    2: _REBEN_OLD_S1,
    10: _REBEN_OLD_S2,
    12: (*_REBEN_OLD_S2, *_REBEN_OLD_S1),
}
"""Channels of BIFOLD-BigEarthNetv2-0 models by their number, v0.2.0 and v0.1.1.

Source: the note on band orders in the cards of the v0.1.1 models on the hub.
"""


@dataclass(frozen=True)
class Checkpoint:
    """A plain ResNet's state dict with torchvision's names, without its head.

    ``channels`` are those of ``conv1``, None where they are RGB or nobody has said.
    """

    path: Path
    state: State
    channels: tuple[str, ...] | None

    @property
    def width(self) -> int:
        """Number of channels that ``conv1`` takes."""
        return int(self.state[CONV1].shape[1])


def read_checkpoint(config: ResNetConfig) -> Checkpoint:
    """Read ``config.weights`` and find out which channels it was trained on.

    Raises:
        ConfigError: not a plain ResNet of ``config.arch``, or its channels are not known.
        WeightsUnavailableError: missing, damaged or unsafe.
    """
    path = weight_file(config.weights or "", f"{_KEY}.weights")
    about = _about(path)
    _check_variant(about, path)
    prefix, state = _trunk(read_state(path), path)
    _check_plain(state, config, path)
    check_finite(state, path)
    width = int(state[CONV1].shape[1])
    # Known to be a reBEN model by its parts, and to be a released one by what is around them.
    is_reben = _REBEN in prefix and bool(about or _REBEN_RELEASE.search(_around(path)))
    channels = _channels(config, width, path, is_reben=is_reben)
    return Checkpoint(path, state, channels)


def fit_conv1(checkpoint: Checkpoint, ours: Sequence[str]) -> Tensor:
    """Return kernels (O, our channels, k, k).

    A channel of ours that the checkpoint knows gets its kernels; one that it does not know (B01,
    B09, NDVI, NDWI) gets zeros, so that the answer to the known ones is exactly the checkpoint's;
    those it has and we have not are left out, which is as if they were 0, the mean. Zero kernels
    learn from the first step on. RGB kernels say nothing of other bands: see
    :func:`widen_conv1`.
    """
    weight = checkpoint.state[CONV1]
    if checkpoint.channels is None:
        return widen_conv1(weight, len(ours))
    theirs = checkpoint.channels
    if not set(ours) & set(theirs):
        raise ConfigError(
            f"The weights in '{checkpoint.path}' were trained on {', '.join(theirs)}, and this "
            f"branch sees none of them ({', '.join(ours)}): choose other weights.",
            key=f"{_KEY}.weights",
        )
    fitted = torch.zeros(weight.shape[0], len(ours), *weight.shape[2:], dtype=weight.dtype)
    for position, name in enumerate(ours):
        if name in theirs:
            fitted[:, position] = weight[:, theirs.index(name)]
    return fitted


def widen_conv1(weight: Tensor, channels: int) -> Tensor:
    """Return RGB kernels (O, 3, k, k) widened to ``channels``: their mean, scaled by 3 / C.

    The scale keeps the size of the sum over channels, so that what follows sees what it knows.
    """
    mean = weight.mean(dim=1, keepdim=True) * (weight.shape[1] / channels)
    return mean.repeat(1, channels, 1, 1)


def _about(path: Path) -> Mapping[str, Any]:
    """Return the config.json beside the weights, as timm and BIFOLD write it; {} without one."""
    file = path.parent / "config.json"
    if not file.is_file():
        return {}
    try:
        about = read_json_file(file)
    except (OSError, ValueError) as problem:
        raise WeightsUnavailableError(
            f"'{file}' cannot be read ({problem}): download the folder again.", path=str(file)
        ) from problem
    return about if isinstance(about, dict) else {}


def _check_variant(about: Mapping[str, Any], path: Path) -> None:
    inner = about.get("config")
    name = about.get("architecture") or about.get("timm_model_name")
    if name is None and isinstance(inner, dict):
        name = inner.get("timm_model_name")
    # Some variants (resnetblur50) have the names and shapes of the plain network.
    plain = str(name).split(".")[0].removeprefix("tv_")
    if name is not None and plain not in RESNETS:
        raise ConfigError(
            f"'{path.parent}' holds a '{name}', which is not a plain ResNet: "
            f"choose weights of {', '.join(RESNETS)}.",
            key=f"{_KEY}.weights",
        )


def _trunk(state: State, path: Path) -> tuple[str, State]:
    """Return the prefix that all keys but the head's share, and what stands under it."""
    state = {key: value for key, value in state.items() if not _HEADS & set(key.split("."))}
    prefix = ""
    while found := _shared_prefix(state):
        prefix, state = prefix + found, without_prefix(state, found)
    if "conv1.0.weight" in state:
        raise ConfigError(
            f"'{path}' holds a ResNet with a deep stem (conv1 of three layers), as timm's "
            f"'resnet50d' has: choose weights of a plain {', '.join(RESNETS)}.",
            key=f"{_KEY}.weights",
        )
    if CONV1 not in state or state[CONV1].ndim != 4:
        raise ConfigError(
            f"'{path}' holds no ResNet: it has no {CONV1}, its first keys are "
            f"{', '.join(list(state)[:3])}. Choose a checkpoint of torchvision, timm or BIFOLD.",
            key=f"{_KEY}.weights",
        )
    return prefix, state


def _shared_prefix(state: State) -> str:
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            return prefix
    return ""


def _check_plain(state: State, config: ResNetConfig, path: Path) -> None:
    found = _recognised(state)
    stock = config.layers is None and config.width == state[CONV1].shape[0]
    if stock and found is not None and found != config.arch:
        raise ConfigError(
            f"'{path}' holds a {found}, but '{_KEY}.arch' is '{config.arch}': set it to '{found}'.",
            key=f"{_KEY}.arch",
        )
    inner = state.get("layer1.0.conv2.weight")
    width = state[CONV1].shape[0]
    if inner is not None and inner.shape[:2] != (width, width):
        raise ConfigError(
            f"'{path}' holds a wide or grouped ResNet (layer1.0.conv2.weight is "
            f"{tuple(inner.shape)}): choose weights of a plain {', '.join(RESNETS)}.",
            key=f"{_KEY}.weights",
        )


def _recognised(state: State) -> str | None:
    blocks = [0, 0, 0, 0]
    for key in state:
        if match := re.match(r"layer([1-4])\.(\d+)\.conv1\.weight$", key):
            stage = int(match[1]) - 1
            blocks[stage] = max(blocks[stage], int(match[2]) + 1)
    has_bottlenecks = "layer1.0.conv3.weight" in state
    for arch, (is_bottleneck, layers) in RESNETS.items():
        if (has_bottlenecks, tuple(blocks)) == (is_bottleneck, layers):
            return arch
    return None


def _channels(
    config: ResNetConfig, width: int, path: Path, *, is_reben: bool
) -> tuple[str, ...] | None:
    if config.weights_channels is not None:
        return _named_channels(config.weights_channels, width, path)
    if width == _RGB:
        return None
    is_old = _REBEN_OLD.search(_around(path)) is not None
    orders = _REBEN_OLD_ORDERS if is_old else _REBEN_ORDERS
    if is_reben and width in orders:
        return orders[width]
    raise ConfigError(
        f"conv1 in '{path}' takes {width} channels, and nothing says which: name them in their "
        f"order in '{_KEY}.weights_channels', like ['B02', 'B03', ..., 'VV', 'VH'].",
        key=f"{_KEY}.weights_channels",
        path=str(path),
    )


def _around(path: Path) -> str:
    # Both: a hub cache links to a folder of blobs, and a user may link to a folder of the cache.
    return f"{path.parent} {path.resolve()}"


def _named_channels(names: Sequence[str], width: int, path: Path) -> tuple[str, ...]:
    channels = tuple(map(_canonical, names))
    if len(channels) != width:
        raise ConfigError(
            f"'{_KEY}.weights_channels' names {len(channels)} channels, but conv1 in '{path}' "
            f"takes {width}.",
            key=f"{_KEY}.weights_channels",
        )
    twice = sorted({name for name in channels if channels.count(name) > 1})
    if twice:
        raise ConfigError(
            f"'{_KEY}.weights_channels' names {', '.join(twice)} twice.",
            key=f"{_KEY}.weights_channels",
        )
    return channels


def _canonical(name: str) -> str:
    """Return our name of a channel; one that we do not know (a height, B10) stays as it is."""
    if name.upper() in INDEX_BANDS:
        return name.upper()
    return s2_band_from_text(name) or s1_band_from_text(name) or name
