"""From the values of a Processing dialog to a job. Main thread only: it looks at layers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsDataProvider,
    QgsFeatureRequest,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingFeatureSource,
    QgsProperty,
    QgsProviderRegistry,
    QgsRectangle,
    QgsVectorLayer,
)

from .. import journals
from ..about import tr
from ..core.contract.band_map import read_band_map
from ..core.contract.benchmark import BenchmarkOrder
from ..core.contract.channels import CLOUD_MASK
from ..core.contract.errors import JobError, SourceError
from ..core.contract.job import PRECISIONS, ClassifyJob, RasterSource
from ..core.contract.scene_options import S1_UNITS
from ..layers import crs_of_path, extent_wkt, path_source, polygons_wkt, raster_source, scene_extent
from . import parameters as names
from .destination import Place, check_sink, sink_place
from .options import YES_OR_NO, read_options

# The job cannot be without an output; which one is known when the rest is.
_LATER = "later.gpkg"
# QGIS cuts off what follows the point, and makes 0 of what is larger.
_LARGEST = 2**31 - 1
_WHOLE = (names.BATCH_SIZE, names.MAX_DAYS, names.MASK_BAND)


class JobReader:
    """Reads one set of parameter values."""

    def __init__(
        self, algorithm: QgsProcessingAlgorithm, values: dict, context: QgsProcessingContext
    ) -> None:
        self._algorithm = algorithm
        self._values = values
        self._context = context

    def checked(self) -> ClassifyJob:
        """Return the job without area and journal, after all checks that cost nothing."""
        job = self.scene()
        overwrite = self._algorithm.parameterAsBool(self._values, names.OVERWRITE, self._context)
        check_sink(sink_place(self._values.get(names.OUTPUT)), self._inputs(job))
        return replace(job, overwrite=overwrite)

    def complete(self) -> ClassifyJob:
        """Return the whole job: with the area, and the journal as its output."""
        job = self.in_area(self.checked())
        given = self._given_journal()
        return replace(job, output=given or str(journals.journal_path(job)))

    def in_area(self, job: ClassifyJob) -> ClassifyJob:
        """Return the job with extent and polygons, which may take time to read."""
        return replace(job, extent_wkt=self._extent(job), aoi_wkt=self._aoi(job))

    def scene(self) -> ClassifyJob:
        """Return what an inspection needs, without the area."""
        self._check_values()
        algorithm, values, context = self._algorithm, self._values, self._context
        stride = values.get(names.STRIDE)
        return ClassifyJob(
            s2=self._sources(names.S2, names.S2_PATH, names.S2_BANDS, "Sentinel-2"),
            s1=self._sources(names.S1, names.S1_PATH, names.S1_BANDS, "Sentinel-1"),
            model=os.path.abspath(self.model_folder()),
            output=_LATER,
            stride=None if stride is None else self._stride(),
            device=algorithm.parameterAsEnumString(values, names.DEVICE, context),
            precision=algorithm.parameterAsEnumString(values, names.PRECISION, context),
            batch_size=algorithm.parameterAsInt(values, names.BATCH_SIZE, context),
            min_valid=algorithm.parameterAsDouble(values, names.MIN_VALID, context),
            mask=self._mask(),
            options=read_options(algorithm, values, context),
        )

    def benchmark(self) -> BenchmarkOrder:
        """Return what a benchmark is to measure."""
        self._check_values()
        algorithm, values, context = self._algorithm, self._values, self._context
        model = algorithm.parameterAsFile(values, names.MODEL, context)
        return BenchmarkOrder(
            tiles=algorithm.parameterAsInt(values, names.TILES, context),
            model=os.path.abspath(model) if model else "",
            device=algorithm.parameterAsEnumString(values, names.DEVICE, context),
            precision=algorithm.parameterAsEnumString(values, names.PRECISION, context),
            repeats=algorithm.parameterAsInt(values, names.REPEATS, context),
        )

    def _mask(self) -> RasterSource | None:
        if not self._values.get(names.MASK):
            if self._values.get(names.MASK_BAND) is not None:
                raise JobError(
                    tr("{} counts the bands of {}: choose a cloud mask too.").format(
                        self._label(names.MASK_BAND), self._label(names.MASK)
                    )
                )
            return None
        layer = self._algorithm.parameterAsRasterLayer(self._values, names.MASK, self._context)
        if layer is None:
            raise SourceError(
                tr("{}: the cloud mask cannot be opened, check its path.").format(
                    self._label(names.MASK)
                )
            )
        return raster_source(layer, self._mask_bands())

    def _mask_bands(self) -> dict[str, int]:
        if self._values.get(names.MASK_BAND) is None:
            return {}
        band = self._algorithm.parameterAsInt(self._values, names.MASK_BAND, self._context)
        return {CLOUD_MASK: band}

    def _check_values(self) -> None:
        """Say what is valid, before QGIS says that something is not."""
        for name, valid in _valid_values().items():
            value = self._values.get(name)
            definition = self._algorithm.parameterDefinition(name)
            if value is None or definition is None:
                continue  # Not every algorithm of ours has all of them.
            if _is_valid(name, value) and definition.checkValueIsAcceptable(value, self._context):
                continue
            raise JobError(
                tr("{}: '{}' is not valid. Give {}.").format(self._label(name), value, valid)
            )

    def _label(self, name: str) -> str:
        """Return a parameter as the dialog shows it, and as scripts name it."""
        shown = self._algorithm.parameterDefinition(name).description()
        return f"{re.split(r', | [(]', shown)[0]} ({name})"

    def _stride(self) -> int:
        # parameterAsInt makes 1 of 1.5 and 0 of ten milliards.
        stride = self._algorithm.parameterAsDouble(self._values, names.STRIDE, self._context)
        if stride != int(stride):
            raise JobError(tr("The stride must be whole pixels, not {}.").format(stride))
        return int(stride)

    def model_folder(self) -> str:
        """Return the model folder as given."""
        # QGIS would take the default for an empty text.
        is_left_out = names.MODEL not in self._values
        folder = self._algorithm.parameterAsFile(self._values, names.MODEL, self._context)
        if not folder or not (is_left_out or self._values[names.MODEL]):
            raise JobError(
                tr("No model folder was given: choose one at {}.").format(self._label(names.MODEL))
            )
        return folder

    def _sources(
        self, layers_name: str, paths_name: str, bands_name: str, sensor: str
    ) -> tuple[RasterSource, ...]:
        layers = self._layers(layers_name)
        paths = self._paths(paths_name)
        text = self._algorithm.parameterAsString(self._values, bands_name, self._context)
        bands = read_band_map(text or "")
        if not layers and not paths:
            raise JobError(
                tr("No {} raster was given: choose layers at {}, or under Advanced a {}.").format(
                    sensor, self._label(layers_name), self._label(paths_name)
                )
            )
        return tuple(raster_source(layer, bands) for layer in layers) + tuple(
            path_source(path, bands) for path in paths
        )

    def _layers(self, name: str) -> list:
        layers = self._algorithm.parameterAsLayerList(self._values, name, self._context)
        given = self._values.get(name)
        given = given if isinstance(given, (list, tuple)) else [given] if given else []
        if len(layers) < len(given):
            shown = ", ".join(str(item) for item in given)
            raise SourceError(
                tr("{} cannot be opened as raster layers ({}): check the paths.").format(
                    self._label(name), shown
                )
            )
        return layers

    def _paths(self, name: str) -> list[str]:
        text = self._algorithm.parameterAsString(self._values, name, self._context) or ""
        parts = (part.strip() for part in text.split(names.PATH_SEPARATOR))
        return [part for part in parts if part]

    def _target_crs(self, job: ClassifyJob) -> QgsCoordinateReferenceSystem:
        layers = self._layers(names.S2)
        return layers[0].crs() if layers else crs_of_path(job.s2[0].path)

    def _extent(self, job: ClassifyJob) -> str | None:
        if not self._values.get(names.EXTENT):
            return None
        algorithm, values, context = self._algorithm, self._values, self._context
        return extent_wkt(
            algorithm.parameterAsExtent(values, names.EXTENT, context),
            algorithm.parameterAsExtentCrs(values, names.EXTENT, context),
            self._target_crs(job),
            context.transformContext(),
            within=self._scene_extent(job),
        )

    def _scene_extent(self, job: ClassifyJob) -> QgsRectangle | None:
        layers = self._layers(names.S2)
        if len(layers) < len(job.s2):
            return None  # Of a path it is not known before the worker has opened it.
        return scene_extent(layers, self._target_crs(job), self._context.transformContext())

    def _aoi(self, job: ClassifyJob) -> str | None:
        if not self._values.get(names.AOI):
            return None
        source = self._algorithm.parameterAsSource(self._values, names.AOI, self._context)
        if source is None:
            raise SourceError(
                tr("{}: the polygons cannot be opened, choose a polygon layer.").format(
                    self._label(names.AOI)
                )
            )
        # polygons_wkt mends what is invalid. QGIS's own check would throw through Python's
        # frames, and the next call of Python would end QGIS.
        unchecked = QgsProcessingFeatureSource.Flag.FlagSkipGeometryValidityChecks
        return polygons_wkt(
            source.getFeatures(QgsFeatureRequest().setNoAttributes(), unchecked),
            source.sourceCrs(),
            self._target_crs(job),
            self._context.transformContext(),
            within=self._scene_extent(job),
        )

    def _given_journal(self) -> str:
        path = self._algorithm.parameterAsFile(self._values, names.JOURNAL, self._context)
        return os.path.abspath(path) if path else ""

    def _inputs(self, job: ClassifyJob) -> Iterator[Place]:
        for source in job.sources:
            yield Place(Path(source.path), source.path.rpartition(":")[2])
        journal = self._given_journal()
        if journal:
            yield Place(Path(journal))
        if self._values.get(names.AOI):
            layer = self._algorithm.parameterAsVectorLayer(self._values, names.AOI, self._context)
            if layer is not None and layer.providerType() == "ogr":
                parts = QgsProviderRegistry.instance().decodeUri("ogr", layer.source())
                table = parts.get("layerName") or _first_table(layer)
                yield Place(Path(parts.get("path") or ""), table)


def _first_table(layer: QgsVectorLayer) -> str:
    """Return the table that is read where none is named."""
    for description in layer.dataProvider().subLayers():
        return description.split(QgsDataProvider.sublayerSeparator())[1]
    return ""


def _is_valid(name: str, value: object) -> bool:
    """Return whether a value is what QGIS would make of it without a word."""
    if isinstance(value, QgsProperty):
        return True  # An expression: QGIS finds its value.
    if name in YES_OR_NO:
        return isinstance(value, bool)
    if name in _WHOLE:
        try:
            return float(value).is_integer() and float(value) <= _LARGEST
        except (TypeError, ValueError):
            return False
    return True


def _valid_values() -> dict[str, str]:
    one_of = tr("one of {}")
    return {
        names.DEVICE: one_of.format(", ".join(names.DEVICES)),
        names.PRECISION: one_of.format(", ".join(PRECISIONS)),
        names.BATCH_SIZE: tr("a whole number of tiles, or 0 for automatic"),
        names.STRIDE: tr("a whole number of pixels from 1 on, or nothing for the tile size"),
        names.S2_OFFSET: one_of.format(", ".join(names.OFFSETS)),
        names.S1_UNIT: one_of.format(", ".join(S1_UNITS)),
        names.MAX_CLOUD: tr("a share from 0 to 1, as in 0.3"),
        names.MAX_DAYS: tr("a whole number of days"),
        names.MASK_BAND: tr("the number of a band, from 1 on, or nothing"),
        **dict.fromkeys(YES_OR_NO, tr("true or false (also yes or no, 1 or 0)")),
        names.MIN_VALID: tr("a share from 0 to 1, as in 0.75"),
        names.EXTENT: tr("xmin,xmax,ymin,ymax [EPSG:code], or a layer"),
        names.JOURNAL: tr("the name of a GeoPackage (.gpkg)"),
    }
