"""Average precision as it is published for BigEarthNet: micro and macro."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .lightning_door import Metric, dim_zero_cat, multilabel_average_precision


class AveragePrecision(Metric):
    """Micro and macro average precision of probabilities, gathered over batches and processes.

    Macro is the mean over the classes that have both positives and negatives: without a
    positive the figure is undefined (torchmetrics counts it as 0), without a negative it is 1
    whatever the model says. NaN where no class is left.
    """

    full_state_update = False
    higher_is_better = True
    probabilities: list[Tensor]
    truth: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("probabilities", default=[], dist_reduce_fx="cat")
        self.add_state("truth", default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, truth: Tensor) -> None:
        """Add a batch: probabilities 0 to 1 and truth 0 or 1, both (B, classes)."""
        self.probabilities.append(probabilities.detach().float())
        self.truth.append(truth.long())

    def compute(self) -> dict[str, Tensor]:
        """Return ``{"micro", "macro"}``, scalars."""
        probabilities, truth = dim_zero_cat(self.probabilities), dim_zero_cat(self.truth)
        told = (truth.amax(dim=0) == 1) & (truth.amin(dim=0) == 0)
        return {
            "micro": _average_precision(probabilities, truth, "micro"),
            "macro": _average_precision(probabilities[:, told], truth[:, told], "macro"),
        }


def _average_precision(
    probabilities: Tensor, truth: Tensor, average: Literal["micro", "macro"]
) -> Tensor:
    classes = truth.shape[1]
    if classes == 0:
        return torch.tensor(float("nan"), device=truth.device)
    if classes == 1:
        # torchmetrics takes two labels or more; the same one twice has the same mean.
        probabilities, truth, classes = probabilities.repeat(1, 2), truth.repeat(1, 2), 2
    return multilabel_average_precision(probabilities, truth, num_labels=classes, average=average)
