"""The released DINOv3 models: their sizes, so that they can be built without a network."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

VIT = "dinov3_vit"
CONVNEXT = "dinov3_convnext"

# The released ViT weights have four; transformers' default is none.
REGISTER_TOKENS = 4


def _vit(hidden: int, layers: int, heads: int, intermediate: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": VIT,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "num_register_tokens": REGISTER_TOKENS,
        **more,
    }


def _convnext(width: int, third_stage: int) -> dict[str, Any]:
    return {
        "model_type": CONVNEXT,
        "hidden_sizes": [width, 2 * width, 4 * width, 8 * width],
        "depths": [3, 3, third_stage, 3],
    }


_GATED = {"use_gated_mlp": True, "hidden_act": "silu"}
_VITL = _vit(1024, 24, 16, 4096)
_VIT7B = _vit(4096, 40, 32, 8192, query_bias=False, value_bias=False, **_GATED)

RELEASED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "facebook/dinov3-vits16-pretrain-lvd1689m": _vit(384, 12, 6, 1536),
        "facebook/dinov3-vits16plus-pretrain-lvd1689m": _vit(384, 12, 6, 1536, **_GATED),
        "facebook/dinov3-vitb16-pretrain-lvd1689m": _vit(768, 12, 12, 3072),
        "facebook/dinov3-vitl16-pretrain-lvd1689m": _VITL,
        "facebook/dinov3-vitl16-pretrain-sat493m": _VITL,
        "facebook/dinov3-vith16plus-pretrain-lvd1689m": _vit(1280, 32, 20, 5120, **_GATED),
        "facebook/dinov3-vit7b16-pretrain-lvd1689m": _VIT7B,
        "facebook/dinov3-vit7b16-pretrain-sat493m": _VIT7B,
        "facebook/dinov3-convnext-tiny-pretrain-lvd1689m": _convnext(96, 9),
        "facebook/dinov3-convnext-small-pretrain-lvd1689m": _convnext(96, 27),
        "facebook/dinov3-convnext-base-pretrain-lvd1689m": _convnext(128, 27),
        "facebook/dinov3-convnext-large-pretrain-lvd1689m": _convnext(192, 27),
    }
)
"""Hub id -> the fields of its transformers configuration that differ from the defaults.

Source: the model hub file of the dinov3 project and the config.json of the hub folders.
"""

OFFICIAL_FILES: Mapping[str, str] = MappingProxyType(
    {
        f"facebook/dinov3-{size.replace('_', '-')}-pretrain-{data}": (
            f"dinov3_{size}_pretrain_{data}-{digest}.pth"
        )
        for size, data, digest in (
            ("vits16", "lvd1689m", "08c60483"),
            ("vits16plus", "lvd1689m", "4057cbaa"),
            ("vitb16", "lvd1689m", "73cec8be"),
            ("vitl16", "lvd1689m", "8aa4cbdd"),
            ("vitl16", "sat493m", "eadcf0ff"),
            ("vith16plus", "lvd1689m", "7c1da9a5"),
            ("vit7b16", "lvd1689m", "a955f4ea"),
            ("vit7b16", "sat493m", "a6675841"),
            ("convnext_tiny", "lvd1689m", "21b726bb"),
            ("convnext_small", "lvd1689m", "296db49d"),
            ("convnext_base", "lvd1689m", "801f2ba9"),
            ("convnext_large", "lvd1689m", "61fa432d"),
        )
    }
)
"""Hub id -> the file of the dinov3 project that holds the same weights.

Source: ``dinov3/hub/backbones.py`` of that project.
"""

RGB_STATISTICS = MappingProxyType(
    {
        "lvd": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "sat": ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),
    }
)
"""(mean, std) of RGB in 0-1 that the released weights were trained with."""
