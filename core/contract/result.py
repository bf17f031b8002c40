"""The result layer: its fields and its rows, one definition for worker and plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ._codec import as_object, take
from .errors import ProtocolError
from .foreign_text import inert
from .spec import ModelSpec
from .thresholds import decide

LAYER = "tiles"
RUN_TABLE = "mm_run"
OK = "ok"
PARTIAL, COMPLETE = "partial", "complete"
"""States of a file. It is partial from its first byte: so a run that dies leaves what is true."""
Corner = tuple[float, float]
# What a file takes, measured: empty, for each tile, and more for each that was classified.
_FILE_BYTES, _ROW_BYTES, _ANSWER_BYTES, _CLASS_BYTES = 140_000, 220, 60, 11


@dataclass(frozen=True)
class FieldSpec:
    """One attribute of the result layer; ``kind`` is ``integer``, ``real`` or ``text``."""

    name: str
    kind: str
    alias: str


def result_bytes(tiles: int, classified: int, classes: int) -> int:
    """Return about how many bytes a result takes on disk."""
    answers = classified * (_ANSWER_BYTES + classes * _CLASS_BYTES)
    return _FILE_BYTES + tiles * _ROW_BYTES + answers


def probability_field(slug: str) -> str:
    """Return the field name of a class's probability."""
    return f"p_{slug}"


def result_fields(spec: ModelSpec) -> tuple[FieldSpec, ...]:
    """Return the fields of the result layer in order."""
    fixed = (
        FieldSpec("tile_id", "integer", "Tile"),
        FieldSpec("row", "integer", "Row"),
        FieldSpec("col", "integer", "Column"),
        FieldSpec("status", "text", "Status"),
        FieldSpec("class", "text", "Class"),
        FieldSpec("confidence", "real", "Confidence"),
        FieldSpec("labels", "text", "Labels over threshold"),
        FieldSpec("n_labels", "integer", "Number of labels"),
        FieldSpec("entropy", "real", "Entropy"),
        FieldSpec("margin", "real", "Margin"),
        FieldSpec("valid_s2", "real", "Valid share of Sentinel-2"),
        FieldSpec("valid_s1", "real", "Valid share of Sentinel-1"),
        FieldSpec("cloud", "real", "Cloud share"),
    )
    return fixed + tuple(
        FieldSpec(probability_field(item.slug), "real", inert(item.name)) for item in spec.classes
    )


@dataclass(frozen=True)
class TileResult:
    """What is known about one tile; ``probabilities`` is None where it was skipped.

    ``corners`` are the four corners in the CRS of Sentinel-2, counter-clockwise on a
    north-up grid, the first not repeated: lower left, lower right, upper right, upper left.
    ``valid_*`` and ``cloud`` are fractions 0-1; ``cloud`` is None where no mask was read.
    """

    tile_id: int
    row: int
    col: int
    corners: tuple[Corner, Corner, Corner, Corner]
    status: str
    probabilities: tuple[float, ...] | None
    valid_s2: float
    valid_s1: float
    cloud: float | None = None

    def values(self, spec: ModelSpec) -> tuple[Any, ...]:
        """Return the value of every field of :func:`result_fields`, in its order."""
        return (
            self.tile_id, self.row, self.col, self.status,
            *(_decided(self.probabilities, spec) if self.probabilities else _UNDECIDED),
            self.valid_s2, self.valid_s1, self.cloud,
            *(self.probabilities or (None,) * len(spec.classes)),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the row as it travels."""
        # Not by asdict, which copies each number: a row has some thirty.
        return dict(vars(self))


_UNDECIDED = (None,) * 6


def _decided(probabilities: tuple[float, ...], spec: ModelSpec) -> tuple[Any, ...]:
    """Return class, confidence, labels, their number, entropy and margin."""
    found = decide(probabilities, spec)
    labels = "; ".join(found.labels)
    count = len(found.labels)
    return found.class_name, found.confidence, labels, count, found.entropy, found.margin


def tile_from_dict(payload: Any) -> TileResult:
    """Read what :meth:`TileResult.to_dict` wrote."""
    data = as_object(payload, ProtocolError, "A row")
    number = (int, float)
    corners = tuple(
        (float(x), float(y)) for x, y in take(data, "corners", list, ProtocolError, "row")
    )
    if len(corners) != 4:
        raise ProtocolError("A row must have four corners.")
    given = data.get("probabilities")
    cloud = data.get("cloud")
    return TileResult(
        tile_id=take(data, "tile_id", int, ProtocolError, "row"),
        row=take(data, "row", int, ProtocolError, "row"),
        col=take(data, "col", int, ProtocolError, "row"),
        corners=corners,  # type: ignore[arg-type]  # its length was checked above
        status=take(data, "status", str, ProtocolError, "row"),
        probabilities=None if given is None else tuple(float(value) for value in given),
        valid_s2=float(take(data, "valid_s2", number, ProtocolError, "row")),
        valid_s1=float(take(data, "valid_s1", number, ProtocolError, "row")),
        cloud=None if cloud is None else float(cloud),
    )


@dataclass(frozen=True)
class RunSummary:
    """How a run ended; the keys are those of ``multimodal classify --json``."""

    output: str
    tiles: int
    classified: int
    skipped: int
    device: str
    precision: str
    seconds: float
    tiles_per_second: float
    state: str
    skipped_reasons: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as it travels and as ``--json`` prints it."""
        return {**asdict(self), "warnings": list(self.warnings)}


def summary_from_dict(payload: Any) -> RunSummary:
    """Read what :meth:`RunSummary.to_dict` wrote."""
    data = as_object(payload, ProtocolError, "A summary")
    kinds: dict[str, Any] = {
        "output": str, "tiles": int, "classified": int, "skipped": int, "device": str,
        "precision": str, "seconds": (int, float), "tiles_per_second": (int, float),
        "state": str, "skipped_reasons": dict,
    }  # fmt: skip
    values = {key: take(data, key, kind, ProtocolError, "summary") for key, kind in kinds.items()}
    return RunSummary(**values, warnings=tuple(map(str, data.get("warnings", ()))))
