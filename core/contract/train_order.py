"""What few-shot training is asked for: scenes, labels, and how both are taken."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import JobError
from .job import RasterSource, check_computing
from .scene_options import SceneOptions

HEADS = ("linear", "mlp")
LEAST_BLOCK = 100.0
MOST_BLOCK = 1_000_000.0


@dataclass(frozen=True)
class ScenePair:
    """The rasters of one scene: Sentinel-2, Sentinel-1 and, where one is named, a cloud mask."""

    s2: tuple[RasterSource, ...]
    s1: tuple[RasterSource, ...] = ()
    mask: RasterSource | None = None

    def __post_init__(self) -> None:
        if not self.s2:
            raise JobError("A scene needs Sentinel-2: name at least one raster of it.")


@dataclass(frozen=True)
class LabelOptions:
    """Where the labels stand, and what their absence means.

    Args:
        paths: vector files (GeoPackage, GeoJSON, Shapefile), or class rasters.
        fields: of the vectors: one with the class (or classes joined by ``; ``), or several,
            each with a class, or each named by a class and holding 0 or 1.
        layer: where a file has several.
        multi: several classes a tile; seen by itself in joined lists and several fields.
        full_lists: each label names every class of its place: what it does not name is absent.
        complete: polygons inside which everything is labelled.
        table: CSV with ``value,class`` and perhaps ``color``.
        min_share: of a tile (0-1) that the class must cover. None: half of it for one class a
            tile; for several of a class raster 5 %, for several of polygons any.
    """

    paths: tuple[str, ...]
    fields: tuple[str, ...] = ()
    layer: str | None = None
    multi: bool = False
    full_lists: bool = False
    complete: str | None = None
    table: str | None = None
    min_share: float | None = None

    def __post_init__(self) -> None:
        if not self.paths:
            raise JobError("No labels were given: choose a vector file or a class raster.")
        if self.min_share is not None and not 0.0 <= self.min_share <= 1.0:
            raise JobError("The share of a tile that a class must cover lies between 0 and 1.")


@dataclass(frozen=True)
class TrainOrder:
    """Train a head on labelled tiles, over the frozen networks of ``base``.

    Args:
        scenes: one or several; a label counts in every scene that it lies in.
        labels: see :class:`LabelOptions`.
        base: a model folder, whose own head is not used.
        output: the model folder to make.
        head: ``linear`` (logistic regression) or ``mlp``.
        balanced: weigh classes by their rarity. It shifts probabilities.
        block_m: side of the blocks of validation in metres; None: five tiles.
        min_valid: share of valid pixels under which a tile is not used.
        license: of the model that is made.
        overwrite: replace the model folder that is there.
    """

    scenes: tuple[ScenePair, ...]
    labels: LabelOptions
    base: str
    output: str
    head: str = "linear"
    balanced: bool = False
    block_m: float | None = None
    min_valid: float = 0.75
    device: str = "auto"
    license: str = ""
    overwrite: bool = False
    options: SceneOptions = field(default_factory=SceneOptions)

    def __post_init__(self) -> None:
        if not self.scenes:
            raise JobError("No scene was given: choose at least one pair.")
        if not (self.base and self.output):
            raise JobError("Training needs a base model and a folder for the new one.")
        if self.head not in HEADS:
            raise JobError(f"The head '{self.head}' is unknown; choose from {', '.join(HEADS)}.")
        if self.block_m is not None and not LEAST_BLOCK <= self.block_m <= MOST_BLOCK:
            raise JobError(
                f"The side of a block must be {LEAST_BLOCK:g} to {MOST_BLOCK:g} m, "
                f"not {self.block_m:g}."
            )
        if not 0.0 <= self.min_valid <= 1.0:
            raise JobError("The valid share of a tile must lie between 0 and 1.")
        check_computing(self.device, "auto", 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the order as plain values."""
        return asdict(self)
