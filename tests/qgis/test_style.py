"""The QML of the contract in a real QGIS: renderer, legend, opacity, map tips."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsExpression,
    QgsExpressionContext,
    QgsExpressionContextUtils,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsRuleBasedRenderer,
    QgsVectorFileWriter,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

from mm_qgis_plugin.core.contract.foreign_text import inert
from mm_qgis_plugin.core.contract.qml import NO_CLASS_LABEL, SKIPPED_LABEL, result_style_qml
from mm_qgis_plugin.core.contract.result import TileResult
from mm_qgis_plugin.core.contract.spec import ModelSpec, default_spec
from mm_qgis_plugin.results import memory_layer, qgis_fields, tile_feature
from mm_qgis_plugin.style import apply_style

NASTY = 'O\'Hara \\n & <b>bold</b> 100%] "q"'
NAMES = (NASTY, "Wasser über [% 1 %]", "Plain", "Other")
SIZE = 1200.0
PIXELS = 40


@pytest.fixture
def spec(qgis_app) -> ModelSpec:
    return default_spec(NAMES, ("#ff0000", "#00ff00", "#0000ff", "#ffff00"))


def tile(number: int, probabilities: tuple | None, status: str = "ok") -> TileResult:
    left, right = number * SIZE, (number + 1) * SIZE
    corners = ((left, 0.0), (right, 0.0), (right, SIZE), (left, SIZE))
    return TileResult(number, 0, number, corners, status, probabilities, 1.0, 1.0)


TILES = (
    tile(0, (0.9, 0.1, 0.2, 0.3)),
    tile(1, (0.55, 0.6, 0.1, 0.2)),
    tile(2, (0.1, 0.2, 0.4, 0.1)),
    tile(3, None, "skipped: <5 % & cloudy"),
    tile(4, (0.0, 0.0, 1.0, 0.0)),
)


@pytest.fixture
def layer(spec: ModelSpec) -> QgsVectorLayer:
    made = memory_layer("tiles", QgsCoordinateReferenceSystem("EPSG:32633"), spec)
    apply_style(made, spec)
    fields = qgis_fields(spec)
    added, _ = made.dataProvider().addFeatures([tile_feature(t, fields, spec) for t in TILES])
    assert added
    made.updateExtents()
    return made


def tips(layer: QgsVectorLayer) -> list[str]:
    texts = []
    for feature in layer.getFeatures():
        context = QgsExpressionContext(QgsExpressionContextUtils.globalProjectLayerScopes(layer))
        context.setFeature(feature)
        texts.append(QgsExpression.replaceExpressionText(layer.mapTipTemplate(), context))
    return texts


def drawn(layer: QgsVectorLayer):
    """Return the map as an image, PIXELS per tile, on white."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(PIXELS * len(TILES), PIXELS))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def colors(image, number: int) -> set[tuple[int, int, int]]:
    """Return the colours in the inner part of a tile."""
    inner = range(PIXELS // 4, 3 * PIXELS // 4)
    points = ((number * PIXELS + x, y) for x in inner for y in inner)
    return {image.pixelColor(x, y).getRgb()[:3] for x, y in points}


def test_legend_has_every_class_by_its_name(layer: QgsVectorLayer) -> None:
    renderer = layer.renderer()
    assert isinstance(renderer, QgsRuleBasedRenderer)
    labels = [item.label() for item in renderer.legendSymbolItems()]
    assert labels == [*map(inert, NAMES), NO_CLASS_LABEL, SKIPPED_LABEL]
    for rule in renderer.rootRule().children():
        assert not QgsExpression(rule.filterExpression()).hasParserError()


def test_class_colour_is_more_opaque_with_confidence(layer: QgsVectorLayer) -> None:
    image = drawn(layer)
    (weak,) = colors(image, 1)  # "Wasser", green, 0.6
    (strong,) = colors(image, 4)  # "Plain", blue, 1.0
    assert weak == pytest.approx((255 * 0.44, 255, 255 * 0.44), abs=2)
    assert strong == pytest.approx((255 * 0.2, 255 * 0.2, 255), abs=2)
    (quoted,) = colors(image, 0)  # the class with quotes in its name, red, 0.9
    assert quoted[0] > 250
    assert quoted[1] < 100


def test_no_class_is_hatched_over_the_colour_and_skipped_over_nothing(
    layer: QgsVectorLayer,
) -> None:
    image = drawn(layer)
    unsure, skipped = colors(image, 2), colors(image, 3)
    assert len(unsure) > 1
    assert max(blue for _, _, blue in unsure) == 255
    assert (255, 255, 255) in skipped
    assert len(skipped) > 1


def test_map_tip_has_the_top_three_and_escapes_names(layer: QgsVectorLayer) -> None:
    first, second, third, skipped, last = tips(layer)
    assert "[%" not in first
    assert (
        first.index("90&nbsp;%")
        < first.index("Other")
        < first.index("30&nbsp;%")
        < first.index("20&nbsp;%")
    )
    assert "10&nbsp;%" not in first
    assert "O&#x27;Hara \\n &amp; &lt;b&gt;bold&lt;/b&gt; 100%] &quot;q&quot;" in first
    assert "<b>Wasser über [% 1 %]</b>" in second
    assert "55&nbsp;%" in second
    assert NO_CLASS_LABEL in third
    assert "skipped: &lt;5 % &amp; cloudy" in skipped
    assert "&nbsp;%" not in skipped
    assert "100&nbsp;%" in last
    for tip in (first, second, third, skipped, last):
        root = ElementTree.fromstring(tip.replace("&nbsp;", " "))
        assert root.tag == "table", "one table, or there are two font sizes"
        assert int(root.get("width")) > 200, "QGIS makes it as narrow as the longest word"


@pytest.mark.parametrize("driver", ["GPKG", "GeoJSON", "ESRI Shapefile"])
def test_style_works_in_every_file(
    layer: QgsVectorLayer, spec: ModelSpec, tmp_path: Path, driver: str
) -> None:
    suffix = {"GPKG": "gpkg", "GeoJSON": "geojson"}.get(driver, "shp")
    path = str(tmp_path / f"tiles.{suffix}")
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = driver
    written = QgsVectorFileWriter.writeAsVectorFormatV3(
        layer, path, layer.transformContext(), options
    )
    assert written[0] == QgsVectorFileWriter.WriterError.NoError, written[1]
    stored = QgsVectorLayer(path, "stored", "ogr")
    apply_style(stored, spec)
    stored_image = drawn(stored) if driver != "GeoJSON" else None  # GeoJSON is in degrees
    if stored_image is not None:
        assert colors(stored_image, 4) == colors(drawn(layer), 4)
    # A Shapefile cuts field names, so only the class itself is left to tell.
    assert "Plain" in tips(stored)[4]
    assert stored.fields()[stored.fields().indexOf("class")].alias() == "Class"


def test_qml_is_well_formed_and_the_same_every_time(spec: ModelSpec) -> None:
    text = result_style_qml(spec)
    assert text == result_style_qml(spec)
    root = ElementTree.fromstring(text.split("\n", 1)[1])
    keys = [rule.get("key") for rule in root.iter("rule")]
    assert len(set(keys)) == len(NAMES) + 2


def test_layer_stays_usable_under_the_style(layer: QgsVectorLayer) -> None:
    from qgis.core import QgsMapLayer

    for flag in (
        QgsMapLayer.LayerFlag.Identifiable,
        QgsMapLayer.LayerFlag.Removable,
        QgsMapLayer.LayerFlag.Searchable,
    ):
        assert layer.flags() & flag
    assert not layer.hasScaleBasedVisibility()
    assert layer.opacity() == 1.0
