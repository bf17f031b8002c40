"""What a model can be fed with: tensors of its channels and precision, not empty."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .contract.errors import ConfigError


def check_input(name: str, data: Any, channels: tuple[str, ...], dtype: torch.dtype) -> None:
    """Check one of the model's inputs; ``dtype`` is that of the weights.

    Nothing here looks at values, so nothing waits for a GPU or breaks a graph.

    Raises:
        ConfigError: says what to pass.
    """
    if not isinstance(data, Tensor):
        raise ConfigError(
            f"{name} must be a torch tensor, not {type(data).__name__}: "
            f"pass torch.as_tensor({name}, dtype={dtype})."
        )
    if data.ndim != 4 or data.shape[1] != len(channels):
        raise ConfigError(
            f"{name} must have the shape (B, {len(channels)}, H, W) with the channels "
            f"{', '.join(channels)}; this one is {tuple(data.shape)}."
        )
    if 0 in data.shape:
        raise ConfigError(
            f"{name} is empty, {tuple(data.shape)}: pass at least one tile of at least one pixel."
        )
    # Between the shorter floats autocast, DDP and FSDP may convert; with these none does.
    if not data.is_floating_point() or (data.dtype is torch.float64) != (dtype is torch.float64):
        raise ConfigError(
            f"{name} is {data.dtype}, but the weights of the model are {dtype}: pass "
            f"{name}.to({dtype}), normalised by the spec as (value - mean) / std."
        )
