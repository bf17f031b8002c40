"""From normalised tiles to probabilities, on the device that is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .batching import LEAST, BatchSize
from .contract.job import MAX_BATCH
from .contract.spec import ModelSpec
from .devices import (
    CPU,
    FP32,
    TF32,
    Device,
    free_unused,
    known_device,
    moving,
    no_room,
    raise_broken,
)
from .launch import FloatArray, Launched, launch
from .model import MultiModalModel
from .shortage import is_out_of_memory
from .stages import stage


class BatchStopped(Exception):
    """A cancel came while a batch was computed: what it had is dropped."""


@dataclass
class Predictor:
    """A model on its device, computed by ``network``: itself, or made from it to be faster.

    Where the device runs out of memory ``size`` shrinks, and at one tile the model moves to the
    CPU, which changes ``device`` and ``precision``; ``tell`` gets a sentence for the user.
    ``precision`` is the name of a way, such as ``bf16 fused``. ``is_cancelled`` is asked inside a
    batch too; ``most`` is what the user allows at once.
    """

    model: MultiModalModel
    device: Device
    size: BatchSize
    tell: Callable[[str], None] = lambda text: None
    precision: str = FP32
    is_cancelled: Callable[[], bool] = lambda: False
    most: int = MAX_BATCH
    network: nn.Module | None = None

    def __post_init__(self) -> None:
        # Torch's own defaults allow TF32 for convolutions and not for products of matrices.
        is_tf32 = self.precision.startswith(TF32)
        torch.backends.cudnn.allow_tf32 = is_tf32
        torch.backends.cuda.matmul.allow_tf32 = is_tf32

    @property
    def spec(self) -> ModelSpec:
        """The spec of the model."""
        return self.model.spec

    def begin(self, s2: FloatArray, s1: FloatArray) -> Pending:
        """Hand tiles to a device that computes by itself, or to what computes them when asked.

        A trial of batch sizes takes times: while it goes on, nothing is computed meanwhile.
        """
        launched = None
        if self.device.torch.type == "cuda" and len(s2) >= LEAST and not self.size.is_on_trial:
            launched = self._launched(s2, s1)
        return Pending(self, s2, s1, launched)

    def _launched(self, s2: FloatArray, s1: FloatArray) -> Launched | None:
        """Return what runs on the GPU now, None where there was no room for it beside others."""
        try:
            with stage("forward"):
                return launch(self._probable, self.device.torch, s1, s2)
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise_broken(problem, self.device)
        free_unused(self.device)
        return None

    def _probable(self, s1: torch.Tensor, s2: torch.Tensor) -> torch.Tensor:
        return to_probabilities((self.network or self.model)(s1, s2), self.spec)

    def probabilities(self, s2: FloatArray, s1: FloatArray) -> FloatArray:
        """Return float32 (N, classes) for normalised s2 and s1, (N, C, H, W) each.

        A row is NaN where the model gave numbers that are not finite.

        Raises:
            BatchStopped: ``is_cancelled`` said so.
            DeviceError: no memory for one tile, not even on the CPU, or the GPU failed.
        """
        parts = []
        start = 0
        while start < len(s2):
            end = start + self.size.limit
            part = self._part(s2[start:end], s1[start:end])
            if part is not None:
                parts.append(part)
                start += len(part)
        empty = np.empty((0, len(self.spec.classes)), dtype=np.float32)
        return np.concatenate([empty, *parts])

    def _part(self, s2: FloatArray, s1: FloatArray) -> FloatArray | None:
        """Return probabilities, or None where there was no memory and less is to be tried."""
        tiles = len(s2)
        if tiles == 1 and self.size.limit >= LEAST:
            s2, s1 = (np.repeat(array, LEAST, axis=0) for array in (s2, s1))
        started = time.perf_counter()
        try:
            values = self._computed(s2, s1)[:tiles]
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise_broken(problem, self.device)
            if len(s2) == 1 and self.device.kind == CPU:
                raise no_room(self.device) from problem
        else:
            self.size.took(tiles, time.perf_counter() - started)
            return values
        # Outside of the handler: the error's traceback holds what the failed batch has allocated.
        self._make_room(len(s2))
        return None

    def _computed(self, s2: FloatArray, s1: FloatArray) -> FloatArray:
        return self.compute(self.network or self.model, s2, s1).numpy()

    def compute(self, network: nn.Module, s2: FloatArray, s1: FloatArray) -> torch.Tensor:
        """Return probabilities (N, classes) of all tiles at once by a network, on the CPU."""
        with stage("forward"), torch.inference_mode(), stoppable(network, self.is_cancelled):
            inputs = (torch.from_numpy(a).to(self.device.torch) for a in (s1, s2))
            return to_probabilities(network(*inputs), self.spec).cpu()

    def _make_room(self, failed: int) -> None:
        free_unused(self.device)
        if failed > 1:
            self.size.shrink(failed)
            self.tell(
                f"{self.device.name} ran out of memory; going on with batches of {self.size.limit}."
            )
            return
        self._move_to_cpu()

    def _move_to_cpu(self) -> None:
        before, self.device = self.device, known_device(torch.device(CPU))
        self.network, self.precision = None, FP32  # what is fast on a GPU crawls on a CPU
        self.tell(moving(before))
        try:
            self.model.to(self.device.torch)
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise_broken(problem, before)
            raise no_room(self.device) from problem
        free_unused(before)
        self.size = BatchSize.on_trial(CPU, self.most)
        self.precision = FP32


@dataclass
class Pending:
    """Tiles whose probabilities are being computed, or will be once they are asked for."""

    _predictor: Predictor
    _s2: FloatArray
    _s1: FloatArray
    _launched: Launched | None

    @property
    def is_running(self) -> bool:
        """Whether a device computes them by itself."""
        return self._launched is not None

    def result(self) -> FloatArray:
        """Wait for the probabilities, or compute them; as :meth:`Predictor.probabilities`."""
        if self._launched is None:
            return self._predictor.probabilities(self._s2, self._s1)
        try:
            with stage("forward"):
                return self._launched.wait()
        except RuntimeError as problem:
            if not is_out_of_memory(problem):
                raise_broken(problem, self._predictor.device)
        self._launched = None
        return self._predictor.probabilities(self._s2, self._s1)


@contextmanager
def stoppable(model: nn.Module, is_cancelled: Callable[[], bool]) -> Iterator[None]:
    """Ask for a cancel before every layer: a batch of a large model takes a CPU many seconds."""

    def look(*_: object) -> None:
        if is_cancelled():
            raise BatchStopped

    layers = [module for module in model.modules() if not any(module.children())]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def to_probabilities(logits: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    """Return the sigmoid (multi-label) or softmax (multi-class) of logits / temperature.

    A row with a logit that is not finite is NaN: the sigmoid of infinity would be a sure 1.
    """
    scaled = logits.float() / spec.temperature
    found = torch.sigmoid(scaled) if spec.task == "multilabel" else torch.softmax(scaled, dim=1)
    return found.masked_fill(~torch.isfinite(scaled).all(dim=1, keepdim=True), torch.nan)
