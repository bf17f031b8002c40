"""Where the features of a run go: known before the work, filled and proven after it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osgeo import gdal
from qgis.core import (
    QgsFeature,
    QgsFeatureSink,
    QgsProcessing,
    QgsProcessingOutputLayerDefinition,
    QgsVectorFileWriter,
)

from ..about import tr
from ..core.contract.drive import check_room, is_same_drive
from ..core.contract.errors import OutputError
from ..core.contract.messages import Plan
from ..core.contract.result import result_bytes

_DATABASE = re.compile(r"ogr:dbname='(?P<path>[^']+)'(?:\s+table=\"(?P<table>[^\"]+)\")?.*", re.S)
_SEPARATORS = tuple(filter(None, ("/", os.sep, os.altsep)))
# What QGIS adds to a name that has none, whatever format the user prefers.
_ADDED_SUFFIX = ".gpkg"
_SCRATCH = ("", QgsProcessing.TEMPORARY_OUTPUT, "memory:")


@dataclass(frozen=True)
class Place:
    """A file, or with ``table`` one table in it."""

    path: Path
    table: str = ""

    def overwrites(self, other: Place) -> bool:
        """Return whether writing here destroys what is there."""
        return _same(self.path, other.path) and self.table in ("", other.table)


def sink_place(value: Any) -> Place | None:
    """Return the file or table that a sink's value names; None for scratch layers, servers."""
    if isinstance(value, QgsProcessingOutputLayerDefinition):
        value = value.sink.staticValue()
    text = value if isinstance(value, str) else ""
    database = _DATABASE.fullmatch(text)
    if database:
        return Place(Path(database["path"]), database["table"] or "")
    is_other = text in _SCRATCH or "://" in text
    if is_other or (":" in text and not os.path.splitdrive(text)[0]):
        return None
    if text.endswith(_SEPARATORS) or not Path(text).suffix:
        text += _ADDED_SUFFIX
    return Place(Path(text))


def check_sink(place: Place | None, inputs: Iterable[Place]) -> None:
    """Find out before the work, not after it, that a sink cannot be written."""
    if place is None:
        return
    path = place.path.absolute()
    if "|" in path.name:
        raise OutputError(
            tr(
                "The output '{}' is not a file name. For a table in an existing GeoPackage write "
                "ogr:dbname='file.gpkg' table=\"name\" (geom)."
            ).format(path)
        )
    for source in inputs:
        if place.overwrites(source):
            raise OutputError(
                tr(
                    "The output '{}' is an input of this run and would destroy it: choose another."
                ).format(path)
            )
    _check_writable(path)


def check_room_for(place: Place, journal: Path, plan: Plan, classes: int) -> None:
    """Raise an OutputError where a drive is certainly too small for what the sink will take.

    What the journal has yet to take is counted too, where it lies on the same drive; a file that
    the sink replaces is room.
    """
    path = place.path.absolute()
    classified = max(plan.tiles - plan.expected_skipped, 0)
    needed = result_bytes(plan.tiles, classified, classes)
    if is_same_drive(path, journal):
        needed += result_bytes(plan.todo, classified * plan.todo // plan.tiles, classes)
    replaced = path.stat().st_size if not place.table and os.path.isfile(path) else 0
    check_room(path, max(needed - replaced, 0))


def fill(sink: QgsFeatureSink, features: Iterable[QgsFeature]) -> int:
    """Write all features; returns how many. Raises OutputError at the first that fails."""
    count = 0
    for feature in features:
        if not sink.addFeature(feature, QgsFeatureSink.Flag.FastInsert):
            raise OutputError(sink.lastError())
        count += 1
    if not sink.flushBuffer():
        raise OutputError(sink.lastError())
    return count


def check_written(place: Place | None, count: int) -> None:
    """Raise an OutputError where a closed file does not hold ``count`` features.

    Drivers write their last part when they close, and QGIS does not ask how that went. What is
    incomplete is removed, lest it passes for a result.
    """
    if place is None:
        return
    found = _feature_count(place)
    if found == count:
        return
    if not place.table:
        place.path.unlink(missing_ok=True)
    raise OutputError(tr("{} of {} tiles are in the file; is the disk full?").format(found, count))


def _feature_count(place: Place) -> int:
    try:
        dataset = gdal.OpenEx(str(place.path), gdal.OF_VECTOR | gdal.OF_READONLY)
        if dataset is None:
            return 0
        layer = dataset.GetLayerByName(place.table) if place.table else dataset.GetLayer(0)
        return 0 if layer is None else layer.GetFeatureCount()
    except RuntimeError:  # Only where some plugin switched GDAL's exceptions on.
        return 0


def _check_writable(path: Path) -> None:
    if not QgsVectorFileWriter.driverForExtension(path.suffix):
        raise OutputError(
            tr("QGIS writes no '{}' files: choose .gpkg, .geojson or .shp.").format(path.suffix)
        )
    # Unlike Path.is_dir no error for a name that cannot be.
    if not os.path.isdir(path.parent) or not os.access(path.parent, os.W_OK):
        raise OutputError(
            tr(
                "The output '{}' cannot be written: choose a folder that exists and where you "
                "may write."
            ).format(path)
        )


def _same(path: Path, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        # GDAL names hold the path of the file: GPKG:/a/b.gpkg:table, /vsizip//a/b.zip/c.tif
        return str(path.absolute()) in str(other)
