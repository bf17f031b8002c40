"""Parameters of our algorithms: their names are an interface and never change."""

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
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from .. import settings
from ..about import tr
from ..core.contract.benchmark import (
    DEFAULT_REPEATS,
    DEFAULT_TILES,
    MOST_REPEATS,
    MOST_TILES,
)
from ..core.contract.job import MAX_BATCH, PRECISIONS
from ..core.contract.scene_options import AUTO, DEFAULT_MAX_DAYS, S1_UNITS

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
S2_OFFSET = "S2_OFFSET"
S1_UNIT = "S1_UNIT"
MASK = "MASK"
MASK_CLASSES = "MASK_CLASSES"
MASK_BAND = "MASK_BAND"
MAX_CLOUD = "MAX_CLOUD"
FILL_MISSING = "FILL_MISSING"
MAX_DAYS = "MAX_DAYS"
ANY_PIXEL_SIZE = "ANY_PIXEL_SIZE"
JOURNAL = "JOURNAL"
OVERWRITE = "OVERWRITE"
OUTPUT = "OUTPUT"
CLASSIFIED = "CLASSIFIED"
SKIPPED = "SKIPPED"
STATE = "STATE"
REPORT = "REPORT"
TILES = "TILES"
TILES_VALID = "TILES_VALID"
OVERLAP = "OVERLAP"

REPEATS = "REPEATS"
TILES_PER_S = "TILES_PER_S"
RATIO = "RATIO"

OFFSETS = (AUTO, "0", "-1000")
DEVICES = ("auto", "cuda", "mps", "cpu")
PATH_SEPARATOR = ";"


def definitions() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters of ``classify`` in the order of the dialog."""
    yield from inspect_definitions()
    yield from _advanced(_journal())
    yield QgsProcessingParameterFeatureSink(
        OUTPUT, tr("Classified tiles"), QgsProcessing.SourceType.TypeVectorPolygon
    )


def inspect_definitions() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters of ``inspect``: all that decides what would be computed."""
    yield from _inputs()
    yield from _area()
    yield _choice(DEVICE, tr("Device"), DEVICES)
    yield _number(
        BATCH_SIZE, tr("Batch size (0: automatic)"), minValue=0, maxValue=MAX_BATCH, defaultValue=0
    )
    for group in (_paths_and_bands(), _decisions(), _rarely_needed()):
        yield from _advanced(group)


def _advanced(
    definitions: Iterator[QgsProcessingParameterDefinition],
) -> Iterator[QgsProcessingParameterDefinition]:
    for definition in definitions:
        flag = QgsProcessingParameterDefinition.Flag.FlagAdvanced
        definition.setFlags(definition.flags() | flag)
        yield definition


def outputs() -> Iterator[QgsProcessingOutputDefinition]:
    """Yield the outputs beside the sink."""
    yield QgsProcessingOutputNumber(CLASSIFIED, tr("Tiles classified"))
    yield QgsProcessingOutputNumber(SKIPPED, tr("Tiles skipped"))
    yield QgsProcessingOutputFile(JOURNAL, tr("Journal"))
    yield QgsProcessingOutputString(STATE, tr("State: complete, or partial after a cancel"))


def inspect_outputs() -> Iterator[QgsProcessingOutputDefinition]:
    """Yield what an inspection tells."""
    yield QgsProcessingOutputString(REPORT, tr("Report (JSON)"))
    yield QgsProcessingOutputNumber(TILES, tr("Tiles"))
    yield QgsProcessingOutputNumber(TILES_VALID, tr("Tiles with enough valid pixels"))
    yield QgsProcessingOutputNumber(OVERLAP, tr("Share of Sentinel-2 covered by Sentinel-1"))


def benchmark_definitions() -> Iterator[QgsProcessingParameterDefinition]:
    """Yield the parameters of ``benchmark``."""
    tiles = _number(TILES, tr("Tiles"), minValue=1, maxValue=MOST_TILES, defaultValue=DEFAULT_TILES)
    yield _explained(tiles, tr("Of a scene that is fabricated. A CPU computes 3 to 30 a second."))
    kind = QgsProcessingParameterFile.Behavior.Folder
    model = QgsProcessingParameterFile(MODEL, tr("Model folder"), kind, optional=True)
    yield _explained(model, tr("Empty: ViT-B/16 and ResNet-101 with random weights."))
    yield _choice(DEVICE, tr("Device"), DEVICES)
    yield _choice(PRECISION, tr("Precision"), PRECISIONS)
    label = tr("Repeats, whose medians are told")
    yield _number(REPEATS, label, minValue=1, maxValue=MOST_REPEATS, defaultValue=DEFAULT_REPEATS)


def benchmark_outputs() -> Iterator[QgsProcessingOutputDefinition]:
    """Yield what a benchmark measures."""
    yield QgsProcessingOutputString(REPORT, tr("Report (JSON)"))
    yield QgsProcessingOutputNumber(TILES_PER_S, tr("Tiles per second, end to end"))
    yield QgsProcessingOutputNumber(RATIO, tr("Share of the bare network's speed"))


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


def _paths_and_bands() -> Iterator[QgsProcessingParameterDefinition]:
    for name, sensor in ((S2_PATH, "Sentinel-2"), (S1_PATH, "Sentinel-1")):
        label = tr("{} folder, archive or file").format(sensor)
        kind = QgsProcessingParameterFile.Behavior.File
        definition = QgsProcessingParameterFile(name, label, kind, optional=True)
        yield _explained(definition, tr("Several are separated by ';'."))
    for name, sensor, example in (
        (S2_BANDS, "Sentinel-2", "B02=1,B03=2"),
        (S1_BANDS, "Sentinel-1", "VV=1,VH=2"),
    ):
        label = tr("{} bands by number").format(sensor)
        definition = QgsProcessingParameterString(name, label, optional=True)
        told = tr("Where the names of bands do not tell: channel=band number, as in {}. It holds "
                  "for every raster, and wins over all names.")  # fmt: skip
        yield _explained(definition, told.format(example))


def _decisions() -> Iterator[QgsProcessingParameterDefinition]:
    yield _choice(S2_OFFSET, tr("Sentinel-2 offset to add (auto: from metadata)"), OFFSETS)
    yield _choice(S1_UNIT, tr("Sentinel-1 unit (auto: from the data)"), S1_UNITS)
    yield from _clouds()
    yield QgsProcessingParameterBoolean(
        FILL_MISSING, tr("Fill missing channels with their training mean"), defaultValue=False
    )
    label = tr("Warn when the sensors are more days apart than")
    yield _number(MAX_DAYS, label, minValue=0, defaultValue=DEFAULT_MAX_DAYS)
    yield QgsProcessingParameterBoolean(
        ANY_PIXEL_SIZE, tr("Take Sentinel-2 of any pixel size"), defaultValue=False
    )


def _clouds() -> Iterator[QgsProcessingParameterDefinition]:
    mask = QgsProcessingParameterRasterLayer(MASK, tr("Cloud mask"), optional=True)
    yield _explained(mask, tr("Empty: one that lies beside Sentinel-2, such as SCL or QA60."))
    band = _number(MASK_BAND, tr("Band of the cloud mask"), minValue=1, optional=True)
    yield _explained(band, tr("Where it has several, and none is named SCL or QA60."))
    label = tr("Classes of the cloud mask to reject")
    classes = QgsProcessingParameterString(MASK_CLASSES, label, optional=True)
    yield _explained(classes, tr("As in 3,8,9,10. Empty: the usual ones of its kind."))
    yield _share(MAX_CLOUD, tr("Skip tiles with a larger share of cloud (1: none)"), 1.0)


def _rarely_needed() -> Iterator[QgsProcessingParameterDefinition]:
    yield _choice(PRECISION, tr("Precision"), PRECISIONS)
    yield _share(MIN_VALID, tr("Skip tiles with a smaller share of valid pixels"), 0.75)


def _journal() -> Iterator[QgsProcessingParameterDefinition]:
    # No file destination: QGIS would show it among the results, as "[Skip output]".
    journal = QgsProcessingParameterFile(
        JOURNAL,
        tr("Journal, to go on with an interrupted run"),
        QgsProcessingParameterFile.Behavior.File,
        optional=True,
        fileFilter=tr("GeoPackage (*.gpkg)"),
    )
    yield _explained(journal, tr("Empty: one in your user folder, found again by the same run."))
    yield QgsProcessingParameterBoolean(
        OVERWRITE, tr("Start over, do not go on with the journal"), defaultValue=False
    )


def _explained(
    definition: QgsProcessingParameterDefinition, text: str
) -> QgsProcessingParameterDefinition:
    """Give a parameter what is shown as its tooltip, and by ``qgis_process help``."""
    definition.setHelp(text)
    return definition


def _share(name: str, label: str, default: float) -> QgsProcessingParameterNumber:
    kind = QgsProcessingParameterNumber.Type.Double
    return QgsProcessingParameterNumber(
        name, label, kind, defaultValue=default, minValue=0.0, maxValue=1.0
    )


def _choice(name: str, label: str, values: tuple[str, ...]) -> QgsProcessingParameterEnum:
    return QgsProcessingParameterEnum(
        name, label, list(values), defaultValue=values[0], usesStaticStrings=True
    )


def _number(name: str, label: str, **options) -> QgsProcessingParameterNumber:
    kind = QgsProcessingParameterNumber.Type.Integer
    return QgsProcessingParameterNumber(name, label, kind, **options)
