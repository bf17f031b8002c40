"""Vector layers as shapes and columns; the one door to pyogrio, which is an extra."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from ..contract.errors import CrsError, JobError, SourceError
from .extras import load_extra

VECTOR_SUFFIXES = (".gpkg", ".geojson", ".json", ".shp", ".fgb")
_POINTS, _SURFACES = ("Point", "MultiPoint"), ("Polygon", "MultiPolygon")
_SHOWN = 5


@dataclass(frozen=True)
class VectorLayer:
    """Features of a layer: ``shapes`` are points and polygons in ``crs``, valid and not empty."""

    path: str
    crs: CRS
    shapes: np.ndarray
    columns: Mapping[str, np.ndarray]

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return Path(self.path).name


def is_vector(path: str) -> bool:
    """Tell whether a file is read as a vector layer."""
    return Path(path).suffix.lower() in VECTOR_SUFFIXES


def read_vectors(path: str, layer: str | None = None, *, polygons: bool = False) -> VectorLayer:
    """Read the points and polygons of a GeoPackage, GeoJSON, Shapefile or FlatGeobuf.

    Args:
        path: the file.
        layer: its name, where the file has several with shapes.
        polygons: refuse points.

    Raises:
        JobError: several layers, an unknown one, no shapes, empty, broken or other shapes.
        CrsError: the layer has no CRS, or one that is unknown.
        SourceError: not a file that can be read.
        RuntimeMissingError: pyogrio is not there.
    """
    pyogrio = load_pyogrio()
    if not os.path.isfile(path):
        raise SourceError(f"'{path}' is not a file: choose a vector layer.", path=path)
    try:
        chosen = _chosen_layer(path, layer, pyogrio.list_layers(path))
        meta, _, shapes, values = pyogrio.raw.read(path, layer=chosen, force_2d=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as problem:
        raise SourceError(
            f"'{path}' cannot be read as a vector layer ({problem}): save it as GeoPackage, "
            "GeoJSON or Shapefile.",
            path=path,
        ) from problem
    # A layer without any shape comes without the column.
    found = np.array([] if shapes is None else _parsed(shapes), dtype=object)
    _check_shapes(found, path, _SURFACES if polygons else (*_POINTS, *_SURFACES))
    columns = dict(zip(map(str, meta["fields"]), values, strict=True))
    return VectorLayer(path, _crs(meta["crs"], path), found, columns)


def load_pyogrio() -> Any:
    """Return the package; RuntimeMissingError with the command that installs it."""
    load_extra("pyogrio.raw", "Vector labels need")
    return load_extra("pyogrio")


def _chosen_layer(path: str, wanted: str | None, layers: Any) -> str:
    # Attribute tables have no geometry; QGIS keeps styles in one.
    names = [str(name) for name, kind in layers if kind is not None]
    if wanted is not None and wanted not in names:
        raise JobError(f"'{path}' has no layer '{wanted}'; it has {', '.join(names) or 'none'}.")
    if not names:
        raise JobError(f"'{path}' holds no points or polygons.")
    if wanted is None and len(names) > 1:
        raise JobError(f"'{path}' has several layers: choose one of {', '.join(names)}.")
    return wanted or names[0]


def _parsed(shapes: np.ndarray) -> list[Any]:
    return list(shapely.from_wkb(shapes, on_invalid="ignore"))


def _check_shapes(shapes: np.ndarray, path: str, kinds: tuple[str, ...]) -> None:
    name = Path(path).name
    if not len(shapes):
        raise JobError(f"'{name}' has no features: nothing is labelled in it.")
    empty = [i for i, shape in enumerate(shapes) if shape is None or shape.is_empty]
    if empty:
        raise JobError(
            f"'{name}' has {len(empty)} features without a shape ({_places(empty)}): delete them, "
            "or select the others and save those."
        )
    other = sorted({shape.geom_type for shape in shapes} - set(kinds))
    if other:
        wanted = "polygons" if kinds == _SURFACES else "points or polygons"
        raise JobError(f"'{name}' holds {', '.join(other)}: {wanted} are needed.")
    finite = [bool(np.isfinite(shapely.get_coordinates(shape)).all()) for shape in shapes]
    broken = [i for i, shape in enumerate(shapes) if not (finite[i] and shape.is_valid)]
    if broken:
        raise JobError(
            f"'{name}' has {len(broken)} shapes that cross themselves or are broken "
            f"({_places(broken)}): repair them (in QGIS: Fix geometries)."
        )


def _places(numbers: list[int]) -> str:
    """Say which features, counted from 1 as a table does."""
    shown = ", ".join(str(number + 1) for number in numbers[:_SHOWN])
    return f"number {shown}{' and more' if len(numbers) > _SHOWN else ''}"


def _crs(text: str | None, path: str) -> CRS:
    if not text:
        raise CrsError(
            f"'{path}' has no coordinate system: assign the right one to the layer and save it.",
            path=path,
        )
    try:
        return CRS.from_user_input(text)
    except CRSError as problem:
        raise CrsError(
            f"The coordinate system of '{path}' is unknown ({problem}): save the layer in "
            "WGS 84 or in the CRS of Sentinel-2.",
            path=path,
        ) from problem
