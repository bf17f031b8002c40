"""Labelled tiles: where they lie, and what is known of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .claims import ABSENT, PRESENT, UNKNOWN


@dataclass(frozen=True)
class TileLabels:
    """Labelled tiles of one scene.

    ``places`` is int32 (N, 2), row and column of each tile's first pixel in the scene's grid;
    ``says`` int8 (N, classes): 1 present, 0 absent, -1 not known. The counts are what became of
    the labels: shapes ``outside`` the scene, ``small`` for a tile, tiles ``moved`` from the
    scene's edge, ``mixed`` ones, and those of them that were ``dropped``.
    """

    classes: tuple[str, ...]
    multi: bool
    places: np.ndarray
    says: np.ndarray
    outside: int = 0
    small: tuple[int, ...] = field(default=())
    moved: int = 0
    mixed: int = 0
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.places)

    def kept(self, good: np.ndarray) -> TileLabels:
        """Return the tiles of a mask or of positions."""
        return replace(self, places=self.places[good], says=self.says[good])


def counts(says: np.ndarray) -> dict[str, np.ndarray]:
    """Return how many tiles have each class, lack it, and leave it open: int (classes,) each."""
    return {
        "present": (says == PRESENT).sum(axis=0),
        "absent": (says == ABSENT).sum(axis=0),
        "unknown": (says == UNKNOWN).sum(axis=0),
    }


def with_classes(labels: TileLabels, classes: Sequence[str]) -> TileLabels:
    """Return the labels over other classes in another order; of new ones nothing is known.

    Of one class a tile, those that it does not name are absent.
    """
    old = {name: number for number, name in enumerate(labels.classes)}
    nothing = UNKNOWN if labels.multi else ABSENT
    says = np.full((len(labels), len(classes)), nothing, dtype=np.int8)
    for number, name in enumerate(classes):
        if name in old:
            says[:, number] = labels.says[:, old[name]]
    return replace(labels, classes=tuple(classes), says=says)
