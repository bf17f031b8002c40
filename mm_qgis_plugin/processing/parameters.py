"""Parameters of ``multimodal:classify``: their names are an interface and never change."""

from __future__ import annotations

from collections.abc import Iterator

from qgis.core import (
    QgsProcessing,
    QgsProcessingOutputDefinition,
    QgsProcessingOutputFile,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSink,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFile,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from .. import settings
from ..about import tr
from ..core.contract.job import PRECISIONS

S2 = "S2"
S1 = "S1"
S2_PATH = "S2_PATH"
S1_PATH = "S1_PATH"
S2_BANDS = "S2_BANDS"
S1_BANDS = "S1_BANDS"
MODEL = "MODEL"
EXTENT = "EXTENT"
AOI = "AOI"
STRIDE = "STRIDE"
DEVICE = "DEVICE"
BATCH_SIZE = "BATCH_SIZE"
PRECISION = "PRECISION"
MIN_VALID = "MIN_VALID"
JOURNAL = "JOURNAL"
OVERWRITE = "OVERWRITE"
OUTPUT = "OUTPUT"
CLASSIFIED = "CLASSIFIED"
SKIPPED = "SKIPPED"
STATE = "STATE"

DEVICES = ("auto", "cuda", "mps", "cpu")
PATH_SEPARATOR = ";"


def definitions() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters in the order of the dialog."""
    yield from _inputs()
    yield from _area()
    yield _choice(DEVICE, tr("Device"), DEVICES)
    yield _number(BATCH_SIZE, tr("Batch size (0: automatic)"), minValue=0, defaultValue=0)
    for definition in _rarely_needed():
        flag = QgsProcessingParameterDefinition.Flag.FlagAdvanced
        definition.setFlags(definition.flags() | flag)
        yield definition
    yield QgsProcessingParameterFeatureSink(
        OUTPUT, tr("Classified tiles"), QgsProcessing.SourceType.TypeVectorPolygon
    )


def outputs() -> Iterator[QgsProcessingOutputDefinition]:
    """Yield the outputs beside the sink."""
    yield QgsProcessingOutputNumber(CLASSIFIED, tr("Tiles classified"))
    yield QgsProcessingOutputNumber(SKIPPED, tr("Tiles skipped"))
    yield QgsProcessingOutputFile(JOURNAL, tr("Journal"))
    yield QgsProcessingOutputString(STATE, tr("State: complete or partial"))


def _inputs() -> Iterator[QgsProcessingParameterDefinition]:
    for name, sensor in ((S2, "Sentinel-2"), (S1, "Sentinel-1")):
        # Optional to QGIS, for the path stands in for it; JobReader wants one of the two.
        label = tr("{} rasters, or a path under Advanced").format(sensor)
        kind = QgsProcessing.SourceType.TypeRaster
        yield QgsProcessingParameterMultipleLayers(name, label, kind, optional=True)
    yield QgsProcessingParameterFile(
        MODEL,
        tr("Model folder"),
        QgsProcessingParameterFile.Behavior.Folder,
        defaultValue=settings.default_model() or None,
    )


def _area() -> Iterator[QgsProcessingParameterDefinition]:
    yield QgsProcessingParameterExtent(EXTENT, tr("Only tiles in this extent"), optional=True)
    yield QgsProcessingParameterFeatureSource(
        AOI,
        tr("Only tiles in these polygons"),
        [QgsProcessing.SourceType.TypeVectorPolygon],
        optional=True,
    )
    yield _number(STRIDE, tr("Stride in pixels (empty: the tile size)"), minValue=1, optional=True)


def _rarely_needed() -> Iterator[QgsProcessingParameterDefinition]:
    for name, sensor in ((S2_PATH, "Sentinel-2"), (S1_PATH, "Sentinel-1")):
        label = tr("{} folder, archive or file (several: separated by ';')").format(sensor)
        kind = QgsProcessingParameterFile.Behavior.File
        yield QgsProcessingParameterFile(name, label, kind, optional=True)
    for name, sensor, example in (
        (S2_BANDS, "Sentinel-2", "B02=1,B03=2"),
        (S1_BANDS, "Sentinel-1", "VV=1,VH=2"),
    ):
        label = tr("{} bands by number, where names are missing ({})").format(sensor, example)
        yield QgsProcessingParameterString(name, label, optional=True)
    yield _choice(PRECISION, tr("Precision"), PRECISIONS)
    yield QgsProcessingParameterNumber(
        MIN_VALID,
        tr("Skip tiles with a smaller share of valid pixels"),
        QgsProcessingParameterNumber.Type.Double,
        defaultValue=0.75,
        minValue=0.0,
        maxValue=1.0,
    )
    # No file destination: QGIS would show it among the results, as "[Skip output]".
    yield QgsProcessingParameterFile(
        JOURNAL,
        tr("Journal, to go on with an interrupted run (empty: one in your user folder)"),
        QgsProcessingParameterFile.Behavior.File,
        optional=True,
        fileFilter=tr("GeoPackage (*.gpkg)"),
    )
    yield QgsProcessingParameterBoolean(
        OVERWRITE, tr("Start over, do not go on with the journal"), defaultValue=False
    )


def _choice(name: str, label: str, values: tuple[str, ...]) -> QgsProcessingParameterEnum:
    return QgsProcessingParameterEnum(
        name, label, list(values), defaultValue=values[0], usesStaticStrings=True
    )


def _number(name: str, label: str, **options) -> QgsProcessingParameterNumber:
    kind = QgsProcessingParameterNumber.Type.Integer
    return QgsProcessingParameterNumber(name, label, kind, **options)
