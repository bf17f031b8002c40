"""DINOv3's part of a configuration, read from the tensors of a state dict.

What they tell is a fact, and a configuration that says otherwise is refused. What they cannot
tell, like the size that RGB is resized to, is assumed and said so.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..backbones.dinov3_sizes import CONVNEXT, REGISTER_TOKENS, RELEASED, VIT
from ..config import Dinov3Config
from ..contract.errors import ConfigError

Nested = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]

_RGB = "dinov3_backbone.model."
# What a released ViT has where the table of sizes is silent.
_RELEASED_VIT = {
    "patch_size": 16,
    "num_register_tokens": REGISTER_TOKENS,
    "use_gated_mlp": False,
    "query_bias": True,
    "key_bias": False,
    "value_bias": True,
    "proj_bias": True,
    "mlp_bias": True,
}


@dataclass
class Understood:
    """``facts`` stand in the tensors, ``rest`` is assumed; ``assumed`` tells in words what is."""

    facts: Nested = field(default_factory=dict)
    rest: Nested = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)

    def config(self, said: Mapping[str, Any]) -> Nested:
        """Return the whole configuration: what is said, then facts, then what is assumed.

        Raises:
            ConfigError: what is said contradicts the tensors.
        """
        _check_agreement(said, self.facts)
        return merged(merged(self.rest, self.facts), said)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Nested:
    """Return ``base`` with ``over`` on top, dict by dict; a None there hides no value."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        elif value is not None or key not in result or key == "input_size":
            result[key] = copy.deepcopy(value)
    return result


def _check_agreement(said: Mapping[str, Any], facts: Mapping[str, Any], where: str = "") -> None:
    for key, value in said.items():
        found = facts.get(key)
        if isinstance(value, Mapping) and isinstance(found, Mapping):
            _check_agreement(value, found, f"{where}{key}.")
        elif found is not None and value is not None and _listed(value) != _listed(found):
            raise ConfigError(
                f"'{where}{key}' is {value!r} in the configuration, but the tensors of the "
                f"checkpoint say {found!r}: correct it, or leave it out to have it read from them.",
                key=f"{where}{key}",
            )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def part(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the dict under a key, empty where there is none."""
    found = said.get(key)
    return {} if found is None else found


def shape_of(shapes: Shapes, key: str, axes: int) -> tuple[int, ...]:
    """Return the shape of a tensor; a :class:`ConfigError` where it is missing or has others."""
    found = shapes.get(key)
    if found is None:
        raise ConfigError(
            f"The checkpoint has no '{key}': it is incomplete, or of another model.", key=key
        )
    if len(found) != axes:
        raise ConfigError(f"'{key}' in the checkpoint is {found}, which has not {axes} axes.")
    return found


def numbers(shapes: Shapes, prefix: str) -> set[int]:
    """Return the N of all keys ``<prefix>N....``."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return {int(match[1]) for key in shapes if (match := pattern.match(key))}


def understand_dinov3(shapes: Shapes, said: Mapping[str, Any]) -> Understood:
    """Read ``backbones.dinov3`` from the shapes of a whole model; ``said`` is that same part.

    Raises:
        ConfigError: no DINOv3, not the one that is said, or one whose heads nobody knows.
    """
    is_vit = f"{_RGB}embeddings.cls_token" in shapes
    if not is_vit and not numbers(shapes, f"{_RGB}stages."):
        raise ConfigError(
            f"The keys under '{_RGB}' in the checkpoint are no DINOv3 model of transformers "
            "(neither embeddings.cls_token nor stages.0): save the model with that library.",
        )
    sizes = _vit(shapes) if is_vit else _convnext(shapes)
    names = [name for name in RELEASED if _disagreement(RELEASED[name], sizes) is None]
    understood = Understood({"config": sizes}, {"pretrained": False, "config": {}})
    _name(understood, names, said, sizes)
    if is_vit:
        _heads(understood, names, said, sizes)
    for key, meaning in _UNSEEN.items():
        if key not in said:
            value = Dinov3Config.__dataclass_fields__[key].default
            understood.rest[key] = value
            understood.assumed.append(f"backbones.dinov3.{key} {value}: {meaning}")
    return understood


_UNSEEN = {
    "input_size": "RGB is resized to that many pixels a side",
    "normalization": "RGB goes in as the z-scored input is",
}


def _vit(shapes: Shapes) -> Nested:
    layer = f"{_RGB}layer.0."
    hidden, _, patch, _ = shape_of(shapes, f"{_RGB}embeddings.patch_embeddings.weight", 4)
    registers = shapes.get(f"{_RGB}embeddings.register_tokens", (1, 0, hidden))
    return {
        "model_type": VIT,
        "hidden_size": hidden,
        "intermediate_size": shape_of(shapes, f"{layer}mlp.up_proj.weight", 2)[0],
        "num_hidden_layers": len(numbers(shapes, f"{_RGB}layer.")),
        "num_register_tokens": registers[1] if len(registers) == 3 else 0,
        "patch_size": patch,
        "use_gated_mlp": f"{layer}mlp.gate_proj.weight" in shapes,
        "mlp_bias": f"{layer}mlp.up_proj.bias" in shapes,
        **{
            f"{name}_bias": f"{layer}attention.{name[:1]}_proj.bias" in shapes
            for name in ("query", "key", "value")
        },
        "proj_bias": f"{layer}attention.o_proj.bias" in shapes,
    }


def _convnext(shapes: Shapes) -> Nested:
    stages = sorted(numbers(shapes, f"{_RGB}stages."))
    first = (f"{_RGB}stages.{n}.layers.0.depthwise_conv.weight" for n in stages)
    return {
        "model_type": CONVNEXT,
        "hidden_sizes": [shape_of(shapes, key, 4)[0] for key in first],
        "depths": [len(numbers(shapes, f"{_RGB}stages.{n}.layers.")) for n in stages],
    }


def _disagreement(released: Mapping[str, Any], sizes: Mapping[str, Any]) -> str | None:
    """Return the first field in which a released model is not what the tensors say."""
    full = {**(_RELEASED_VIT if released["model_type"] == VIT else {}), **released}
    return next((key for key in sizes if full.get(key) != sizes[key]), None)


def _name(understood: Understood, names: list[str], said: Mapping[str, Any], sizes: Nested) -> None:
    name = said.get("model_name")
    if name is None:
        # Any text that is no released name: the sizes stand in `config`, all of them.
        understood.rest["model_name"] = names[0] if names else "own sizes"
        if len(names) > 1:
            understood.assumed.append(
                f"backbones.dinov3.model_name {names[0]}: {', '.join(names[1:])} has the same sizes"
            )
    elif name in RELEASED:
        key = _disagreement({**RELEASED[name], **part(said, "config")}, sizes)
        if key is not None:
            fitting = f"; they fit {' or '.join(names)}" if names else ""
            raise ConfigError(
                f"'backbones.dinov3.model_name' is '{name}', but the tensors of the checkpoint "
                f"have '{key}' {sizes[key]}{fitting}. Correct the name.",
                key="backbones.dinov3.model_name",
            )


def _heads(
    understood: Understood, names: list[str], said: Mapping[str, Any], sizes: Nested
) -> None:
    """Add what no tensor of a ViT shows: the number of heads, and the activation."""
    own, rest = part(said, "config"), understood.rest["config"]
    alike = [r for r in RELEASED.values() if r.get("hidden_size") == sizes["hidden_size"]]
    named = RELEASED.get(said.get("model_name", ""))
    base = named or (alike[0] if alike else None)
    if "num_attention_heads" not in own and base is None:
        raise ConfigError(
            f"DINOv3 in the checkpoint is {sizes['hidden_size']} wide. No released model is, and "
            "tensors do not tell the number of attention heads: say it in --config, as "
            '{"backbones": {"dinov3": {"config": {"num_attention_heads": N}}}}.',
            key="backbones.dinov3.config.num_attention_heads",
        )
    if base is not None:
        rest["num_attention_heads"] = base["num_attention_heads"]
    rest["hidden_act"] = "silu" if sizes["use_gated_mlp"] else "gelu"
    if named is not None:
        rest["hidden_act"] = named.get("hidden_act", "gelu")
    for key in ("num_attention_heads", "hidden_act"):
        if not (names or named or key in own):
            understood.assumed.append(
                f"backbones.dinov3.config.{key} {rest[key]}: as the released models of that kind"
            )
