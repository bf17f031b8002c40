"""From batches that are read to probabilities: pieces of the best size, on a thread of its own."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass

import torch

from .ahead import read_ahead
from .batching import LEAST
from .devices import CPU, Device
from .inference import BatchStopped, FloatArray, Pending, Predictor
from .scene import Batch
from .scene.reader import MAX_READS

# A thread reads and prepares some 300 tiles/s of a GeoTIFF, 30 of JPEG 2000: a GPU needs several.
_MOST_READERS = 8
# On a CPU the network has the cores; so many of them outrun one thread that reads JPEG 2000.
_CORES_A_READER = 4


@dataclass(frozen=True)
class Computed:
    """Tiles with float32 (N, classes) of those that are ok, and the device that computed them."""

    batch: Batch
    probabilities: FloatArray
    device: Device


def reading_threads(device: Device) -> int:
    """Return how many threads read a scene for a device."""
    if device.kind == CPU:
        return max(1, min(_MOST_READERS, torch.get_num_threads() // _CORES_A_READER))
    return max(1, min(_MOST_READERS, (os.cpu_count() or 1) - 1))


def compute_ahead(batches: Iterator[Batch], predictor: Predictor) -> Iterator[Computed]:
    """Compute batches in a thread, so that the caller writes one result beside the next.

    At a cancel of the predictor what is computed by then still comes.
    """
    is_cancelled = predictor.is_cancelled

    def produce(stopped: Callable[[], bool]) -> Iterator[Computed]:
        # Where the caller gives up, a batch is not computed to its end either.
        predictor.is_cancelled = lambda: stopped() or is_cancelled()
        return computed(batches, predictor)

    return read_ahead([produce], name="network")


def computed(batches: Iterator[Batch], predictor: Predictor) -> Iterator[Computed]:
    """Compute batches and close them; ends at a cancel of the predictor with what is done by then.

    Where the device computes by itself, the next piece is handed to it before the result of the
    last one is waited for.
    """
    begun: deque[tuple[Batch, Pending]] = deque()
    with suppress(BatchStopped):
        with closing(batches):  # type: ignore[type-var]  # a generator
            for piece in pieces(batches, lambda: predictor.size.next):
                begun.append((piece, predictor.begin(piece.s2, piece.s1)))
                while begun and (len(begun) > 1 or not begun[0][1].is_running):
                    yield _finished(*begun.popleft(), predictor)
                if predictor.is_cancelled():
                    break
        while begun:
            yield _finished(*begun.popleft(), predictor)


def pieces(batches: Iterator[Batch], wanted: Callable[[], int]) -> Iterator[Batch]:
    """Cut and join batches into pieces of ``wanted()`` good tiles, the last one smaller.

    The first is small: whoever waits sees that it goes on.
    """
    rest: Batch | None = None
    count = min(LEAST, wanted())
    for batch in batches:
        rest = batch if rest is None else rest.joined(batch)
        while rest.reads and (len(rest.s2) >= count or len(rest.reads) >= MAX_READS * count):
            piece, rest = rest.split(count)
            yield piece
            count = wanted()
        rest = rest if rest.reads else None
    if rest is not None:
        yield rest


def _finished(batch: Batch, work: Pending, predictor: Predictor) -> Computed:
    return Computed(batch, work.result(), predictor.device)
