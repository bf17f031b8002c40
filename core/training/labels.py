"""Labels of all kinds become labelled tiles of a scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS

from ..contract.errors import JobError, NoOverlapError
from ..contract.spec import default_spec
from ..contract.train_order import LabelOptions
from ..scene.geometry import apply, project
from ..scene.grid import TileGrid
from .claims import PRESENT, Claims, read_claims
from .class_table import ClassTable, check_spelling, class_colors, read_class_table
from .placing import frame_of, to_pixels
from .raster_tiles import tiles_of_raster
from .shape_tiles import tiles_of_shapes
from .tile_labels import TileLabels, with_classes
from .vectors import VectorLayer, is_vector, read_vectors


@dataclass(frozen=True)
class LabelSource:
    """Labels that were read, before it is known in which scenes they lie."""

    options: LabelOptions
    table: ClassTable
    layers: tuple[VectorLayer, ...] = ()
    claims: Claims | None = None
    complete: VectorLayer | None = None


@dataclass(frozen=True)
class ClassList:
    """The classes of a training: names in order, and a colour ``#rrggbb`` for each."""

    names: tuple[str, ...]
    colors: tuple[str, ...]


def read_labels(options: LabelOptions) -> LabelSource:
    """Read label files as far as no scene is needed for it.

    Raises:
        JobError, CrsError, SourceError: what is wrong with them and what to do.
        RuntimeMissingError: pyogrio is not there, and vectors are to be read.
    """
    kinds = {is_vector(path) for path in options.paths}
    if len(kinds) > 1:
        raise JobError("Vector labels and class rasters cannot be mixed: train on one kind.")
    table = read_class_table(options.table)
    if kinds == {False}:
        _refuse_for_rasters(options)
        return LabelSource(options, table)
    layers = tuple(read_vectors(path, options.layer) for path in options.paths)
    claims = read_claims(layers, options, table)
    complete = None
    if options.complete is not None:
        complete = read_vectors(options.complete, polygons=True)
    return LabelSource(options, table, layers, claims, complete)


def label_scene(source: LabelSource, grid: TileGrid) -> tuple[TileLabels, dict[str, str]]:
    """Return the labelled tiles of a scene, and colours that the labels bring, by class."""
    if source.claims is None:
        return _of_rasters(source, grid)
    claims, frame = source.claims, frame_of(grid)
    shapes = np.concatenate([to_pixels(layer.shapes, layer.crs, grid) for layer in source.layers])
    labels = tiles_of_shapes(
        shapes, claims.says, claims.classes, frame, multi=claims.multi,
        complete=complete_area(source, grid), min_share=source.options.min_share,
    )  # fmt: skip
    return labels, {}


def joined_classes(
    parts: Sequence[TileLabels], table: ClassTable, colors: Mapping[str, str]
) -> tuple[list[TileLabels], ClassList]:
    """Give the labels of several scenes the same classes, those that some tile has.

    Raises:
        NoOverlapError: all labels lie outside the scenes.
        JobError: fewer than two classes, one written in two ways, or no tile is left.
        SpecError: a name that no class can have.
    """
    _check_any(parts)
    present = {
        name
        for part in parts
        for name, there in zip(part.classes, (part.says == PRESENT).any(axis=0), strict=True)
        if there
    }
    check_spelling(present)
    names = table.ordered(present)
    if len(names) < 2:
        only = f"only of the class '{names[0]}'" if names else "of no class"
        raise JobError(
            f"The labels in the scene are {only}: training needs at least two classes with tiles."
        )
    chosen = class_colors(names, {**colors, **table.colors})
    default_spec(names, chosen)  # refuses names and colours that no model can have
    return [with_classes(part, names) for part in parts], ClassList(names, chosen)


def _check_any(parts: Sequence[TileLabels]) -> None:
    if any(len(part) for part in parts):
        return
    if not any(part.small or part.dropped for part in parts):
        raise NoOverlapError(
            "All labels lie outside the scenes: check that labels and rasters are of one place, "
            "and that the CRS of both is right."
        )
    raise JobError(
        "No tile is left to train on: the polygons cover too little of a tile each "
        f"({max(len(part.small) for part in parts)}), or tiles hold several classes "
        f"({sum(part.dropped for part in parts)}). Draw larger polygons, or allow a smaller "
        "share (--min-share)."
    )


def unused(source: LabelSource, names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of the labels that no tile has."""
    known = source.claims.classes if source.claims else ()
    return tuple(name for name in known if name not in names)


def _refuse_for_rasters(options: LabelOptions) -> None:
    given = [("fields", options.fields), ("complete", options.complete), ("layer", options.layer)]
    for name, value in given:
        if value:
            raise JobError(
                f"'{name}' belongs to vector labels, and '{options.paths[0]}' is read as a class "
                "raster: leave it out, or name a GeoPackage, GeoJSON or Shapefile."
            )


def _of_rasters(source: LabelSource, grid: TileGrid) -> tuple[TileLabels, dict[str, str]]:
    options, colors = source.options, dict[str, str]()
    parts: list[TileLabels] = []
    for path in options.paths:
        part, more = tiles_of_raster(
            path, source.table, grid, multi=options.multi, min_share=options.min_share
        )
        parts.append(part)
        colors.update(more)
    names = source.table.ordered(name for part in parts for name in part.classes)
    same = [with_classes(part, names) for part in parts]
    return _first_of_each(same), colors


def _first_of_each(parts: Sequence[TileLabels]) -> TileLabels:
    """Return all tiles of several rasters; of one place the first that tells something."""
    places = np.concatenate([part.places for part in parts])
    _, first = np.unique(places, axis=0, return_index=True)
    keep = np.sort(first)
    says = np.concatenate([part.says for part in parts])[keep]
    return replace(
        parts[0], places=places[keep], says=says,
        mixed=sum(part.mixed for part in parts), dropped=sum(part.dropped for part in parts),
    )  # fmt: skip


def complete_area(source: LabelSource, grid: TileGrid) -> Any:
    """Return where everything is labelled, in pixels of a grid; None where nothing is said."""
    layer = source.complete
    if layer is None:
        return None
    shapes = [shape for shape in to_pixels(layer.shapes, layer.crs, grid) if shape is not None]
    return shapely.union_all(shapes) if shapes else None


def lon_lat(grid: TileGrid, places: np.ndarray) -> np.ndarray:
    """Return longitude and latitude (N, 2) of tile centres."""
    middles = places + grid.tile_size / 2
    x, y = apply(grid.transform, middles[:, 1], middles[:, 0])
    return np.column_stack(project(x, y, grid.geometry.crs, CRS.from_epsg(4326))).reshape(-1, 2)
