"""From shapes with classes to labelled tiles: a shape speaks for what it covers, no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from .claims import ABSENT, PRESENT, UNKNOWN
from .placing import Frame, Places, lay_tiles
from .tile_labels import TileLabels

# Share of a tile from which on another class in it is spoken of.
MIXED_SHARE = 0.05
# Half of a tile is of the class that it is named by.
DEFAULT_SHARE = 0.5
# Shapes that say of a class that it is absent must cover so much of a tile.
ABSENT_SHARE = 0.9
# A completeness area may end within the pixels of a tile's edge.
COMPLETE_SHARE = 0.99
_TOUCH = 1e-4


@dataclass(frozen=True)
class _Cover:
    """How much of one tile (0-1) the shapes cover that say present, and absent, of each class.

    ``points`` has the same of points: whether one lies inside.
    """

    present: np.ndarray
    absent: np.ndarray
    points: np.ndarray


def tiles_of_shapes(
    shapes: np.ndarray, says: np.ndarray, classes: tuple[str, ...], frame: Frame, *,
    multi: bool, complete: Any = None, min_share: float | None = None,
) -> TileLabels:  # fmt: skip
    """Return the tiles around shapes, and what is known of each class there.

    Args:
        shapes: points and polygons in pixels of the scene, None where they have no image.
        says: int8 (shapes, classes), 1 present, 0 absent, -1 nothing said.
        classes: their names.
        frame: the pixels of the scene.
        multi: several classes a tile.
        complete: in pixels: where everything that there is is labelled.
        min_share: of a tile that its class must cover; None: half of it, of several any.
    """
    labelled = (says == PRESENT).any(axis=1) | (says == ABSENT).any(axis=1)
    own = np.array([s if known else None for s, known in zip(shapes, labelled, strict=True)],
                   dtype=object)  # fmt: skip
    places = lay_tiles(own, frame)
    outside = [number for number in places.outside if labelled[number]]
    search = _Search(own, says, frame)
    decide = _Several(complete, min_share, says) if multi else _One(min_share, says)
    rows, small = _decided(places, search, decide, frame)
    positions = np.array([tile for tile, _ in rows], dtype=np.int32).reshape(-1, 2)
    found = np.array([row for _, row in rows], dtype=np.int8).reshape(-1, len(classes))
    return TileLabels(
        classes, multi, positions, found, len(outside), tuple(sorted(small)), places.moved,
        decide.mixed, decide.dropped,
    )  # fmt: skip


def known_at(
    places: np.ndarray, shapes: np.ndarray, says: np.ndarray, classes: tuple[str, ...],
    frame: Frame, *, multi: bool, complete: Any = None, min_share: float | None = None,
) -> TileLabels:  # fmt: skip
    """Return what shapes tell of tiles that are there already, of those that they tell of.

    With one class a tile it is that of the points inside where they agree, else the one whose
    polygons cover ``min_share`` (half) of it; arguments as of :func:`tiles_of_shapes`.
    """
    search = _Search(shapes, says, frame)
    decide = _Several(complete, min_share, says) if multi else _One(min_share, says)
    found, rows, mixed = [], [], 0
    for place in map(tuple, places.tolist()):
        cover, inside = search.cover(place), search.points_in(place)
        if multi:
            row, _ = decide(cover, inside, bool(inside), frame.box(place))
        else:
            owners = inside or search.covering(place)
            row, _ = decide(cover, owners, bool(inside), frame.box(place)) if owners else (None, 0)
            mixed += bool(owners) and row is None
        if row is not None:
            found.append(place)
            rows.append(row)
    return TileLabels(
        classes, multi, np.array(found, dtype=np.int32).reshape(-1, 2),
        np.array(rows, dtype=np.int8).reshape(-1, len(classes)), dropped=mixed,
    )  # fmt: skip


class _Search:
    """Finds what covers a tile."""

    def __init__(self, shapes: np.ndarray, says: np.ndarray, frame: Frame) -> None:
        self._shapes, self._says, self._frame = shapes, says, frame
        self._tree = shapely.STRtree(shapes)

    def is_point(self, owners: list[int]) -> bool:
        """Tell whether a tile was laid for a point."""
        return any(self._shapes[number].area == 0 for number in owners)

    def points_in(self, tile: tuple[int, int]) -> list[int]:
        """Return the points inside a tile."""
        near = self._tree.query(self._frame.box(tile), predicate="contains_properly")
        return [int(n) for n in near if self._shapes[n].area == 0 and (self._says[n] >= 0).any()]

    def covering(self, tile: tuple[int, int]) -> list[int]:
        """Return a polygon of the class that covers most of a tile."""
        box = self._frame.box(tile)
        near = self._tree.query(box, predicate="intersects")
        cover = self.cover(tile).present
        best = int(np.argmax(cover))
        return [int(n) for n in near if self._says[n, best] == PRESENT][:1] if cover[best] else []

    def cover(self, tile: tuple[int, int]) -> _Cover:
        box = self._frame.box(tile)
        near = self._tree.query(box, predicate="intersects")
        cut = shapely.intersection(self._shapes[near], box)
        area, said = float(self._frame.size) ** 2, self._says[near]
        present, absent = (
            np.array([_union_area(cut[said[:, k] == what]) / area for k in range(said.shape[1])])
            for what in (PRESENT, ABSENT)
        )
        # A point on the edge lies in two tiles: as good as none.
        within = (shapely.area(cut) == 0) & shapely.contains_properly(box, cut)
        return _Cover(present, absent, (said[within] == PRESENT).any(axis=0))


def _union_area(shapes: np.ndarray) -> float:
    if len(shapes) == 1:
        return float(shapes[0].area)
    return float(shapely.union_all(shapes).area) if len(shapes) else 0.0


def _decided(
    places: Places, search: _Search, decide: _One | _Several, frame: Frame
) -> tuple[list[tuple[tuple[int, int], np.ndarray]], set[int]]:
    """Return the rows of tiles that tell something, and the shapes that are too small for one."""
    rows, small, used = [], set[int](), set[int]()
    for tile, owners in places.tiles.items():
        own_point = search.is_point(owners)
        row, is_small = decide(search.cover(tile), owners, own_point, frame.box(tile))
        if is_small:
            small.update(owners)
        if row is not None:
            used.update(owners)
            rows.append((tile, row))
    return rows, small - used


class _One:
    """One class a tile: the one of the label that it is centred on, where that prevails."""

    def __init__(self, min_share: float | None, says: np.ndarray) -> None:
        self._least = DEFAULT_SHARE if min_share is None else min_share
        self._says = says
        self.mixed = self.dropped = 0

    def __call__(
        self, cover: _Cover, owners: list[int], own_point: bool, box: Any
    ) -> tuple[np.ndarray | None, bool]:
        own = (self._says[owners] == PRESENT).any(axis=0)
        number = int(np.argmax(own))
        share = float(cover.present[number])
        if not own_point and share < self._least - _TOUCH:
            return None, True
        others = np.delete(cover.present, number)
        most = float(others.max(initial=0.0))
        has_other_point = bool(np.delete(cover.points, number).any())
        self.mixed += most >= MIXED_SHARE or has_other_point
        # A point has no share of its own: what covers half of its tile speaks louder.
        limit = max(share, DEFAULT_SHARE) if own_point else share
        if own.sum() > 1 or most >= limit:
            self.dropped += 1
            return None, False
        row = np.full(len(own), ABSENT, dtype=np.int8)
        row[number] = PRESENT
        return row, False


class _Several:
    """Several classes a tile: what touches it is present, absent is only what is known to be."""

    def __init__(self, complete: Any, min_share: float | None, says: np.ndarray) -> None:
        self._complete, self._least, self._says = complete, min_share or 0.0, says
        self.mixed = self.dropped = 0

    def __call__(
        self, cover: _Cover, owners: list[int], own_point: bool, box: Any
    ) -> tuple[np.ndarray | None, bool]:
        own = self._says[owners]
        present = (cover.present > max(_TOUCH, self._least - _TOUCH)) | cover.points
        absent = cover.absent >= ABSENT_SHARE
        if own_point:
            present |= (own == PRESENT).any(axis=0)
            absent |= (own == ABSENT).any(axis=0)
        if self._complete is not None:
            inside = self._complete.intersection(box).area / box.area
            absent |= inside >= COMPLETE_SHARE
        row = np.where(present, PRESENT, np.where(absent, ABSENT, UNKNOWN)).astype(np.int8)
        self.mixed += int(present.sum() > 1)
        says_nothing = bool((row == UNKNOWN).all())
        return (None, True) if says_nothing else (row, False)
