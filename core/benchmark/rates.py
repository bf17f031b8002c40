"""Rates to compare with: a large product of matrices, and the network without anything else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import torch

from ..devices import CPU, Device, free_unused
from ..fast_forward import DTYPES
from ..memory import resident_memory

_SIDE = {CPU: 2048, "mps": 4096, "cuda": 8192}
_LEAST_SECONDS = 0.3


def matmul_tflops(device: Device, precision: str) -> float:
    """Return 10^12 operations a second of products of large matrices in a run's numbers."""
    side = _SIDE.get(device.kind, _SIDE[CPU])
    dtype = DTYPES[precision]
    one = torch.randn(side, side, device=device.torch).to(dtype)
    with torch.inference_mode():
        torch.mm(one, one)
        wait_for(device)
        start, count = time.perf_counter(), 0
        while (seconds := time.perf_counter() - start) < _LEAST_SECONDS:
            torch.mm(one, one)
            wait_for(device)
            count += 1
    del one
    free_unused(device)
    return 2.0 * side**3 * count / seconds / 1e12


def wait_for(device: Device) -> None:
    """Wait until a GPU has done what it was told; a CPU always has."""
    if device.torch.type == "cuda":
        torch.cuda.synchronize(device.torch)
    elif device.torch.type == "mps":
        torch.mps.synchronize()


def tiles_per_second(compute: Callable[[], int], tiles: int) -> float:
    """Return the rate of ``compute``, which gives how many tiles it did, over ``tiles`` or more."""
    start, done = time.perf_counter(), 0
    while done < tiles:
        done += compute()
    return done / (time.perf_counter() - start)


def resident_mb() -> float | None:
    """Return the memory that this process holds now, None where the system does not tell."""
    held = resident_memory()
    return None if held is None else held / 1e6


class PeakMemory:
    """The largest resident memory within a ``with``; on macOS that of the process so far."""

    def __init__(self) -> None:
        self.mb: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            now = resident_mb()
            if now is None:
                self.mb = _largest_mb()
                return
            self.mb = max(self.mb or 0.0, now)


def _largest_mb() -> float | None:
    if sys.platform == "win32":
        return None
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / 1e6 if sys.platform == "darwin" else largest * 1024 / 1e6
