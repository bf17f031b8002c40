"""The model as a Lightning module: the loss of its task, its learning rates, its metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from ..contract.errors import ConfigError
from ..contract.spec import ModelSpec, spec_from_dict
from ..model import MultiModalModel
from .lightning_door import pl
from .metrics import AveragePrecision

Batch = tuple[Tensor, Tensor, Tensor]


class MultiModalLightningModule(pl.LightningModule):
    """Train a :class:`MultiModalModel`, kept as ``model``.

    A batch is ``(s1_data, s2_data, labels)``, the data as :meth:`MultiModalModel.forward` takes
    them. Labels follow the spec's task: ``multilabel`` takes (B, classes) of 0 and 1 and the
    binary cross entropy of each class; ``multiclass`` takes (B,) class numbers and the cross
    entropy. Logged are ``train_loss``, ``val_loss``, ``val_ap_micro`` and ``val_ap_macro``.

    A checkpoint holds plain dicts and tensors only: it loads with ``weights_only=True``, and
    :meth:`load_from_checkpoint` builds the network from sizes alone, without pretrained files.

    Args:
        config: the nested configuration dict; what it leaves out gets the defaults.
        spec: channels, classes and task, or what :meth:`ModelSpec.to_dict` made of them.
        weight_decay: of AdamW; the learning rates stand in ``config``.
        load_backbones: False leaves out the pretrained weights, as for a checkpoint.

    Raises:
        ConfigError: the configuration is wrong, or contradicts the spec.
        WeightsUnavailableError: ``pretrained`` weights cannot be had.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        spec: ModelSpec | Mapping[str, Any] | None = None,
        *,
        weight_decay: float = 0.01,
        load_backbones: bool = True,
    ) -> None:
        super().__init__()
        described = spec_from_dict(spec) if isinstance(spec, Mapping) else spec
        self.model = MultiModalModel(config, described, load_backbones=load_backbones)
        self.average_precision = AveragePrecision()
        self.save_hyperparameters(
            {
                # As built: complete, and rebuilt without the files that it started from.
                "config": json.loads(json.dumps(self.model.config.to_dict())),
                "spec": self.model.spec.to_dict(),
                "weight_decay": weight_decay,
                "load_backbones": False,
            }
        )

    @property
    def spec(self) -> ModelSpec:
        """The spec of the model."""
        return self.model.spec

    def forward(self, s1_data: Tensor | None, s2_data: Tensor | None) -> Tensor:
        """Return raw logits (B, classes); see :meth:`MultiModalModel.forward`."""
        return self.model(s1_data, s2_data)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        s1_data, s2_data, labels = batch
        loss = task_loss(self.model(s1_data, s2_data), labels, self.spec)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Gather the loss and the probabilities of a batch."""
        s1_data, s2_data, labels = batch
        logits = self.model(s1_data, s2_data)
        self.log("val_loss", task_loss(logits, labels, self.spec), prog_bar=True, sync_dist=True)
        if self.spec.task == "multilabel":
            self.average_precision.update(logits.float().sigmoid(), labels)
        else:
            truth = one_hot(labels.long(), len(self.spec.classes))
            self.average_precision.update(logits.float().softmax(dim=1), truth)

    def on_validation_epoch_end(self) -> None:
        """Log micro and macro average precision of all that was validated."""
        found = self.average_precision.compute()
        self.average_precision.reset()
        self.log_dict({f"val_ap_{name}": value for name, value in found.items()}, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the groups of the model, each with its own learning rate."""
        groups = self.model.get_parameter_groups()
        return torch.optim.AdamW(groups, weight_decay=self.hparams["weight_decay"])


def task_loss(logits: Tensor, labels: Tensor, spec: ModelSpec) -> Tensor:
    """Return the mean loss of logits (B, classes) that fits the spec's task.

    Raises:
        ConfigError: the labels have the shape of the other task, or none.
    """
    if spec.task == "multilabel":
        _check_labels(labels, tuple(logits.shape), spec)
        return binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    _check_labels(labels, (logits.shape[0],), spec)
    return cross_entropy(logits, labels.long())


def _check_labels(labels: Tensor, expected: tuple[int, ...], spec: ModelSpec) -> None:
    if tuple(labels.shape) != expected:
        what = "0 or 1 for each class" if spec.task == "multilabel" else "one class number a tile"
        raise ConfigError(
            f"Labels must have the shape {expected} ({what}), for the task is '{spec.task}'; "
            f"these are {tuple(labels.shape)}. Change the labels, or the task of the spec."
        )
