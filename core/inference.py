"""From normalised tiles to probabilities, on the device that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from .contract.errors import DeviceError
from .contract.spec import ModelSpec
from .model import MultiModalModel

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
DEFAULT_BATCH = {"cpu": 8, "mps": 32, "cuda": 64}
FP32, TF32 = "fp32", "tf32"
_AMPERE = 8


def choose_device(wanted: str) -> torch.device:
    """Return the device to run on; ``auto`` takes CUDA, else MPS, else the CPU.

    Raises:
        DeviceError: a device that was named is not there; the message says why.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda":
        _check_cuda(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("MPS needs a Mac with an Apple GPU: choose auto or cpu.")
    return device


def choose_precision(wanted: str, device: torch.device) -> str:
    """Return ``tf32`` where a GPU has it and ``wanted`` is not ``exact``, else ``fp32``.

    TF32 rounds the factors of a product to 10 bits and adds in full: several times faster on
    NVIDIA GPUs from Ampere on, and about 1e-3 apart from the CPU.
    """
    if wanted == "exact" or device.type != "cuda":
        return FP32
    return TF32 if torch.cuda.get_device_capability(device)[0] >= _AMPERE else FP32


def default_batch_size(device: torch.device) -> int:
    """Return the batch size for a device where the user left it open."""
    return DEFAULT_BATCH.get(device.type, DEFAULT_BATCH["cpu"])


class BatchStopped(Exception):
    """A cancel came while a batch was computed: what it had is dropped."""


@dataclass
class Predictor:
    """A model on its device.

    ``limit`` is the largest batch that fits; it shrinks when the device runs out of memory,
    and ``on_shrink`` is told the new one. ``is_cancelled`` is asked inside a batch too.
    """

    model: MultiModalModel
    device: torch.device
    limit: int
    on_shrink: Callable[[int], None] = lambda limit: None
    precision: str = FP32
    is_cancelled: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        # Torch's own defaults allow TF32 for convolutions and not for products of matrices.
        torch.backends.cudnn.allow_tf32 = self.precision == TF32
        torch.backends.cuda.matmul.allow_tf32 = self.precision == TF32

    @property
    def spec(self) -> ModelSpec:
        """The spec of the model."""
        return self.model.spec

    def probabilities(self, s2: FloatArray, s1: FloatArray) -> FloatArray:
        """Return float32 (N, classes) for normalised s2 and s1, (N, C, H, W) each.

        Raises:
            BatchStopped: ``is_cancelled`` said so.
        """
        parts = []
        start = 0
        while start < len(s2):
            part = self._part(s2[start : start + self.limit], s1[start : start + self.limit])
            if part is not None:
                parts.append(part)
                start += len(part)
        empty = np.empty((0, len(self.spec.classes)), dtype=np.float32)
        return np.concatenate([empty, *parts])

    def _part(self, s2: FloatArray, s1: FloatArray) -> FloatArray | None:
        """Return probabilities, or None after the limit was halved for want of memory."""
        try:
            with torch.inference_mode(), _stoppable(self.model, self.is_cancelled):
                inputs = (torch.from_numpy(a).to(self.device) for a in (s1, s2))
                return to_probabilities(self.model(*inputs), self.spec).cpu().numpy()
        except RuntimeError as problem:
            if not _is_out_of_memory(problem):
                raise
            if len(s2) == 1:
                raise DeviceError(
                    f"Not even one tile fits into the memory of {describe_device(self.device)}: "
                    "close other programs that use it, or choose the device cpu."
                ) from problem
            self.limit = max(1, len(s2) // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.on_shrink(self.limit)
        return None


@contextmanager
def _stoppable(model: nn.Module, is_cancelled: Callable[[], bool]) -> Iterator[None]:
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
    """Return the sigmoid (multi-label) or softmax (multi-class) of logits / temperature."""
    scaled = logits.float() / spec.temperature
    return torch.sigmoid(scaled) if spec.task == "multilabel" else torch.softmax(scaled, dim=1)


def describe_device(device: torch.device) -> str:
    """Return the device as a user knows it: ``cpu``, ``mps``, ``cuda:0 (NVIDIA ...)``."""
    if device.type != "cuda":
        return device.type
    index = torch.cuda.current_device() if device.index is None else device.index
    return f"cuda:{index} ({torch.cuda.get_device_name(index)})"


def _is_out_of_memory(problem: RuntimeError) -> bool:
    """Return whether an error says that; CPU and MPS have no class of their own for it."""
    text = str(problem)
    words = ("DefaultCPUAllocator", "MPS backend out of memory", "not enough memory")
    return isinstance(problem, torch.OutOfMemoryError) or any(word in text for word in words)


def _check_cuda(device: torch.device) -> None:
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        raise DeviceError(
            "CUDA was asked for, but this torch is a build for the CPU only: install a CUDA build "
            "into the worker's environment, or choose auto or cpu."
        )
    if not torch.cuda.is_available():
        raise DeviceError(
            "CUDA was asked for, but torch finds no usable GPU: check the driver (nvidia-smi), or "
            "choose auto or cpu."
        )
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise DeviceError(
            f"There is no {device}: this machine has {torch.cuda.device_count()} CUDA devices, "
            "counted from 0."
        )
