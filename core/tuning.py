"""Which way of computing is fastest here, found once by a trial of the run's own tiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .devices import BF16, CPU, FP16, Device, choose_precision
from .fast_forward import Way, build
from .model import MultiModalModel
from .shortage import is_out_of_memory

# Probabilities may differ by 0.01 over a scene (issue and docs/benchmarks.md); a trial sees only
# some of its tiles.
MOST_APART = 0.005
# What is not faster by this much is not worth another result in the sixth decimal.
WORTH = 1.03
TRIAL_SECONDS = 1.0
LEAST_ROUNDS = 2
_AMPERE, _VOLTA = (8, 0), (7, 0)


@dataclass(frozen=True)
class Chosen:
    """A way, the network that goes it, and how many times as fast it is as the plain one."""

    way: Way
    network: nn.Module
    gain: float = 1.0


def ways_on(device: Device, wanted: str, only: str | None = None) -> tuple[Way, ...]:
    """Return the ways that a device has, the plain one first.

    Args:
        wanted: ``exact`` leaves the plain one alone, in float32.
        only: name of the way that earlier tiles of the same result went.
    """
    plain = Way(choose_precision(wanted, device))
    if wanted == "exact":
        return (plain,)
    found = (plain, Way(plain.precision, is_fused=True), *_short(device))
    kept = tuple(way for way in found if only in (None, way.name))
    return kept or (plain,)


def _short(device: Device) -> tuple[Way, ...]:
    """Return ways with 16 bits, where the device computes with them and does not imitate it."""
    if device.kind == CPU:
        return (Way(BF16, is_fused=True),) if _cpu_has_bf16() else ()
    if device.torch.type == "cuda":
        capability = torch.cuda.get_device_capability(device.torch)
        if capability >= _AMPERE:
            return (Way(BF16, is_fused=True),)
        return (Way(FP16, is_fused=True),) if capability >= _VOLTA else ()
    return (Way(FP16, is_fused=True),) if device.kind == "mps" else ()


def _cpu_has_bf16() -> bool:
    """Return whether oneDNN has kernels for bfloat16 on this processor; without, it crawls."""
    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(asked and torch.backends.mkldnn.is_available() and asked())


def choose_way(
    model: MultiModalModel,
    ways: Sequence[Way],
    probabilities: Callable[[nn.Module], Tensor],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Chosen:
    """Try the ways in turns and return the fastest one that agrees with the first.

    Args:
        ways: the plain one first.
        probabilities: computes the trial's tiles with a network, and waits for the device.
    """
    plain = Chosen(ways[0], build(model, ways[0]))
    networks = {ways[0]: plain.network}
    truth = probabilities(plain.network)
    for way in ways[1:]:
        network = None if is_cancelled() else _agreeing(model, way, truth, probabilities)
        if network is not None:
            networks[way] = network
    shortest = _race(networks, probabilities, is_cancelled) if len(networks) > 1 else {}
    best = min(shortest, key=lambda way: shortest[way], default=plain.way)
    gain = shortest[plain.way] / shortest[best] if shortest else 1.0
    return Chosen(best, networks[best], gain) if gain >= WORTH else plain


def _agreeing(
    model: MultiModalModel, way: Way, truth: Tensor, probabilities: Callable[[nn.Module], Tensor]
) -> nn.Module | None:
    """Return the network of a way, warm; None where its numbers differ or it has no room."""
    try:
        network = build(model, way)
        apart = (probabilities(network) - truth).abs().max()
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise
        return None
    return network if float(apart) <= MOST_APART else None  # NaN is not


def _race(
    networks: dict[Way, nn.Module],
    probabilities: Callable[[nn.Module], Tensor],
    is_cancelled: Callable[[], bool],
) -> dict[Way, float]:
    """Return the shortest time of each: what disturbs only lengthens."""
    shortest = dict.fromkeys(networks, float("inf"))
    began, rounds = time.perf_counter(), 0
    while rounds < LEAST_ROUNDS or time.perf_counter() - began < TRIAL_SECONDS:
        for way, network in networks.items():
            if is_cancelled():
                return {}
            start = time.perf_counter()
            probabilities(network)
            shortest[way] = min(shortest[way], time.perf_counter() - start)
        rounds += 1
    return shortest
