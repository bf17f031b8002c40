"""The device a model runs on: which one, how it is called, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import torch

from .contract.errors import DeviceError

FP32, TF32, BF16, FP16 = "fp32", "tf32", "bf16", "fp16"
CPU = "cpu"
_AMPERE = 8
# CPU, MPS and the libraries of CUDA have no class of their own for a want of memory.
_GPU_BROKE = re.compile(r"CUDA|cuDNN|CUBLAS|HIP error|NVML|MPS backend|Metal", re.I)


@dataclass(frozen=True)
class Device:
    """Where tensors go (``torch``), which limits and advice apply (``kind``), and its name."""

    torch: torch.device
    kind: str
    name: str

    @property
    def has_own_memory(self) -> bool:
        """Whether tensors there take nothing of the computer's memory; Apple's GPUs share it."""
        return self.kind == "cuda"


def choose_device(wanted: str) -> Device:
    """Return the device to run on; ``auto`` takes CUDA, else MPS, else the CPU.

    Raises:
        DeviceError: a device that was named is not there; the message says why.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return known_device(torch.device("cuda"))
        return known_device(torch.device("mps" if torch.backends.mps.is_available() else CPU))
    device = torch.device(wanted)
    if device.type == "cuda":
        _check_cuda(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("MPS needs a Mac with an Apple GPU: choose auto or cpu.")
    return known_device(device)


def known_device(device: torch.device) -> Device:
    """Return a device with its name as a user knows it: ``cpu``, ``cuda:0 (NVIDIA ...)``."""
    if device.type != "cuda":
        return Device(device, device.type, device.type)
    index = torch.cuda.current_device() if device.index is None else device.index
    return Device(device, "cuda", f"cuda:{index} ({torch.cuda.get_device_name(index)})")


def choose_precision(wanted: str, device: Device) -> str:
    """Return ``tf32`` where a GPU has it and ``wanted`` is not ``exact``, else ``fp32``.

    TF32 rounds the factors of a product to 10 bits and adds in full: several times faster on
    NVIDIA GPUs from Ampere on, and about 1e-3 apart from the CPU.
    """
    if wanted == "exact" or device.torch.type != "cuda":
        return FP32
    return TF32 if torch.cuda.get_device_capability(device.torch)[0] >= _AMPERE else FP32


def no_room(device: Device) -> DeviceError:
    """Return what to say where not even one tile fits, and there is no other device."""
    return DeviceError(
        f"Not even one tile fits into the memory of {device.name}: close other programs that "
        "use it, or choose another device or a smaller model. Finished tiles are kept."
    )


def moving(device: Device) -> str:
    """Return what to tell where a GPU has no room for a model and one tile."""
    return (
        f"{device.name} has no memory for the model and one tile: going on with the CPU, which is "
        "slower. Close other programs that use the GPU before the next run."
    )


def raise_broken(problem: BaseException, device: Device) -> NoReturn:
    """Raise a DeviceError for a GPU's error that is not about memory, else the error itself.

    ``details["lost"]`` tells that this process can no longer use the GPU: CUDA repeats such an
    error at every later call, only a new process gets a new context.
    """
    is_ours = isinstance(problem, RuntimeError) and device.kind != CPU
    if not is_ours or not _GPU_BROKE.search(str(problem)):
        raise problem
    first = str(problem).strip().splitlines()[0][:200]
    raise DeviceError(
        f"{device.name} failed while it computed ({first}). Finished tiles are kept: run again to "
        "go on. If it fails again, restart the program, update the GPU's driver, or choose the "
        "device cpu.",
        lost=True,
    ) from problem


@contextmanager
def gpu_errors_told() -> Iterator[None]:
    """Say of a GPU that is there and does not answer, as after a driver's upgrade, what to do."""
    try:
        yield
    except RuntimeError as problem:
        first = str(problem).strip().splitlines()[0][:200]
        raise DeviceError(
            f"The GPU does not answer ({first}). Restart the program; if it fails again, restart "
            "the computer, update the GPU's driver, or choose the device cpu.",
            lost=True,
        ) from problem


def free_unused(device: Device) -> None:
    """Give memory that torch keeps back to the device, before less is asked of it."""
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        torch.mps.empty_cache()


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
