"""Tiles handed to a GPU that computes them while the CPU prepares the next ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
_copying: dict[torch.device, torch.cuda.Stream] = {}


@dataclass(frozen=True)
class Launched:
    """A result on its way to page-locked memory; ``done`` comes after it."""

    host: Tensor
    done: torch.cuda.Event

    def wait(self) -> FloatArray:
        """Return the result once it is there; RuntimeError where the GPU failed meanwhile."""
        self.done.synchronize()
        found: FloatArray = self.host.numpy()
        return found


def launch(compute: Callable[..., Tensor], device: torch.device, *arrays: FloatArray) -> Launched:
    """Copy arrays to a GPU on a stream of its own, and queue what computes with them.

    Page-locked memory and the second stream let the copy go on beside the computing of what was
    launched before (PyTorch's notes on CUDA semantics).

    Raises:
        RuntimeError: no memory, or the GPU failed.
    """
    with torch.cuda.device(device), torch.inference_mode():
        main, side = torch.cuda.current_stream(), _side_stream(device)
        with torch.cuda.stream(side):
            inputs = [
                torch.from_numpy(array).pin_memory().to(device, non_blocking=True)
                for array in arrays
            ]
        main.wait_stream(side)
        for tensor in inputs:
            # They were allocated on the other stream, which may hand their memory out again.
            tensor.record_stream(main)
        result = compute(*inputs)
        host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
        host.copy_(result, non_blocking=True)
        done = torch.cuda.Event()
        done.record()
    return Launched(host, done)


def _side_stream(device: torch.device) -> torch.cuda.Stream:
    if device not in _copying:
        _copying[device] = torch.cuda.Stream(device)
    return _copying[device]
