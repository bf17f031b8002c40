"""What one tile costs a model: multiply-adds reckoned from its configuration, without torch.

Convolutions, linear layers and attention are counted; the rest is under 1 % of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .config import DEFAULT_IMAGE_SIZE, PATCH_SIZE, RESNETS, ModelConfig, ResNetConfig
from .contract.errors import ConfigError

_EXPANSION = 4  # of a bottleneck


def flop_per_tile(config: Mapping[str, Any]) -> float | None:
    """Return the floating point operations of one tile, two a multiply-add.

    Args:
        config: the nested configuration of a saved model, which has every size of its backbones.

    Returns:
        None for an architecture that is not known.
    """
    try:
        wanted = ModelConfig.from_dict({key: config[key] for key in config if key != "spec"})
    except ConfigError:
        return None  # the model is refused in full words where it is loaded
    dinov3 = wanted.backbones.dinov3
    tile = wanted.image_size or DEFAULT_IMAGE_SIZE
    size = dinov3.input_size or tile
    try:
        if "hidden_size" in dinov3.config:
            rgb = _vit(dinov3.config, size)
        else:
            rgb = _convnext(dinov3.config["hidden_sizes"], dinov3.config["depths"], size)
    except (KeyError, TypeError, ZeroDivisionError):
        return None
    return 2.0 * (rgb + _resnet(wanted.backbones.resnet101, tile))


def _vit(fields: Mapping[str, Any], size: int) -> float:
    width, inner = fields["hidden_size"], fields["intermediate_size"]
    patch = fields.get("patch_size", PATCH_SIZE)
    patches = (size // patch) ** 2
    tokens = patches + 1 + fields.get("num_register_tokens", 0)
    matrices = 3 if fields.get("use_gated_mlp") else 2
    linear = tokens * width * (4 * width + matrices * inner)
    attention = 2 * tokens * tokens * width
    return patches * 3 * patch**2 * width + fields["num_hidden_layers"] * (linear + attention)


def _convnext(widths: Sequence[int], depths: Sequence[int], size: int) -> float:
    total, side, before = 0.0, size, 3
    for number, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        step = 2 if number else 4  # the stem takes patches of 4, a stage halves
        side //= step
        per_pixel = before * step**2 * width + depth * (7 * 7 * width + 8 * width**2)
        total += side**2 * per_pixel
        before = width
    return total


def _resnet(config: ResNetConfig, size: int) -> float:
    is_bottleneck, stock = RESNETS[config.arch]
    side = _halved(size)
    total = side**2 * 7 * 7 * (config.in_channels or 0) * config.width
    side, before = _halved(side), config.width
    for stage, depth in enumerate(config.layers or stock):
        planes = config.width * 2**stage
        wide = planes * (_EXPANSION if is_bottleneck else 1)
        for block in range(depth):
            step = 2 if stage and not block else 1
            after = _halved(side) if step == 2 else side
            total += _block(is_bottleneck, before, planes, side, after)
            if step == 2 or before != wide:
                total += after**2 * before * wide
            side, before = after, wide
    return float(total)


def _block(is_bottleneck: bool, before: int, planes: int, side: int, after: int) -> int:
    """Return the multiply-adds of a block without its shortcut."""
    if not is_bottleneck:
        return after**2 * 9 * planes * (before + planes)
    # As torchvision builds it, the second convolution takes the step.
    return side**2 * before * planes + after**2 * planes**2 * (9 + _EXPANSION)


def _halved(size: int) -> int:
    return -(-size // 2)
