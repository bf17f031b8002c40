"""The MLP head, trained with torch on embeddings that are there."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ..classifier import build_head
from ..config import ClassifierConfig
from .claims import PRESENT, UNKNOWN
from .linear_head import mean_and_scale

EPOCHS: tuple[int, ...] = (20, 60, 150)
"""Passes over all tiles that are tried."""
_SEED = 19
_BATCH = 256


@dataclass(frozen=True)
class MlpHead:
    """A head of the module in eval mode, on raw embeddings."""

    module: Any

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return logits (N, classes) of embeddings (N, width)."""
        with torch.no_grad():
            found: np.ndarray = self.module(torch.from_numpy(x.astype(np.float32))).double().numpy()
            return found

    def calibrated(self, scale: np.ndarray, bias: np.ndarray) -> MlpHead:
        """Return the head whose logits are ``scale * logits + bias``, by class."""
        module = copy.deepcopy(self.module)
        with torch.no_grad():
            module.fc.weight.mul_(torch.from_numpy(scale[:, None]))
            module.fc.bias.mul_(torch.from_numpy(scale)).add_(torch.from_numpy(bias))
        return MlpHead(module)


@dataclass(frozen=True)
class MlpFitter:
    """Fits MLP heads: AdamW at the learning rate of the configuration, the same seed each time."""

    multi: bool
    config: ClassifierConfig
    balanced: bool = False

    @property
    def settings(self) -> Sequence[float]:
        """Numbers of epochs to choose from."""
        return EPOCHS

    @property
    def default(self) -> float:
        """Epochs where there is nothing to choose by."""
        return EPOCHS[1]

    def fit(self, x: np.ndarray, says: np.ndarray, settings: Sequence[float]) -> list[MlpHead]:
        """Return the head after each number of epochs (rising), for embeddings (N, width).

        The embedding is standardised, which is folded into the hidden layer. What is not known
        has no part in the loss.
        """
        mean, scale = mean_and_scale(x)
        inputs = torch.from_numpy(((x - mean) / scale).astype(np.float32))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            module = build_head(self.config, x.shape[1], says.shape[1])
            states = self._trained(module, inputs, torch.from_numpy(says), settings)
        return [_folded(state, mean, scale) for state in states]

    def _trained(
        self, module: nn.Module, x: Tensor, says: Tensor, settings: Sequence[float]
    ) -> list[nn.Module]:
        optimizer = torch.optim.AdamW(module.parameters(), lr=self.config.lr, weight_decay=0.05)
        weights = self._weights(says)
        states = []
        module.train()
        for epoch in range(1, int(max(settings)) + 1):
            for chosen in torch.randperm(len(x)).split(_BATCH):
                optimizer.zero_grad()
                self._loss(module(x[chosen]), says[chosen], weights).backward()
                optimizer.step()
            if epoch in settings:
                states.append(copy.deepcopy(module).eval())
        return states

    def _weights(self, says: Tensor) -> Tensor | None:
        """Return the weight of a positive (several classes), or of a class (one)."""
        if not self.balanced:
            return None
        present = (says == PRESENT).sum(dim=0).clamp(min=1)
        if self.multi:
            return (says == 0).sum(dim=0).clamp(min=1) / present
        return len(says) / (says.shape[1] * present.float())

    def _loss(self, logits: Tensor, says: Tensor, weights: Tensor | None) -> Tensor:
        if not self.multi:
            return cross_entropy(logits, says.argmax(dim=1), weight=weights)
        truth, known = (says == PRESENT).float(), (says != UNKNOWN).float()
        losses = binary_cross_entropy_with_logits(
            logits, truth, pos_weight=weights, reduction="none"
        )
        return (losses * known).sum() / known.sum().clamp(min=1)


def _folded(module: Any, mean: np.ndarray, scale: np.ndarray) -> MlpHead:
    with torch.no_grad():
        hidden = module.hidden
        weight = hidden.weight.double() / torch.from_numpy(scale.astype(np.float64))
        hidden.bias.copy_(hidden.bias.double() - weight @ torch.from_numpy(mean.astype(np.float64)))
        hidden.weight.copy_(weight)
    return MlpHead(module)
