"""The way a run is computed: as it was found before, or by a trial with some of its tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from .batching import LEAST
from .devices import Device, free_unused, raise_broken
from .fast_forward import Way
from .inference import BatchStopped, FloatArray, Predictor
from .model_cache import ModelCache
from .remembered import remember_way, remembered_way
from .scene import Scene, Tile
from .shortage import is_out_of_memory
from .tuning import Chosen, choose_way, ways_on

# Tiles of a trial: what a GPU is fast at shows with many at once.
TILES = {"cpu": 8, "mps": 16, "cuda": 64}
# A shorter run is over before a trial has paid.
LEAST_TODO = 64

Tiles = tuple[FloatArray, FloatArray]


def on_fastest_way(
    predictor: Predictor,
    models: ModelCache,
    model: str,
    wanted: str,
    only: str | None,
    read: Callable[[int], Tiles],
    todo: int,
    tell: Callable[[str], None],
) -> Predictor:
    """Return a predictor that goes the fastest way which agrees with the plain one.

    Args:
        model: digest of the model's config, by which the choice is remembered.
        wanted: the precision of the job; ``exact`` is the plain way.
        only: name of the way that earlier tiles of this result went, None without any.
        read: gives (s2, s1) of up to so many tiles of the run.
        todo: how many tiles the run has.
        tell: gets a sentence for the user where a trial found a faster way.
    """
    device = predictor.device
    ways = ways_on(device, wanted, only)
    known = ways[0] if len(ways) == 1 else _known(ways, device, model)
    if known is not None:
        return replace(predictor, precision=known.name, network=models.network(known))
    if todo < LEAST_TODO:
        return predictor
    s2, s1 = read(TILES.get(device.kind, TILES["cpu"]))
    if len(s2) < LEAST:
        return predictor
    chosen = _tried(predictor, ways, s2, s1)
    if chosen is None:
        return predictor
    models.keep(chosen.way, chosen.network)
    remember_way(model, device.name, chosen.way.name)
    if chosen.gain > 1:
        tell(f"Computing in {chosen.way.name}, {chosen.gain:.1f} times as fast as plain PyTorch.")
    return replace(predictor, precision=chosen.way.name, network=chosen.network)


def some_tiles(scene: Scene, todo: Sequence[Tile], min_valid: float) -> Callable[[int], Tiles]:
    """Return what reads (s2, s1) of up to so many tiles of a run."""

    # From the middle: a scene often begins with nodata.
    return lambda count: first_tiles(scene, todo[len(todo) // 2 :], count, min_valid)


def first_tiles(scene: Scene, tiles: Sequence[Tile], count: int, min_valid: float) -> Tiles:
    """Return (s2, s1) of the first batch of some tiles, of up to ``count`` good ones."""
    batches: Any = scene.batches(tiles, count, min_valid)
    with closing(batches):
        batch = next(batches)
    return batch.s2, batch.s1


def way_of(device: Device, model: str, wanted: str) -> Way:
    """Return the way that a run goes by what is known: found before, else the plain one."""
    ways = ways_on(device, wanted)
    return _known(ways, device, model) or ways[0]


def _known(ways: Sequence[Way], device: Device, model: str) -> Way | None:
    """Return the way that an earlier trial found, where it is still one of those to be had."""
    return {way.name: way for way in ways}.get(remembered_way(model, device.name) or "")


def _tried(
    predictor: Predictor, ways: Sequence[Way], s2: FloatArray, s1: FloatArray
) -> Chosen | None:
    """Return what a trial chose; None after a cancel, or where there was no memory for it."""
    model, is_cancelled = predictor.model, predictor.is_cancelled
    try:
        chosen = choose_way(
            model, ways, lambda network: predictor.compute(network, s2, s1), is_cancelled
        )
    except BatchStopped:
        return None
    except (RuntimeError, MemoryError) as problem:
        if not is_out_of_memory(problem):
            raise_broken(problem, predictor.device)
    else:
        return None if is_cancelled() else chosen
    # Outside of the handler: the error's traceback holds what the failed trial has allocated.
    free_unused(predictor.device)
    return None
