"""From the spec's z-scored RGB to what DINOv3 is to see: normalisation and size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..config import Dinov3Config
from ..contract.channels import RGB
from ..contract.errors import ConfigError
from ..contract.spec import ChannelSpec
from .dinov3_sizes import RGB_STATISTICS

_DN_PER_REFLECTANCE = 10000.0


class RgbInput(nn.Module):
    """Normalise and resize RGB (B, 3, H, W); no parameters, nothing in the state dict.

    ``dataset`` leaves the z-scored values as they are. ``lvd`` and ``sat`` undo the spec's mean
    and std, take DN / 10000 x gain as a colour, clip it to 0-1 and apply the mean and std that
    the released weights were trained with.
    """

    to_colour: Tensor
    colour_offset: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, config: Dinov3Config, rgb: Sequence[ChannelSpec]) -> None:
        super().__init__()
        if tuple(channel.name for channel in rgb) != RGB:
            raise ConfigError(f"The RGB branch takes {', '.join(RGB)}, in this order.")
        self.size = config.input_size
        self.as_colour = config.normalization != "dataset"
        if self.as_colour:
            factor = config.gain / _DN_PER_REFLECTANCE
            mean, std = RGB_STATISTICS[config.normalization]
            self._keep("to_colour", [channel.std * factor for channel in rgb])
            self._keep("colour_offset", [channel.mean * factor for channel in rgb])
            _check_range(self.to_colour, self.colour_offset)
            self._keep("mean", mean)
            self._keep("std", std)

    def _keep(self, name: str, values: Sequence[float]) -> None:
        # Follows from the configuration and the spec, so it is not stored with the weights.
        self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, rgb: Tensor) -> Tensor:
        """Return (B, 3, size, size), or (B, 3, H, W) where no size is configured."""
        if self.as_colour:
            colour = (rgb * self.to_colour + self.colour_offset).clamp(0.0, 1.0)
            rgb = (colour - self.mean) / self.std
        if self.size is None or rgb.shape[-2:] == (self.size, self.size):
            return rgb
        size = (self.size, self.size)
        # The CPU has no antialiasing in half precisions.
        exact = rgb if rgb.dtype is torch.float64 else rgb.float()
        resized = interpolate(exact, size, mode="bilinear", align_corners=False, antialias=True)
        return resized.to(rgb.dtype)


def _check_range(to_colour: Tensor, offset: Tensor) -> None:
    # On the meta device there are no numbers to look at.
    if not to_colour.is_meta and not bool(
        (to_colour.isfinite() & (to_colour > 0) & offset.isfinite()).all()
    ):
        key = "backbones.dinov3.gain"
        raise ConfigError(
            f"'{key}' times the mean or std of an RGB channel is too large or too small for "
            "float32: correct the gain or the statistics of the spec.",
            key=key,
        )
