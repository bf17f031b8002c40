"""Tiles to embeddings: the fused one, DINOv3's class token, and the mean of its patches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from ..contract.errors import CancelledError
from ..contract.result import OK
from ..devices import CPU, Device, free_unused, known_device, moving, no_room, raise_broken
from ..inference import BatchStopped, stoppable
from ..model import MultiModalModel
from ..scene import Scene, Tile
from ..shortage import is_out_of_memory
from .embedding_cache import NAMES, EmbeddingCache, Vectors

# A cancel is looked for before every layer; so many tiles at once are fast enough on each kind.
_AT_ONCE = {"cpu": 8, "mps": 32, "cuda": 64}
# Tiles after which what was computed is written.
_KEEP_EVERY = 64

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Embedded:
    """``good`` is bool (N,): the tiles that have enough pixels; ``vectors`` holds theirs alone."""

    good: np.ndarray
    vectors: Vectors
    computed: int


@dataclass
class Embedder:
    """A model on a device. Where that runs out of memory fewer go at once, then the CPU."""

    model: MultiModalModel
    device: Device
    say: Callable[[str], None] = lambda text: None
    is_cancelled: Callable[[], bool] = lambda: False
    at_once: int = field(init=False)

    def __post_init__(self) -> None:
        self.model.eval().to(self.device.torch)
        self.at_once = _AT_ONCE.get(self.device.kind, _AT_ONCE[CPU])

    def embed(self, s2: np.ndarray, s1: np.ndarray) -> Vectors:
        """Return float32 (N, width) of every name for normalised tiles (N, C, H, W).

        Raises:
            BatchStopped: ``is_cancelled`` said so.
            DeviceError: no memory for one tile, not even on the CPU, or the GPU failed.
        """
        parts: list[Vectors] = []
        start = 0
        while start < len(s2):
            end = start + self.at_once
            found = self._tried(s2[start:end], s1[start:end])
            if found is not None:
                parts.append(found)
                start = end
        return {name: np.concatenate([part[name] for part in parts]) for name in NAMES}

    def _tried(self, s2: np.ndarray, s1: np.ndarray) -> Vectors | None:
        try:
            # One tile alone goes through other kernels: it is computed twice, as in a run.
            twice = len(s2) == 1 < self.at_once
            arrays = [np.repeat(a, 2, axis=0) if twice else a for a in (s2, s1)]
            found = self._computed(*arrays)
            return {name: values[: len(s2)] for name, values in found.items()}
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise_broken(problem, self.device)
            if self.at_once == 1 and self.device.kind == CPU:
                raise no_room(self.device) from problem
        self._make_room()
        return None

    def _make_room(self) -> None:
        free_unused(self.device)
        if self.at_once > 1:
            self.at_once //= 2
            return
        self.say(moving(self.device))
        self.device = known_device(torch.device(CPU))
        self.model.to(self.device.torch)
        self.at_once = _AT_ONCE[CPU]

    def _computed(self, s2: np.ndarray, s1: np.ndarray) -> Vectors:
        inputs = (torch.from_numpy(array).to(self.device.torch) for array in (s1, s2))
        with (
            torch.inference_mode(),
            stoppable(self.model, self.is_cancelled),
            _tokens_of(self.model) as tokens,
        ):
            _, found = self.model(*inputs, return_embeddings=True)
        prefix = self.model.dinov3_backbone.prefix_tokens
        values = (found["fused"], tokens[0].pooler_output,
                  tokens[0].last_hidden_state[:, prefix:].mean(dim=1))  # fmt: skip
        return {name: value.float().cpu().numpy() for name, value in zip(NAMES, values)}


@contextmanager
def _tokens_of(model: MultiModalModel) -> Iterator[list[Any]]:
    """Keep what DINOv3 gives out during a pass: its class token and its patches."""
    kept: list[Any] = []
    hook = model.dinov3_backbone.model.register_forward_hook(
        lambda module, inputs, output: kept.append(output)
    )
    try:
        yield kept
    finally:
        hook.remove()


def model_digest(model: MultiModalModel) -> str:
    """Return a fingerprint of what embeddings depend on; the head does not count."""
    config, spec = model.config.to_dict(), model.spec
    deciding = {
        "backbones": config["backbones"],
        "fusion": config["fusion"],
        "channels": [asdict(channel) for channel in (*spec.s2, *spec.s1)],
        "tile": [spec.tile_size, spec.ground_resolution],
    }
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode())
    for key, value in sorted(model.state_dict().items()):
        if not key.startswith("classifier."):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def embed_tiles(
    scene: Scene, places: np.ndarray, embedder: Embedder, cache: EmbeddingCache,
    min_valid: float, tell: Tell = lambda done, total: None,
) -> Embedded:  # fmt: skip
    """Return the embeddings of tiles, computing only what the cache does not hold.

    Args:
        scene: opened with a stride that all places are multiples of, such as 1.
        places: int (N, 2), row and column of each tile's first pixel.
        embedder: computes.
        cache: of this scene and this model.
        min_valid: share of valid pixels under which a tile is not ``good``.
        tell: how many of the tiles are done.

    Raises:
        CancelledError: stopped; what was computed is kept.
    """
    held, vectors = cache.read()
    known = {place: number for number, place in enumerate(map(tuple, held.tolist()))}
    wanted = list(map(tuple, places.tolist()))
    missing = [place for place in dict.fromkeys(wanted) if place not in known]
    new = _Gathered(cache)
    try:
        done = len(wanted) - len(missing)
        tell(done, len(wanted))
        stride = scene.grid.stride
        tiles = [scene.grid.tile(row // stride, col // stride) for row, col in missing]
        for read, found in _batches(scene, tiles, embedder, min_valid):
            new.add(found)
            done += read
            tell(done, len(wanted))
    except BatchStopped:
        raise _stopped() from None
    finally:
        new.keep()
    if embedder.is_cancelled():
        raise _stopped()
    return _picked(wanted, known, vectors, new)


def _stopped() -> CancelledError:
    return CancelledError("Cancelled. The embeddings that were computed are kept.")


Piece = list[tuple[tuple[int, int], dict[str, np.ndarray]]]


@dataclass
class _Gathered:
    """What a run computes, written now and then."""

    cache: EmbeddingCache
    rows: dict[tuple[int, int], dict[str, np.ndarray]] = field(default_factory=dict)
    _unwritten: list[tuple[int, int]] = field(default_factory=list)

    def add(self, found: Piece) -> None:
        self.rows.update(found)
        self._unwritten += [place for place, _ in found]
        if len(self._unwritten) >= _KEEP_EVERY:
            self.keep()

    def keep(self) -> None:
        if self._unwritten:
            rows = [self.rows[place] for place in self._unwritten]
            vectors = {name: np.stack([row[name] for row in rows]) for name in NAMES}
            self.cache.add(np.array(self._unwritten, dtype=np.int32), vectors)
            self._unwritten = []


def _batches(
    scene: Scene, tiles: Sequence[Tile], embedder: Embedder, min_valid: float
) -> Iterator[tuple[int, Piece]]:
    """Yield how many tiles were read, and the embeddings of the good ones."""
    if not tiles:
        return
    size = min(embedder.at_once, len(tiles))
    batches = scene.batches(tiles, size, min_valid, embedder.is_cancelled)
    with closing(batches):  # type: ignore[type-var]  # a generator
        for batch in batches:
            good = [read.tile for read in batch.reads if read.status == OK]
            found: Piece = []
            if good:
                vectors = embedder.embed(batch.s2, batch.s1)
                sound = np.all([np.isfinite(v).all(axis=1) for v in vectors.values()], axis=0)
                found = [
                    (_place(scene, tile), {name: vectors[name][n] for name in NAMES})
                    for n, tile in enumerate(good) if sound[n]
                ]  # fmt: skip
            yield len(batch.reads), found


def _place(scene: Scene, tile: Tile) -> tuple[int, int]:
    return tile.row * scene.grid.stride, tile.col * scene.grid.stride


def _picked(
    wanted: Sequence[tuple[int, int]], known: dict[tuple[int, int], int], vectors: Vectors,
    new: _Gathered,
) -> Embedded:  # fmt: skip
    good = np.array([place in known or place in new.rows for place in wanted], dtype=bool)
    rows = [place for place, is_good in zip(wanted, good, strict=True) if is_good]
    picked = {
        name: np.stack([new.rows[p][name] if p in new.rows else vectors[name][known[p]]
                        for p in rows]) if rows else np.empty((0, 0), dtype=np.float32)
        for name in NAMES
    }  # fmt: skip
    return Embedded(good, picked, len(new.rows))
