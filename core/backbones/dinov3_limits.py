"""What a DINOv3 network can be built of: every field checked before transformers sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import MAX_BLOCKS, MAX_WIDTH
from ..config_checks import between, floor, one_of, positive, share, shown
from ..contract.errors import ConfigError
from ..torchvision_guard import ACT2FN, PretrainedConfig, PreTrainedModel
from .dinov3_sizes import VIT

_KEY = "backbones.dinov3.config"
_MAX_HIDDEN = 1 << 14
_MAX_STAGES = 8  # the released ones have four
_WHOLE = {
    "hidden_size": (1, _MAX_HIDDEN),
    "intermediate_size": (1, MAX_WIDTH),
    "num_hidden_layers": (1, MAX_BLOCKS),
    "num_attention_heads": (1, _MAX_HIDDEN),
    "num_register_tokens": (0, 1024),
    "patch_size": (1, 256),
}
_SHARES = ("attention_dropout", "drop_path_rate")
_POSITIVE = ("layer_norm_eps", "rope_theta", "layerscale_value", "layer_scale_init_value")
# A jitter or rescaling by r draws from 1 / r to r; a shift by s from -s to s.
_FLOORS = {
    "initializer_range": 0,
    "pos_embed_shift": 0,
    "pos_embed_jitter": 1,
    "pos_embed_rescale": 1,
}
# What a network's constructor is known to throw at values that make no network.
_FAILURES = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


def check_fields(kind: str, fields: Mapping[str, Any]) -> None:
    """Check the fields of a network of that kind, before transformers allocates by them.

    Raises:
        ConfigError: names the first field that no network can have, and what it may be.
    """
    if fields["num_channels"] != 3:
        raise ConfigError(
            f"'{_KEY}.num_channels' must be 3: this branch sees RGB.", key=f"{_KEY}.num_channels"
        )
    one_of(f"{_KEY}.hidden_act", fields["hidden_act"], sorted(ACT2FN))
    _check_numbers(fields)
    if kind == VIT:
        _check_heads(fields["hidden_size"], fields["num_attention_heads"])
    else:
        _check_stages(fields)


def build_network(
    network: type[PreTrainedModel], architecture: PretrainedConfig
) -> PreTrainedModel:
    """Build the network; whatever its constructor throws becomes a :class:`ConfigError`."""
    try:
        return network(architecture)
    except _FAILURES as problem:
        raise ConfigError(
            f"A network of '{_KEY}' cannot be built ({type(problem).__name__}: {problem}): "
            "correct its sizes, or leave them out.",
            key=_KEY,
        ) from problem


def _check_numbers(fields: Mapping[str, Any]) -> None:
    for name, (least, most) in _WHOLE.items():
        if name in fields:
            between(f"{_KEY}.{name}", _whole(name, fields[name]), least, most)
    for name in _SHARES:
        if name in fields:
            share(f"{_KEY}.{name}", _number(name, fields[name]))
    for name in _POSITIVE:
        if name in fields:
            positive(f"{_KEY}.{name}", _number(name, fields[name]))
    for name, least in _FLOORS.items():
        if fields.get(name) is not None:
            floor(f"{_KEY}.{name}", _number(name, fields[name]), least)


def _whole(name: str, value: Any) -> int:
    if type(value) is not int:  # transformers takes a pair for a patch
        raise _wrong(name, "a whole number", value)
    return value


def _number(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise _wrong(name, "a number", value)
    return value


def _wrong(name: str, what: str, value: Any) -> ConfigError:
    key = f"{_KEY}.{name}"
    return ConfigError(f"'{key}' must be {what}, not {shown(value)}.", key=key)


def _check_heads(hidden: int, heads: int) -> None:
    if hidden % (4 * heads):
        raise ConfigError(
            f"'{_KEY}.hidden_size' ({hidden}) must be a multiple of four times "
            f"'num_attention_heads' ({heads}): rotary position coding takes fours.",
            key=f"{_KEY}.hidden_size",
        )


def _check_stages(fields: Mapping[str, Any]) -> None:
    counts = {}
    for name, most in (("hidden_sizes", _MAX_HIDDEN), ("depths", MAX_BLOCKS)):
        values = fields[name]
        if not isinstance(values, list) or not 1 <= len(values) <= _MAX_STAGES:
            raise _wrong(
                name, f"a list with a number for each of 1 to {_MAX_STAGES} stages", values
            )
        for value in values:
            between(f"{_KEY}.{name}", _whole(name, value), 1, most)
        counts[name] = len(values)
    if counts["depths"] != counts["hidden_sizes"]:
        what = f"a list of as many numbers as 'hidden_sizes' has ({counts['hidden_sizes']})"
        raise _wrong("depths", what, fields["depths"])
