"""Names, licences and errors of strangers are shown as they stand: no HTML, no expression."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsExpression,
    QgsExpressionContext,
    QgsExpressionContextUtils,
    QgsFeature,
    QgsLayerTreeLayer,
    QgsLegendSettings,
    QgsProject,
    QgsVectorLayer,
)
from qgis.gui import QgsMessageBar
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtGui import QTextDocument
from qgis.PyQt.QtWidgets import QApplication, QMessageBox, QTextEdit, QToolButton, QWidget

from mm_qgis_plugin.core.contract.errors import ModelFolderError
from mm_qgis_plugin.core.contract.foreign_text import inert
from mm_qgis_plugin.core.contract.model_folder import read_spec
from mm_qgis_plugin.core.contract.result import TileResult
from mm_qgis_plugin.core.contract.spec import ModelSpec, default_spec
from mm_qgis_plugin.gui import widgets
from mm_qgis_plugin.gui.band_line import BandLine
from mm_qgis_plugin.gui.model_widget import ModelWidget, describe, describe_at_length
from mm_qgis_plugin.gui.own_message import OwnMessage
from mm_qgis_plugin.results import memory_layer, qgis_fields, tile_feature
from mm_qgis_plugin.style import apply_style

PARTED = "\N{WORD JOINER}"
HOSTILE = (
    "<img src='file:///etc/passwd'><b>bold</b>",
    "<a href='http://127.0.0.1:9/'>click</a> &amp; &lt;",
    "[% env('HOME') %] %] [%",
    "'; DROP TABLE tiles; --",
    "' || env('HOME') || '",
    '" OR 1=1 "class',
    "\\' || 1 || \\'",
    "<![CDATA[x]]> ]]> <!-- -->",
    "</td></tr></table><script>alert(1)</script>",
    "{{7*7}} ${7*7} %s %(x)s {0}",
    "$area @project_path \"p_x\"",
    "Ж 水 🛰 ﷽",
)  # fmt: skip


@pytest.fixture
def spec(qgis_app) -> ModelSpec:
    return default_spec(HOSTILE)


@pytest.fixture
def layer(spec: ModelSpec) -> QgsVectorLayer:
    """A tile for every class, of which it is sure."""
    made = memory_layer("tiles", QgsCoordinateReferenceSystem("EPSG:32633"), spec)
    apply_style(made, spec)
    fields = qgis_fields(spec)
    for number in range(len(HOSTILE)):
        chances = tuple(0.9 if n == number else 0.01 for n in range(len(HOSTILE)))
        corners = ((number, 0.0), (number + 1.0, 0.0), (number + 1.0, 1.0), (number, 1.0))
        tile = TileResult(number, 0, number, corners, "ok", chances, 1.0, 1.0)
        added, _ = made.dataProvider().addFeatures([tile_feature(tile, fields, spec)])
        assert added
    return made


def context_of(layer: QgsVectorLayer) -> QgsExpressionContext:
    return QgsExpressionContext(QgsExpressionContextUtils.globalProjectLayerScopes(layer))


def test_every_rule_finds_its_own_tile_and_no_other(layer: QgsVectorLayer) -> None:
    rules = layer.renderer().rootRule().children()[: len(HOSTILE)]
    for number, rule in enumerate(rules):
        expression = QgsExpression(rule.filterExpression())
        assert not expression.hasParserError(), expression.parserErrorString()
        assert not expression.referencedVariables()
        assert expression.referencedFunctions() == set()
        context = context_of(layer)
        found = []
        for feature in layer.getFeatures():
            context.setFeature(feature)
            if expression.evaluate(context):
                found.append(feature["tile_id"])
        assert found == [number]


def without_pictures(text: str) -> str:
    """Leave out what QGIS 3.22 at times loses from map tips: characters beyond 16 bits."""
    return " ".join("".join(sign for sign in text if ord(sign) < 0x10000).split())


def test_a_map_tip_shows_the_name_and_nothing_else(layer: QgsVectorLayer) -> None:
    for feature, name in zip(layer.getFeatures(), HOSTILE):
        context = context_of(layer)
        context.setFeature(feature)
        html = QgsExpression.replaceExpressionText(layer.mapTipTemplate(), context)
        shown = QTextDocument()
        shown.setHtml(html)
        text, wanted = (without_pictures(each) for each in (shown.toPlainText(), name))
        assert wanted in text
        for tag in ("<img", "<a ", "<script", "<b>bold"):
            assert tag not in html


def test_a_file_of_a_stranger_is_escaped_in_the_map_tip(qgis_app, spec: ModelSpec) -> None:
    """A format with short field names has nothing but what the file says."""
    made = QgsVectorLayer("Polygon?field=class:string&field=status:string", "x", "memory")
    apply_style(made, spec)
    for status in ("ok", HOSTILE[0]):
        feature = memory_feature(made, HOSTILE[0], status)
        context = context_of(made)
        context.setFeature(feature)
        html = QgsExpression.replaceExpressionText(made.mapTipTemplate(), context)
        assert "&lt;img src" in html
        assert "<img" not in html


def memory_feature(layer: QgsVectorLayer, name: str, status: str) -> QgsFeature:
    feature = QgsFeature(layer.fields())
    feature.setAttributes([name, status])
    return feature


def test_a_legend_evaluates_no_name(layer: QgsVectorLayer) -> None:
    QgsProject.instance().addMapLayer(layer, False)
    node = QgsLayerTreeLayer(layer)
    try:
        legend = layer.legend().createLayerTreeModelLegendNodes(node)
        labels = []
        for item in legend[: len(HOSTILE)]:
            label = item.data(Qt.ItemDataRole.DisplayRole)
            if hasattr(item, "evaluateLabel"):
                item.evaluateLabel(context_of(layer))
                label = item.data(Qt.ItemDataRole.DisplayRole)
            # What a legend in a layout does with each text.
            settings = QgsLegendSettings()
            lines = settings.evaluateItemText(label, context_of(layer))
            labels.append("".join(lines))
        assert [text.replace(PARTED, "") for text in labels] == list(HOSTILE)
    finally:
        QgsProject.instance().removeMapLayer(layer.id())


def test_no_alias_is_html_or_expression(layer: QgsVectorLayer) -> None:
    fields = layer.fields()
    aliases = [field.alias() for field in fields if field.name().startswith("p_")]
    assert [alias.replace(PARTED, "") for alias in aliases] == list(HOSTILE)
    for alias in aliases:
        assert not Qt.mightBeRichText(alias)
        assert QgsExpression.replaceExpressionText(alias, context_of(layer)) == alias
        # As QGIS's tooltips of fields hold them.
        shown = QTextDocument()
        shown.setHtml(f"<b>{alias}</b>")
        for tag in ("<img", "<a href", "<script"):
            assert tag not in shown.toHtml()


def test_a_layer_of_any_name_is_drawn_in_the_legend(spec: ModelSpec) -> None:
    for name in (*HOSTILE, "x" * 5000, "new\nline", ""):
        made = memory_layer(name, QgsCoordinateReferenceSystem("EPSG:32633"), spec)
        apply_style(made, spec)
        assert made.isValid()
        assert made.name() == name


@pytest.mark.parametrize("text", [*HOSTILE[:3], "<h1>first</h1>\nsecond line"])
def test_the_message_bar_shows_text(qgis_app, text: str) -> None:
    bar = QgsMessageBar()
    OwnMessage(lambda: bar).push(text, Qgis.MessageLevel.Critical)
    shown, more = texts_of(bar.currentItem()), opened_by(bar.currentItem())
    for plain, html in (*shown, *more):
        assert all(tag not in html for tag in ("<img", "<a href='http", "<h1>"))
        assert "&" not in plain or "&" in text
    assert text.split()[0] in shown[0][0].replace("‹", "<")
    whole = "".join(plain for plain, _ in (*shown, *more)).replace("‹", "<")
    assert more or all(line in whole for line in text.splitlines())
    assert all(line in plain.replace("‹", "<") for plain, _ in more for line in text.splitlines())


def texts_of(part: QWidget) -> list[tuple[str, str]]:
    return [(text.toPlainText(), text.toHtml()) for text in part.findChildren(QTextEdit)]


def opened_by(item: QWidget) -> list[tuple[str, str]]:
    """Return the texts of the window that "Show more" opens, closed again."""
    found: list[tuple[str, str]] = []

    def look() -> None:
        window = QApplication.activeModalWidget()
        if window is not None:
            found.extend(texts_of(window))
            window.close()

    for button in item.findChildren(QToolButton):
        if button.defaultAction() is not None:
            QTimer.singleShot(100, look)
            button.defaultAction().trigger()
    return found


def test_a_question_is_text(qgis_app, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        QMessageBox, "exec", lambda box: asked.append((box.textFormat(), box.text()))
    )
    assert not widgets.ask(None, HOSTILE[0])
    assert asked == [(Qt.TextFormat.PlainText, HOSTILE[0])]


def test_notes_and_tooltips_are_text(qgis_app) -> None:
    assert widgets.note(HOSTILE[0]).textFormat() == Qt.TextFormat.PlainText
    line = BandLine("1=VV")
    line.setText(HOSTILE[0])
    assert not Qt.mightBeRichText(line.toolTip())


def hostile_folder(folder: Path, model_folder: str, **changes) -> Path:
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["spec"].update(changes)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_a_model_of_a_stranger_is_described_in_text(
    qgis_app, tmp_path: Path, model_folder: str
) -> None:
    path = hostile_folder(
        tmp_path / "<b>it's 100% ünïcode 🛰️", model_folder, license=HOSTILE[0],
        provenance={"purpose": HOSTILE[0] * 100, "\ud800": "\x1b[2J"}, metrics={HOSTILE[0]: "x"},
    )  # fmt: skip
    widget = ModelWidget()
    widget.folder.setFilePath(str(path))
    assert widget.spec() == read_spec(path)
    assert widget.summary.textFormat() == Qt.TextFormat.PlainText
    assert "Licence: <img" in widget.summary.text()
    assert len(widget.summary.text()) < 1000
    for part in (widget.summary, widget.folder):
        assert part.toolTip()
        assert not Qt.mightBeRichText(part.toolTip())
    assert inert(HOSTILE[0]) in widget.summary.toolTip()


def test_a_description_of_any_length_fits_in_a_tooltip(spec: ModelSpec) -> None:
    long = replace(
        default_spec([f"class {n}" for n in range(1900)]),
        license="x" * 100_000, metrics={f"m{n}": n for n in range(5000)},
    )  # fmt: skip
    assert len(describe_at_length(long)) < 7000
    assert len(describe(long)) < 1000


def test_a_refusal_that_quotes_a_hostile_name_is_text(
    qgis_app, tmp_path: Path, model_folder: str
) -> None:
    classes = [{"name": HOSTILE[0], "slug": "x", "color": "#000000"}] * 2
    path = hostile_folder(tmp_path / "m", model_folder, classes=classes)
    with pytest.raises(ModelFolderError) as caught:
        read_spec(path)
    widget = ModelWidget()
    widget.folder.setFilePath(str(path))
    assert widget.summary.text() == caught.value.message
    assert widget.summary.textFormat() == Qt.TextFormat.PlainText
