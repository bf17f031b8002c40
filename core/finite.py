"""Are the numbers of a tensor finite? Also of those kinds that torch stores and cannot add."""

from __future__ import annotations

import torch
from torch import Tensor

from .contract.errors import ConfigError

_ADDED = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


def all_finite(value: Tensor) -> bool:
    """Return whether a tensor holds neither NaN nor infinity.

    Raises:
        ConfigError: torch cannot turn its kind of numbers into another one (float4).
    """
    if not (value.is_floating_point() or value.is_complex()):
        return True
    if value.is_floating_point() and value.dtype not in _ADDED:
        value = _widened(value)
    # A sum takes NaN and infinity with it, and is thirty times faster; it may also overflow.
    return bool(torch.isfinite(value.sum()) or torch.isfinite(value).all())


def _widened(value: Tensor) -> Tensor:
    """Return float8 as float32, as which it is loaded into a network."""
    try:
        return value.float()
    except NotImplementedError as problem:
        raise ConfigError(
            f"Weights of the kind {str(value.dtype).removeprefix('torch.')} cannot be computed "
            "with: save them as float32, float16 or bfloat16."
        ) from problem
