"""DINOv3 weights from a local file: keys of the dinov3 project or of transformers.

Names and meaning of the former follow the dinov3 project's ``vision_transformer.py``,
``convnext.py`` and ``attention.py``; the rules between the two are those by which the folders on
the hub were made (transformers' ``convert_dinov3_vit_to_hf.py`` and its ConvNeXt twin).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import Dinov3Config
from ..contract.errors import ConfigError, WeightsUnavailableError
from ..torchvision_guard import PretrainedConfig, PreTrainedModel
from .dinov3_limits import build_network
from .dinov3_sizes import CONVNEXT, OFFICIAL_FILES, RELEASED, VIT
from .downloads import check_named
from .weight_files import State, check_finite, check_fit, read_state, weight_file, without_prefix

_KEY = "backbones.dinov3"
_SAME_PERIOD = 0.01  # the released files hold them rounded to bfloat16, off by up to 0.4 %
_FILE_NAME = re.compile(r"dinov3[-_](?P<size>\w+?)[-_]pretrain[-_](?P<data>[a-z]+\d+m)", re.I)

# Each style of names by a key that no other style has; what stands before it is a prefix.
_STYLES = (
    ("official vit", re.compile(r"^(?P<prefix>.*?)(?<!embeddings\.)cls_token$")),
    ("official convnext", re.compile(r"^(?P<prefix>.*?)downsample_layers\.0\.0\.weight$")),
    ("hub vit", re.compile(r"^(?P<prefix>.*?)embeddings\.cls_token$")),
    ("hub convnext", re.compile(r"^(?P<prefix>(?!.*layers\.).*?)layer_norm\.weight$")),
)
_VIT_NAMES = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^mask_token$", "embeddings.mask_token"),
    (r"^storage_tokens$", "embeddings.register_tokens"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"model.layer.\1.attention.o_proj."),
    (r"^blocks\.(\d+)\.ls([12])\.gamma$", r"model.layer.\1.layer_scale\2.lambda1"),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", r"model.layer.\1.mlp.up_proj."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", r"model.layer.\1.mlp.down_proj."),
    (r"^blocks\.(\d+)\.mlp\.w1\.", r"model.layer.\1.mlp.gate_proj."),
    (r"^blocks\.(\d+)\.mlp\.w2\.", r"model.layer.\1.mlp.up_proj."),
    (r"^blocks\.(\d+)\.mlp\.w3\.", r"model.layer.\1.mlp.down_proj."),
    (r"^blocks\.", "model.layer."),
)
_CONVNEXT_NAMES = (
    (r"^norm\.", "layer_norm."),
    (r"^downsample_layers\.(\d)\.", r"model.stages.\1.downsample_layers."),
    (r"^stages\.(\d)\.(\d+)\.dwconv\.", r"model.stages.\1.layers.\2.depthwise_conv."),
    (r"^stages\.(\d)\.(\d+)\.norm\.", r"model.stages.\1.layers.\2.layer_norm."),
    (r"^stages\.(\d)\.(\d+)\.pwconv", r"model.stages.\1.layers.\2.pointwise_conv"),
    (r"^stages\.(\d)\.(\d+)\.gamma$", r"model.stages.\1.layers.\2.gamma"),
)
# transformers wrote them without `model.` until 5.x, and still does in save_pretrained.
_HUB_NAMES = ((r"^(layer|stages)\.", r"model.\1."),)
# Follows from the sizes (rope), or is used in pre-training alone (the norm of local crops);
# norms.3 of a ConvNeXt is its norm under another name.
_UNUSED = re.compile(
    r"^(rope_embed\.periods|rope_embeddings\.\w+|local_cls_norm\.\w+|norms\.\d\.\w+)$"
)


def load_local(
    config: Dinov3Config,
    architecture: PretrainedConfig,
    network: type[PreTrainedModel],
) -> PreTrainedModel:
    """Build ``network`` with the weights of the file ``config.weights``, in float32.

    The rotary periods of an official file are compared and then left out: transformers computes
    them in float32 and keeps them in no state dict, so that a saved model loads unchanged.

    Raises:
        ConfigError: the file belongs to another model; it names the ``model_name`` that fits.
        WeightsUnavailableError: missing, damaged, unsafe, or no DINOv3 weights.
    """
    path = weight_file(config.weights or "", f"{_KEY}.weights")
    style, original = _recognised(read_state(path), path)
    state = _converted(style, original, path)
    _check_model_name(config.model_name, _candidates(original, state, path), path)
    with torch.device("meta"):
        expected = build_network(network, architecture).state_dict()
    check_fit(state, expected, path=path, key=f"{_KEY}.weights")
    check_finite(original, path)
    _check_periods(original, architecture, path)
    if path.name in OFFICIAL_FILES.values():
        check_named(path)
    # Copied, for it takes tensors as they are: views of a mapped file, q, k and v of one block.
    copied = {key: value.to(torch.float32, copy=True) for key, value in state.items()}
    model: PreTrainedModel = network.from_pretrained(
        None, config=architecture, state_dict=copied, dtype=torch.float32
    )
    return model


def transformers_state(original: Mapping[str, Tensor], path: Path) -> State:
    """Return a state dict of either project with the names that transformers has today.

    Raises:
        WeightsUnavailableError: no DINOv3 weights, or a mask that is no number.
    """
    return _converted(*_recognised(original, path), path)


def _converted(style: str, state: State, path: Path) -> State:
    pairs = _CONVERTERS[style](state, path)
    return {key: value for key, value in pairs if not _UNUSED.match(key)}


def _recognised(state: Mapping[str, Tensor], path: Path) -> tuple[str, State]:
    """Return the style of the names, and what stands under the prefix that they have."""
    for style, anchor in _STYLES:
        prefixes = {match["prefix"] for key in state if (match := anchor.match(key))}
        chosen = {prefix for prefix in prefixes if "teacher" in prefix} or prefixes
        if len(chosen) == 1:
            return style, without_prefix(state, chosen.pop())
    some = ", ".join(list(state)[:3])
    raise WeightsUnavailableError(
        f"'{path}' holds no DINOv3 weights that are known here, neither of the dinov3 project nor "
        f"of transformers (its first keys are {some}). Choose another file for '{_KEY}.weights'.",
        path=str(path),
    )


def _renamed(key: str, names: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in names:
        key, count = re.subn(pattern, replacement, key)
        if count:
            break
    return key


def _from_official_vit(state: State, path: Path) -> Iterator[tuple[str, Tensor]]:
    for key, value in state.items():
        block, is_attention, part = key.partition(".attn.qkv.")
        if not is_attention:
            # (1, width) there, (1, 1, width) in transformers
            value = value.reshape(1, 1, -1) if key == "mask_token" else value
            yield _renamed(key, _VIT_NAMES), value
        elif part != "bias_mask":
            prefix = _renamed(f"{block}.", _VIT_NAMES) + "attention."
            if part == "bias":
                value = _masked(value, state.get(f"{block}.attn.qkv.bias_mask"), path)
            yield from _split(prefix, part, value)


def _masked(bias: Tensor, mask: Tensor | None, path: Path) -> Tensor:
    if mask is None:
        return bias
    if not bool(torch.isfinite(mask).all()):
        raise WeightsUnavailableError(
            f"The bias masks in '{path}' are not numbers: the model was saved before it was "
            "initialised. Get the released file.",
            path=str(path),
        )
    return bias * mask.to(bias.dtype)


def _split(prefix: str, part: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    for name, third in zip("qkv", value.chunk(3, dim=0), strict=True):
        # DINOv3 masks the key's bias to zero, and transformers has none.
        if not (name == "k" and part == "bias" and not bool(third.any())):
            yield f"{prefix}{name}_proj.{part}", third


def _from_official_convnext(state: State, _path: Path) -> Iterator[tuple[str, Tensor]]:
    for key, value in state.items():
        yield _renamed(key, _CONVNEXT_NAMES), value


def _from_hub(state: State, _path: Path) -> Iterator[tuple[str, Tensor]]:
    for key, value in state.items():
        yield _renamed(key, _HUB_NAMES), value


_CONVERTERS: dict[str, Callable[[State, Path], Iterator[tuple[str, Tensor]]]] = {
    "official vit": _from_official_vit,
    "official convnext": _from_official_convnext,
    "hub vit": _from_hub,
    "hub convnext": _from_hub,
}


def _candidates(original: Mapping[str, Tensor], state: State, path: Path) -> set[str]:
    """Return the released models that a file can be, by its sizes first, then by its name."""
    sizes = _sizes(state)
    fitting = {
        name
        for name, released in RELEASED.items()
        if {key: released.get(key) for key in sizes} == sizes
    }
    named = _named(path)
    if named in fitting:
        return {named}
    if sizes.get("hidden_size") == 1024 and "storage_tokens" in original:
        # Of the official ViT-L only the satellite one has a norm for local crops.
        is_sat = "local_cls_norm.weight" in original
        return {name for name in fitting if ("sat493m" in name) == is_sat}
    return fitting or ({named} if named else set())


def _named(path: Path) -> str | None:
    if path.name in OFFICIAL_FILES.values():
        return next(name for name, file in OFFICIAL_FILES.items() if file == path.name)
    match = _FILE_NAME.search(path.name)
    if match is None:
        return None
    size = match["size"].lower().replace("_", "-")
    name = f"facebook/dinov3-{size}-pretrain-{match['data'].lower()}"
    return name if name in RELEASED else None


def _sizes(state: State) -> dict[str, Any]:
    if "layer_norm.weight" in state:
        gammas = [key.split(".") for key in state if key.endswith(".gamma")]
        stages = sorted({int(parts[2]) for parts in gammas})
        widths = (state.get(f"model.stages.{stage}.layers.0.gamma") for stage in stages)
        return {
            "model_type": CONVNEXT,
            "hidden_sizes": [0 if width is None else width.shape[0] for width in widths],
            "depths": [sum(parts[2] == str(stage) for parts in gammas) for stage in stages],
        }
    up = state.get("model.layer.0.mlp.up_proj.weight")
    return {
        "model_type": VIT,
        "hidden_size": state["embeddings.cls_token"].shape[-1],
        "num_hidden_layers": sum(key.endswith("norm1.weight") for key in state),
        "intermediate_size": 0 if up is None else up.shape[0],
        "use_gated_mlp": True if "model.layer.0.mlp.gate_proj.weight" in state else None,
    }


def _check_model_name(name: str, candidates: set[str], path: Path) -> None:
    if name in RELEASED and candidates and name not in candidates:
        fitting = "' or '".join(sorted(candidates))
        raise ConfigError(
            f"'{path}' holds the weights of '{fitting}', but '{_KEY}.model_name' is '{name}': "
            f"set it to '{fitting}'.",
            key=f"{_KEY}.model_name",
            path=str(path),
        )


def _check_periods(
    original: Mapping[str, Tensor], architecture: PretrainedConfig, path: Path
) -> None:
    if "rope_embed.periods" not in original or architecture.model_type != VIT:
        return
    count = architecture.hidden_size // architecture.num_attention_heads // 4
    expected = architecture.rope_theta ** (torch.arange(count) / count)
    periods = original["rope_embed.periods"].float()
    if periods.shape != expected.shape or not torch.allclose(periods, expected, rtol=_SAME_PERIOD):
        raise ConfigError(
            f"The rotary position coding in '{path}' has {len(periods)} periods up to "
            f"{float(periods.max()):.1f}, the network that is configured {count} up to "
            f"{float(expected.max()):.1f}: 'num_attention_heads' or 'rope_theta' in "
            f"'{_KEY}.config' is another.",
            key=f"{_KEY}.config",
            path=str(path),
        )
