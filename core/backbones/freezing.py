"""What it means that a backbone is frozen."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn


class Freezable(nn.Module):
    """A module that, once frozen, has no gradients and stays in eval mode under ``train()``.

    Without the latter BatchNorm statistics would drift, and transformers' DINOv3 would jitter
    its position coding: a "frozen" backbone would give other embeddings at every pass.
    """

    frozen: bool = False

    def freeze(self) -> None:
        """Freeze for good."""
        self.requires_grad_(False)
        self.frozen = True
        self.eval()

    def train(self, mode: bool = True) -> Freezable:
        """Set the mode of the module, eval for ever when frozen."""
        return super().train(mode and not self.frozen)

    def gradients(self) -> AbstractContextManager[None]:
        """Return the context to run ``forward`` in: a frozen branch keeps no activations."""
        return torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen)
