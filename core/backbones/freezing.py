"""What it means that a backbone is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from typing_extensions import Self


class Freezable(nn.Module):
    """A module that, once frozen, has no gradients and stays in eval mode under ``train()``.

    Without the latter BatchNorm statistics would drift, and transformers' DINOv3 would jitter
    its position coding: a "frozen" backbone would give other embeddings at every pass.
    """

    frozen: bool = False
    learning: tuple[str, ...] = ()
    """Names of the submodules that a frozen module leaves to learn."""

    def freeze(self, *, except_for: Sequence[str] = ()) -> None:
        """Freeze for good, all but the named submodules."""
        was_training = self.training
        self.requires_grad_(False)
        self.frozen, self.learning = True, tuple(except_for)
        for name in self.learning:
            self.get_submodule(name).requires_grad_(True)
        self.train(was_training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the module: what is frozen stays in eval for ever."""
        super().train(mode and not self.frozen)
        for name in self.learning:
            self.get_submodule(name).train(mode)
        return self

    def gradients(self) -> AbstractContextManager[None]:
        """Return the context to run ``forward`` in: a frozen branch keeps no activations."""
        if self.frozen:
            self._calm()
        learns = not self.frozen or bool(self.learning)
        return torch.set_grad_enabled(torch.is_grad_enabled() and learns)

    def _calm(self) -> None:
        """Put back to eval what somebody set to train part by part, past :meth:`train`."""
        for name, module in self.named_modules():
            if module.training and not name.startswith(self.learning):
                module.training = False
