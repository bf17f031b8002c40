"""Training for the day on which a sensor is missing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .contract.errors import ConfigError


class ModalityDropout(nn.Module):
    """Blank one sensor of a random share of the tiles, in training only.

    Blank is 0 everywhere, the mean of each channel: no real tile looks like that. A model that
    has met it takes a missing sensor in inference; one that has not is refused there.

    Args:
        share: of the tiles, 0 to under 1, half of them losing S1 and half of them S2.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, s1_data: Tensor, s2_data: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, C1, H, W) and (B, C2, H, W), as they are or with tiles blanked."""
        if not self.training or self.share == 0.0:
            return s1_data, s2_data
        lot = torch.rand(s1_data.shape[0], 1, 1, 1, device=s1_data.device)
        keep_s1, keep_s2 = lot >= self.share / 2, lot < 1 - self.share / 2
        # Chosen, not multiplied: NaN x 0 is NaN.
        return torch.where(keep_s1, s1_data, 0.0), torch.where(keep_s2, s2_data, 0.0)

    def completed(
        self, s1_data: Tensor | None, s2_data: Tensor | None, s1_channels: int, s2_channels: int
    ) -> tuple[Tensor, Tensor]:
        """Return both, with a blank tensor for the one that is None.

        Raises:
            ConfigError: both are missing, or the model was not trained with one missing.
        """
        there = s2_data if s1_data is None else s1_data
        if there is None:
            raise ConfigError("Both sensors are missing: give s1_data or s2_data.")
        if self.share == 0.0:
            missing = "s1_data" if s1_data is None else "s2_data"
            raise ConfigError(
                f"{missing} is None, but this model was trained with both sensors always there: "
                "its answer would mean nothing. Train with 'modality_dropout' over 0 for that.",
                key="modality_dropout",
            )
        tiles, _, height, width = there.shape
        if s1_data is None:
            return there.new_zeros(tiles, s1_channels, height, width), there
        return there, there.new_zeros(tiles, s2_channels, height, width)
