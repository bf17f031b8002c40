"""How long a run is likely to take: by earlier runs, before the first one by reckoning."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .contract.messages import EARLIER_RUN, RECKONED
from .contract.model_folder import config_digest, read_config
from .effort import flop_per_tile
from .remembered import remembered_speed

# A CPU runs these networks at about the rate at which it multiplies matrices.
_SIDE, _REPEATS = 768, 4
# Of what a GPU could do in theory, a network gets about this share.
_GPU_SHARE = 0.3
_FLOP_PER_CORE_AND_CLOCK = 256  # 128 multiply-adds a multiprocessor, NVIDIA since Pascal
_APPLE_FLOPS = 2e12  # the smallest GPU of Apple's chips reaches 2.6e12
# Faster than this the rasters are not read.
_MOST_TILES_PER_S = 300.0
# Attributes of the CUDA driver: kHz, and how many multiprocessors.
_CLOCK_RATE, _MULTIPROCESSORS = 13, 16


def with_seconds(report: dict[str, Any], model: str | Path, device: str) -> dict[str, Any]:
    """Return a scene's report with the time that a run is likely to take.

    ``estimate.seconds`` counts the tiles that are likely to be classified; ``estimate.basis``
    says how the speed is known: "earlier run" of this model here, or "reckoned" from the size of
    the network and the speed of the machine. Both are None for a network that is not known.

    Args:
        model: the model folder.
        device: as the user asked for it, ``auto`` or a name.
    """
    speed, basis = remembered_speed(config_digest(model), device), EARLIER_RUN
    if speed is None:
        speed, basis = reckoned_speed(read_config(model), device), RECKONED
    tiles = report["selected"] - report["expected_skipped"]
    known = {
        "seconds": None if speed is None else round(tiles / speed, 1),
        "basis": None if speed is None else basis,
    }
    return {**report, "estimate": {**report["estimate"], **known}}


def reckoned_speed(config: Mapping[str, Any], device: str) -> float | None:
    """Return tiles per second that a model is likely to reach on a device never tried."""
    flop = flop_per_tile(config)
    if not flop:
        return None
    flops = None if device == "cpu" else _gpu_flops()
    return min((flops or _cpu_flops()) / flop, _MOST_TILES_PER_S)


def _cpu_flops() -> float:
    """Return the rate of float32 matrix products, measured in a few milliseconds."""
    square = np.ones((_SIDE, _SIDE), np.float32)
    shortest = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        square @ square
        shortest = min(shortest, time.perf_counter() - start)
    return 2.0 * _SIDE**3 / shortest


def _gpu_flops() -> float | None:
    """Return what the GPU that torch would take can do, None without one; torch stays unloaded."""
    if sys.platform == "darwin":
        return _APPLE_FLOPS if platform.machine() == "arm64" else None
    driver = _cuda_driver() if _torch_is_built_for_cuda() else None
    return None if driver is None else _nvidia_flops(driver)


def _torch_is_built_for_cuda() -> bool:
    found = importlib.util.find_spec("torch")
    folders = (found.submodule_search_locations if found else None) or ()
    names = ("libtorch_cuda.so", "torch_cuda.dll")
    return any((Path(folder) / "lib" / name).exists() for folder in folders for name in names)


def _cuda_driver() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None  # no NVIDIA driver: no NVIDIA GPU for us


def _nvidia_flops(driver: Any) -> float | None:
    if driver.cuInit(0):  # a code other than 0 is an error: the driver has no GPU to offer
        return None
    numbers = []
    for attribute in (_MULTIPROCESSORS, _CLOCK_RATE):
        number = ctypes.c_int()
        if driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, 0):
            return None
        numbers.append(number.value)
    multiprocessors, kilohertz = numbers
    return _GPU_SHARE * multiprocessors * kilohertz * 1e3 * _FLOP_PER_CORE_AND_CLOCK or None
