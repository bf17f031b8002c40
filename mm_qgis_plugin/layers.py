"""From QGIS layers to what the worker is told: sources and areas. Main thread only."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsCsException,
    QgsFeature,
    QgsGeometry,
    QgsMapLayer,
    QgsProviderRegistry,
    QgsRasterLayer,
    QgsRectangle,
    QgsWkbTypes,
)

from .about import tr
from .core.contract.channels import s1_band_from_text, s2_band_from_text
from .core.contract.errors import CrsError, JobError, SourceError
from .core.contract.job import RasterSource

# Points added to an edge that is reprojected, and the vertex count that this may lead to.
_POINTS_PER_EDGE = 20
_MAX_VERTICES = 20_000
_RASTER_SUFFIXES = (".jp2", ".tif", ".tiff", ".vrt", ".img")


def raster_source(layer: QgsMapLayer, bands: dict[str, int] | None = None) -> RasterSource:
    """Return the layer as GDAL opens it; raises SourceError where GDAL alone cannot.

    The CRS is passed on only where the user gave the layer another one than the file says.
    """
    if not isinstance(layer, QgsRasterLayer):
        raise SourceError(
            tr("Layer '{}' is not a raster: choose a raster layer.").format(layer.name())
        )
    provider = layer.dataProvider()
    if not layer.isValid() or provider is None:
        raise SourceError(
            tr("Layer '{}' cannot be read: repair or reload it.").format(layer.name())
        )
    if provider.name() != "gdal":
        raise SourceError(
            tr(
                "Layer '{}' comes from '{}', not from a raster file: export it to a GeoTIFF "
                "(layer menu, Export) and choose that."
            ).format(layer.name(), provider.name())
        )
    crs = layer.crs()
    overridden = crs.isValid() and crs != provider.crs()
    return RasterSource(_gdal_name(layer), crs_wkt(crs) if overridden else None, bands or {})


def _gdal_name(layer: QgsRasterLayer) -> str:
    source = layer.source()
    if "authcfg=" in source:
        raise SourceError(
            tr(
                "Layer '{}' needs a login that QGIS keeps: download it to a file and choose that."
            ).format(layer.name())
        )
    if "|option:" in source:
        raise SourceError(
            tr(
                "Layer '{}' was opened with driver options: export it to a GeoTIFF "
                "(layer menu, Export) and choose that."
            ).format(layer.name())
        )
    return os.path.abspath(source) if os.path.exists(source) else source


def path_source(path: str, bands: dict[str, int] | None = None) -> RasterSource:
    """Return a file, folder or archive as a source; raises SourceError where there is none."""
    if "://" not in path and not path.startswith("/vsi"):
        if not os.path.exists(path):
            raise SourceError(tr("'{}' does not exist: check the path.").format(path))
        path = os.path.abspath(path)
    return RasterSource(path, None, bands or {})


def crs_wkt(crs: QgsCoordinateReferenceSystem) -> str:
    """Return the CRS as WKT that GDAL reads."""
    return crs.toWkt(QgsCoordinateReferenceSystem.WktVariant.WKT_PREFERRED)


def crs_of_path(path: str) -> QgsCoordinateReferenceSystem:
    """Return the CRS of a raster file, or of the first raster in a folder or archive.

    Raises CrsError where there is none: an area cannot be placed on such a scene.
    """
    for candidate in _rasters_at(path):
        layer = QgsRasterLayer(candidate, "probe", "gdal")
        if layer.isValid() and layer.dataProvider().crs().isValid():
            return layer.dataProvider().crs()
    raise CrsError(
        tr(
            "The coordinate reference system of '{}' could not be found, so no extent or polygon "
            "can be placed on it: load the raster as a layer, or classify the whole scene."
        ).format(path)
    )


def _rasters_at(path: str) -> Iterable[str]:
    if os.path.isdir(path):
        files = sorted(Path(path).rglob("*"))
        return [str(file) for file in files if file.suffix.lower() in _RASTER_SUFFIXES]
    listed = QgsProviderRegistry.instance().querySublayers(path)
    return [path, *(item.uri() for item in listed if item.providerKey() == "gdal")]


def scene_extent(
    layers: Sequence[QgsRasterLayer],
    target: QgsCoordinateReferenceSystem,
    context: QgsCoordinateTransformContext,
) -> QgsRectangle | None:
    """Return the box around all these layers in ``target``; None where one cannot be placed."""
    box = QgsRectangle()
    for layer in layers:
        if not layer.crs().isValid() or not target.isValid():
            return None
        transform = QgsCoordinateTransform(layer.crs(), target, context)
        try:
            box.combineExtentWith(transform.transformBoundingBox(layer.extent()))
        except QgsCsException:
            return None
    return None if box.isEmpty() else box


def extent_wkt(
    extent: QgsRectangle,
    crs: QgsCoordinateReferenceSystem,
    target: QgsCoordinateReferenceSystem,
    context: QgsCoordinateTransformContext,
    within: QgsRectangle | None = None,
) -> str:
    """Return a rectangle as a polygon in ``target``; its edges keep their course.

    ``within`` is the extent of the scene, in ``target``: half the world, which no projection
    of a scene can show, is cut down to it first.
    """
    if extent.isEmpty():
        raise JobError(tr("The extent is empty: choose one with an area."))
    area = _cut(QgsGeometry.fromRect(extent), crs, target, context, within)
    return _placed(area, crs, target, context).asWkt(17)


def polygons_wkt(
    features: Iterable[QgsFeature],
    crs: QgsCoordinateReferenceSystem,
    target: QgsCoordinateReferenceSystem,
    context: QgsCoordinateTransformContext,
    within: QgsRectangle | None = None,
) -> str:
    """Return all polygons as one in ``target``, cut as in :func:`extent_wkt`.

    Raises JobError where there is none.
    """
    shapes = (feature.geometry() for feature in features if feature.hasGeometry())
    union = _LAST_UNION.of([bytes(shape.asWkb()) for shape in shapes])
    if union.isEmpty() or union.area() <= 0:
        raise JobError(
            tr("The polygon layer has no polygon to use: check the layer and its selection.")
        )
    return _placed(_cut(union, crs, target, context, within), crs, target, context).asWkt(17)


class _LastUnion:
    """Keeps one union: the dock wants the same again and again, and thousands take seconds."""

    def __init__(self) -> None:
        self._key = b""
        self._union = QgsGeometry()

    def of(self, shapes: Sequence[bytes]) -> QgsGeometry:
        """Return the union of shapes in WKB, mended where they are invalid."""
        digest = sha256()
        for shape in shapes:
            digest.update(shape)
        if digest.digest() != self._key:
            parts = [_from_wkb(shape).makeValid() for shape in shapes]
            self._union = QgsGeometry.unaryUnion([part for part in parts if not part.isEmpty()])
            self._key = digest.digest()
        return QgsGeometry(self._union)


_LAST_UNION = _LastUnion()


def _from_wkb(shape: bytes) -> QgsGeometry:
    geometry = QgsGeometry()
    geometry.fromWkb(shape)
    return geometry


def _cut(
    area: QgsGeometry,
    crs: QgsCoordinateReferenceSystem,
    target: QgsCoordinateReferenceSystem,
    context: QgsCoordinateTransformContext,
    within: QgsRectangle | None,
) -> QgsGeometry:
    """Return what of an area lies at the scene; all of it where that cannot be told."""
    if within is None or crs == target or not crs.isValid() or not target.isValid():
        return area
    # A little more than the scene: its edges are curves in the other CRS.
    room = QgsGeometry.fromRect(within.buffered(0.05 * (within.width() + within.height())))
    placed = _placed(room, target, crs, context)
    middle = _placed(QgsGeometry.fromPointXY(within.center()), target, crs, context)
    if not placed.intersects(middle):
        return area  # Turned inside out, at a pole or the antimeridian.
    cut = area.intersection(placed)
    # Where they only touch, there are lines and points too.
    cut.convertGeometryCollectionToSubclass(QgsWkbTypes.GeometryType.PolygonGeometry)
    if cut.area() <= 0:
        raise JobError(tr("The area does not meet the scene: choose one inside it."))
    return cut


def _placed(
    geometry: QgsGeometry,
    crs: QgsCoordinateReferenceSystem,
    target: QgsCoordinateReferenceSystem,
    context: QgsCoordinateTransformContext,
) -> QgsGeometry:
    if not crs.isValid():
        raise CrsError(
            tr(
                "The area has no coordinate reference system: set it in the properties of its "
                "layer, or in those of the project where the area comes from the map."
            )
        )
    if not target.isValid():
        raise CrsError(
            tr(
                "The Sentinel-2 raster has no coordinate reference system: "
                "set it in the layer properties."
            )
        )
    flat = QgsGeometry(geometry)
    flat.get().dropZValue()
    flat.get().dropMValue()
    if crs == target:
        return flat
    extra = _MAX_VERTICES // max(1, flat.constGet().nCoordinates())
    placed = flat.densifyByCount(min(_POINTS_PER_EDGE, extra))
    try:
        placed.transform(QgsCoordinateTransform(crs, target, context))
    except QgsCsException as problem:
        raise _not_placed(crs, target) from problem
    box = placed.boundingBox()
    sides = (box.xMinimum(), box.xMaximum(), box.yMinimum(), box.yMaximum())
    if placed.isEmpty() or not all(map(math.isfinite, sides)):
        raise _not_placed(crs, target)
    return placed


def _not_placed(
    crs: QgsCoordinateReferenceSystem, target: QgsCoordinateReferenceSystem
) -> CrsError:
    return CrsError(
        tr(
            "The area cannot be reprojected from {} to {}: choose an area near the scene, and "
            "check that its CRS is the right one."
        ).format(crs.authid(), target.authid())
    )


def guess_sensor(layer: QgsRasterLayer) -> str | None:
    """Return ``s2`` or ``s1`` when the names of bands and layer speak for one, else None."""
    names = [layer.bandName(number) for number in range(1, layer.bandCount() + 1)]
    named_s2 = {band for band in map(_s2_band, names) if band}
    named_s1 = {band for band in map(s1_band_from_text, names) if band}
    if len(named_s2) >= 3:
        return "s2"
    if named_s1 or s1_band_from_text(layer.name()):
        return "s1"
    return None


def _s2_band(name: str) -> str | None:
    # QGIS writes "Band 3: B04", and "Band 03" where the file names nothing.
    _, colon, own = name.partition(":")
    return s2_band_from_text(own) if colon else None
