"""evaluate(): a result against a reference layer or class raster, with the same report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..contract.errors import JobError
from ..contract.foreign_text import looks_like
from ..contract.train_order import LabelOptions
from .area_accuracy import area_accuracy
from .claims import ABSENT, UNKNOWN
from .labels import LabelSource, complete_area, lon_lat, read_labels
from .placing import frame_of, to_pixels
from .predicted import Predicted, read_predictions
from .raster_tiles import tiles_of_raster
from .report import REPORT_FORMAT, figures_part, tile_row
from .report_table import TABLE_FILE, outline, write_table
from .shape_tiles import known_at
from .tile_labels import TileLabels
from .trained_folder import REPORT_JSON, check_folder, move_into, told, write_reports


@dataclass(frozen=True)
class EvaluateOrder:
    """Compare a result with a reference; ``output`` is the folder of the report."""

    predictions: str
    reference: LabelOptions
    output: str
    overwrite: bool = False


def evaluate(order: EvaluateOrder) -> dict[str, Any]:
    """Write report.html, report.json and the layer of the tested tiles; return the report.

    Only tiles that the reference tells of are tested. For one class a tile, accuracy is
    weighted by the area of the map as well (:mod:`.area_accuracy`).

    Raises:
        MultimodalError: what is wrong and what to do; nothing is written.
    """
    target = Path(os.path.realpath(order.output))
    check_folder(target, order.overwrite, REPORT_JSON, "report")
    predicted = read_predictions(order.predictions)
    multi = predicted.spec.task == "multilabel"
    source = read_labels(replace(order.reference, multi=order.reference.multi or multi))
    known = _reference(source, predicted, multi)
    says, names, warnings = _matched(known, predicted, source)
    at = _positions(predicted.places, known.places)
    if not len(at):
        raise JobError(
            "The reference tells of no classified tile: check that both are of one place, and "
            "that its polygons cover enough of a tile."
        )
    extra = len(names) - len(predicted.spec.classes)
    passed = np.pad(predicted.passed, ((0, 0), (0, extra)))
    found = np.pad(predicted.found, ((0, 0), (0, extra)))
    figures = figures_part(found[at], passed[at], says, names, multi)
    figures.update(
        tested=len(at), note=f"{len(at)} of {len(passed)} classified tiles have a reference"
    )
    if not multi:
        counts = np.array(figures["confusion"]).T
        figures["map"] = area_accuracy(counts, passed.sum(axis=0), names)
    report: dict[str, Any] = {
        "format": REPORT_FORMAT, "kind": "evaluation", "output": order.output,
        "task": predicted.spec.task, "tiles": len(passed), "validation": figures,
        "warnings": warnings, "predictions": Path(order.predictions).name,
        "reference": [Path(path).name for path in order.reference.paths],
        "tested_tiles": _rows(predicted, at, says, passed, found, names),
    }  # fmt: skip
    _write(target, report, predicted, names)
    return report


def _reference(source: LabelSource, predicted: Predicted, multi: bool) -> TileLabels:
    """Return what the reference tells of the tiles."""
    grid, options = predicted.grid, source.options
    if source.claims is None:
        if len(options.paths) > 1:
            raise JobError("Several reference rasters: merge them into one, or name one.")
        known, _ = tiles_of_raster(
            options.paths[0], source.table, grid, multi=multi, min_share=options.min_share,
            places=predicted.places,
        )  # fmt: skip
        return known
    if source.claims.multi and not multi:
        raise JobError(
            "The reference has several classes a tile, and the map has one: choose a field with "
            "one class."
        )
    shapes = np.concatenate([to_pixels(layer.shapes, layer.crs, grid) for layer in source.layers])
    claims = source.claims
    return known_at(
        predicted.places, shapes, claims.says, claims.classes, frame_of(grid), multi=multi,
        complete=complete_area(source, grid), min_share=options.min_share,
    )  # fmt: skip


def _matched(
    known: TileLabels, predicted: Predicted, source: LabelSource
) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Return the truth over the classes of the map, and over those of the reference alone.

    With several classes a tile, what the map does not know is left out.
    """
    own = {looks_like(name): n for n, name in enumerate(predicted.spec.class_names)}
    strange = [name for name in known.classes if looks_like(name) not in own]
    if len(strange) == len(known.classes):
        raise JobError(
            f"The reference and the map have no class in common: {', '.join(known.classes[:5])} "
            f"and {', '.join(predicted.spec.class_names[:5])}. Name the values by --class-table."
        )
    names = predicted.spec.class_names
    warnings = []
    if strange and known.multi:
        warnings.append(f"The map does not know, and they are left out: {', '.join(strange)}.")
    elif strange:
        warnings.append(f"The map does not know, so it is wrong there: {', '.join(strange)}.")
        names = (*names, *strange)
    says = np.full((len(known), len(names)), ABSENT, dtype=np.int8)
    if known.multi:
        is_full = source.options.full_lists or source.claims is None
        complete = (known.says != UNKNOWN).all(axis=1) & is_full
        says[~complete] = UNKNOWN
    place = {**own, **{looks_like(name): n for n, name in enumerate(names)}}
    for n, name in enumerate(known.classes):
        if looks_like(name) in place:
            says[:, place[looks_like(name)]] = known.says[:, n]
    return says, names, warnings


def _positions(places: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the positions in ``places`` of those in ``among``."""
    number = {place: n for n, place in enumerate(map(tuple, places.tolist()))}
    return np.array([number[place] for place in map(tuple, among.tolist())], dtype=int)


def _rows(
    predicted: Predicted, at: np.ndarray, says: np.ndarray, passed: np.ndarray,
    found: np.ndarray, names: Sequence[str],
) -> list[dict[str, Any]]:  # fmt: skip
    places = predicted.places[at]
    centres = lon_lat(predicted.grid, places)
    return [
        tile_row(names, says[n], passed[number], found[number], place=places[n], centre=centres[n])
        for n, number in enumerate(at)
    ]


def _write(
    target: Path, report: dict[str, Any], predicted: Predicted, names: Sequence[str]
) -> None:
    with told(target), TemporaryDirectory(prefix=".report.", dir=target.parent) as temporary:
        aside = Path(temporary)
        rows = report["tested_tiles"]
        outlines = [outline(predicted.grid, row["row"], row["col"]) for row in rows]
        report["table"] = write_table(aside / TABLE_FILE, rows, outlines, names)
        write_reports(aside, report)
        move_into(aside, target)
