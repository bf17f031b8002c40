"""Embeddings of tiles on disk: computed once for a scene and a model, whatever the labels."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..contract.job import deciding, fingerprint_digest, identity_of
from ..contract.scene_options import SceneOptions
from ..contract.train_order import ScenePair
from ..contract.user_folder import cache_folder
from ..contract.version import version

NAMES = ("fused", "cls", "mean")
"""The fused embedding, DINOv3's class token, and the mean of its patches."""
PLACES = "places"
MOST_BYTES = 4_000_000_000
_SUFFIX = ".safetensors"
# More files than this are written as one when they are read.
_MOST_PARTS = 16
_FORMAT = 1

Vectors = dict[str, np.ndarray]


@dataclass(frozen=True)
class EmbeddingCache:
    """The embeddings of one scene by one model; ``folder`` need not be there.

    Every batch is a file of its own, so that a death costs the batch at hand. What is damaged
    is removed when it is met, and computed again.
    """

    folder: Path

    def read(self) -> tuple[np.ndarray, Vectors]:
        """Return int32 (N, 2) places, each once, and float32 (N, width) of every name."""
        parts = [part for path in self._files() if (part := _read_part(path)) is not None]
        widths = {tuple(part[name].shape[1] for name in NAMES) for part in parts}
        if len(widths) != 1:
            return np.empty((0, 2), dtype=np.int32), {}
        whole = {key: np.concatenate([part[key] for part in parts]) for key in (PLACES, *NAMES)}
        _, first = np.unique(whole[PLACES], axis=0, return_index=True)
        whole = {key: values[first] for key, values in whole.items()}
        if len(parts) > _MOST_PARTS:
            self._merge(whole)
        places = whole.pop(PLACES)
        return places, whole

    def add(self, places: np.ndarray, vectors: Mapping[str, np.ndarray]) -> None:
        """Write places (N, 2) and their vectors; a full or closed disk costs the cache alone."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            values = {PLACES: places.astype(np.int32), **vectors}
            data = save({key: np.ascontiguousarray(value) for key, value in values.items()})
            aside = self.folder / f".{uuid.uuid4().hex}"
            aside.write_bytes(data)
            os.replace(aside, self.folder / f"{uuid.uuid4().hex}{_SUFFIX}")

    def _files(self) -> list[Path]:
        try:
            return sorted(self.folder.glob(f"*{_SUFFIX}"))
        except OSError:
            return []

    def _merge(self, whole: Vectors) -> None:
        old = self._files()
        self.add(whole[PLACES], {name: whole[name] for name in NAMES})
        if set(self._files()) - set(old):  # it was written
            for path in old:
                with suppress(OSError):
                    path.unlink()


def cache_of(
    pair: ScenePair, options: SceneOptions, min_valid: float, model: str,
    folder: str | Path | None = None,
) -> EmbeddingCache:  # fmt: skip
    """Return the cache of a scene and a model.

    Args:
        pair: the scene; its files count with size and time.
        options: what was decided about its pixels.
        min_valid: share of valid pixels under which a tile has no embedding.
        model: fingerprint of all that the embeddings depend on.
        folder: where caches lie; by default in the user's cache folder.
    """
    identity = {
        "format": _FORMAT,
        "version": version(),
        "s2": [identity_of(source) for source in pair.s2],
        "s1": [identity_of(source) for source in pair.s1],
        "mask": None if pair.mask is None else identity_of(pair.mask),
        "options": deciding(options),
        "min_valid": min_valid,
        "model": model,
    }
    name = fingerprint_digest(identity)[:40]
    return EmbeddingCache(Path(folder or cache_folder() / "embeddings") / name)


def prune(folder: str | Path | None = None, most_bytes: int = MOST_BYTES) -> None:
    """Remove the caches that were not written for the longest time until the rest is small."""
    root = Path(folder or cache_folder() / "embeddings")
    with suppress(OSError):
        caches = sorted((path for path in root.iterdir() if path.is_dir()), key=_time, reverse=True)
        used = 0
        for cache in caches:
            used += sum(file.stat().st_size for file in cache.iterdir())
            if used > most_bytes:
                shutil.rmtree(cache, ignore_errors=True)


def _time(path: Path) -> float:
    return path.stat().st_mtime


def _read_part(path: Path) -> Vectors | None:
    """Return what a file holds; None, and no file any more, where it is damaged."""
    try:
        part: Vectors = load(path.read_bytes())
        if _is_whole(part):
            return part
    except OSError:
        return None  # another program may have it
    except (SafetensorError, ValueError, KeyError):
        pass
    with suppress(OSError):
        path.unlink()
    return None


def _is_whole(part: Vectors) -> bool:
    if set(part) != {PLACES, *NAMES}:
        return False
    places, count = part[PLACES], len(part[PLACES])
    shapes = all(part[name].ndim == 2 and len(part[name]) == count for name in NAMES)
    kinds = places.dtype == np.int32 and all(part[name].dtype == np.float32 for name in NAMES)
    is_finite = all(bool(np.isfinite(part[name]).all()) for name in NAMES)
    return places.shape == (count, 2) and shapes and kinds and is_finite
