"""Scenes and labels become labelled embeddings, and a report of the sampling."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.job import check_sensors
from ..contract.spec import ModelSpec
from ..contract.train_order import ScenePair, TrainOrder
from ..scene import Scene, TileGrid, open_scene
from .blocks import DEFAULT_TILES, block_numbers
from .embedding_cache import Vectors, cache_of, prune
from .embeddings import Embedder, embed_tiles, model_digest
from .labels import ClassList, LabelSource, joined_classes, label_scene, lon_lat, unused
from .sampling import sampling_report
from .tile_labels import TileLabels
from .validation import Tiles

IsCancelled = Callable[[], bool]


@dataclass(frozen=True)
class Labelled:
    """The labels of all scenes over the same classes, and where the scenes lie."""

    parts: tuple[TileLabels, ...]
    classes: ClassList
    grids: tuple[TileGrid, ...]
    warnings: tuple[str, ...]

    @property
    def tile_m(self) -> float:
        """Side of a tile in metres."""
        grid = self.grids[0]
        return grid.tile_size * grid.geometry.pixel_size_m


@dataclass(frozen=True)
class Gathered:
    """All that a head is trained on. ``scene`` is the scene's number of each tile, int (N,)."""

    tiles: Tiles
    vectors: Vectors
    classes: ClassList
    scene: np.ndarray
    places: np.ndarray
    grids: tuple[TileGrid, ...]
    sampling: dict[str, Any]
    block_m: float
    warnings: tuple[str, ...]


def open_pair(
    pair: ScenePair, order: TrainOrder, spec: ModelSpec, is_cancelled: IsCancelled
) -> Scene:
    """Open a scene so that a tile may begin at every pixel."""
    check_sensors(pair.s1, spec)
    return open_scene(
        pair.s2, pair.s1, spec, stride=1, mask=pair.mask, options=order.options,
        is_cancelled=is_cancelled,
    )  # fmt: skip


def place_labels(source: LabelSource, scenes: list[Scene]) -> Labelled:
    """Lay the tiles of the labels in every scene; errors as of :func:`joined_classes`."""
    found = [label_scene(source, scene.grid) for scene in scenes]
    colors = {name: color for _, more in found for name, color in more.items()}
    parts, classes = joined_classes([part for part, _ in found], source.table, colors)
    warnings = dict.fromkeys(text for scene in scenes for text in scene.warnings)
    return Labelled(tuple(parts), classes, tuple(scene.grid for scene in scenes), tuple(warnings))


def sample(
    order: TrainOrder, source: LabelSource, spec: ModelSpec, is_cancelled: IsCancelled
) -> dict[str, Any]:
    """Return what there is to train on, before a pixel of it is read."""
    with ExitStack() as exits:
        scenes = [exits.enter_context(open_pair(pair, order, spec, is_cancelled))
                  for pair in order.scenes]  # fmt: skip
        labelled = place_labels(source, scenes)
    good = [np.ones(len(part), dtype=bool) for part in labelled.parts]
    return _report(source, labelled, good)


def gather(
    order: TrainOrder, source: LabelSource, embedder: Embedder, cache: str | Path | None,
    tell: Callable[[int, int], None],
) -> Gathered:  # fmt: skip
    """Embed the labelled tiles of all scenes; what the cache holds is not computed again.

    Raises:
        MultimodalError: of scenes, labels or the device.
        CancelledError: stopped; what was computed is kept.
    """
    digest = model_digest(embedder.model)
    with ExitStack() as exits:
        scenes = [
            exits.enter_context(open_pair(pair, order, embedder.model.spec, embedder.is_cancelled))
            for pair in order.scenes
        ]
        labelled = place_labels(source, scenes)
        total, done = sum(map(len, labelled.parts)), 0
        found = []
        for pair, scene, part in zip(order.scenes, scenes, labelled.parts, strict=True):
            kept = cache_of(pair, order.options, order.min_valid, digest, cache)
            further = partial(_further, tell, done, total)
            found.append(
                embed_tiles(scene, part.places, embedder, kept, order.min_valid, further)
            )  # fmt: skip
            done += len(part)
        prune(cache)
    sampling = _report(source, labelled, [item.good for item in found])
    return _joined(order, source, labelled, [item.good for item in found],
                   [item.vectors for item in found], sampling)  # fmt: skip


def _further(tell: Callable[[int, int], None], before: int, total: int, n: int, _: int) -> None:
    """Tell of the tiles of all scenes what is told of those of one."""
    tell(before + n, total)


def _joined(
    order: TrainOrder, source: LabelSource, labelled: Labelled, good: list[np.ndarray],
    vectors: list[Vectors], sampling: dict[str, Any],
) -> Gathered:  # fmt: skip
    kept = [part.kept(mask) for part, mask in zip(labelled.parts, good, strict=True)]
    colors = dict(zip(labelled.classes.names, labelled.classes.colors, strict=True))
    # A class may have had its tiles where there are no pixels.
    parts, classes = joined_classes(kept, source.table, colors)
    filled = [n for n, part in enumerate(parts) if len(part)]
    names = vectors[filled[0]]
    whole = {name: np.concatenate([vectors[n][name] for n in filled]) for name in names}
    places = np.concatenate(
        [lon_lat(grid, part.places) for grid, part in zip(labelled.grids, parts, strict=True)]
    )
    block_m = order.block_m or DEFAULT_TILES * labelled.tile_m
    tiles = Tiles(
        whole["fused"].astype(np.float64), np.concatenate([part.says for part in parts]), places,
        block_numbers(places, block_m), labelled.tile_m, parts[0].multi,
    )  # fmt: skip
    return Gathered(
        tiles, whole, classes,
        np.concatenate([np.full(len(part), n) for n, part in enumerate(parts)]),
        np.concatenate([part.places for part in parts]), labelled.grids, sampling, block_m,
        labelled.warnings,
    )  # fmt: skip


def _report(source: LabelSource, labelled: Labelled, good: list[np.ndarray]) -> dict[str, Any]:
    claims = source.claims
    return sampling_report(
        labelled.parts, labelled.classes.names, good,
        unused=unused(source, labelled.classes.names),
        unlabelled=claims.unlabelled if claims else 0,
        unlisted=claims.unlisted if claims else (),
    )  # fmt: skip
