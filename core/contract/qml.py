"""The style of a result layer as QGIS's own XML (QML), written without QGIS.

One text for everything: the worker stores it in the GeoPackage as the default style, the
plugin applies it to previews and to the sinks of Processing. Read by QGIS 3.22 and newer.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from html import escape
from xml.etree import ElementTree as Xml  # nosec B405: it writes, and reads nothing

from .foreign_text import inert
from .result import OK, probability_field, result_fields
from .spec import ModelSpec

NO_CLASS_LABEL = "No class over its threshold"
SKIPPED_LABEL = "Skipped"

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
# Per cent. Never quite opaque: the image below is what a reader checks the class against.
_OPACITY = '20 + 60 * "confidence"'
_IS_OK = f"\"status\" = '{OK}'"
_TOP = 3
_TIP_PIXELS = 260
# Rule keys must be unique and should not change from run to run.
_KEYS = uuid.UUID("6d1c9a5e-6f5b-4c55-9d36-7a1b6a4f5e21")
_GREY = "120,120,120,255"
_DARK = "40,40,40,255"


def result_style_qml(spec: ModelSpec) -> str:
    """Return a complete QML document for a layer with the fields of ``result_fields(spec)``.

    One rule a class in its colour, more opaque with growing confidence; hatching over tiles
    where no class passes its threshold; grey hatching for skipped tiles; a map tip with the
    three most probable classes; readable names for the fields.
    """
    root = Xml.Element("qgis", version="3.22.0", styleCategories="AllStyleCategories")
    _add_renderer(root, spec)
    _add_aliases(root, spec)
    Xml.SubElement(root, "blendMode").text = "0"
    Xml.SubElement(root, "layerOpacity").text = "1"
    Xml.SubElement(root, "previewExpression").text = '"class"'
    Xml.SubElement(root, "mapTip").text = map_tip(spec)
    return _DOCTYPE + Xml.tostring(root, encoding="unicode")


def quoted_string(text: str) -> str:
    """Return ``text`` as a string literal of QGIS expressions, safe inside ``[% %]`` too."""
    body = text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")
    # A literal '%]' would end the expression of a map tip.
    if "%]" not in body:
        return f"'{body}'"
    return "('" + body.replace("%]", "%' || ']") + "')"


def map_tip(spec: ModelSpec) -> str:
    """Return the HTML template of the map tip; ``[% %]`` parts are QGIS expressions.

    A table of one width: QGIS shrinks its map tips to the narrowest that their words allow. In
    the font of the map tip, which tables do not take over by themselves.
    """
    title = '<b>Tile [% "tile_id" %]</b>, row [% "row" %], column [% "col" %]'
    skipped = f"'<tr><td colspan=\"2\">' || {_escaped('status')} || '</td></tr>'"
    return (
        f'<table width="{_TIP_PIXELS}" style="font: inherit; color: inherit">'
        f'<tr><td colspan="2">{title}</td></tr>'
        f"[% if({_IS_OK}, {_top_rows(spec)} || {_no_class_line()}, {skipped}) %]</table>"
    )


def _top_rows(spec: ModelSpec) -> str:
    """Return an expression for table rows: the most probable classes, bold over threshold."""
    items = ", ".join(
        _sortable(probability_field(item.slug), item.name, threshold)
        for item, threshold in zip(spec.classes, spec.thresholds)
    )
    row = (
        "'<tr><td>' || if(substr(@element, 8, 1) = '1',"
        " '<b>' || substr(@element, 9) || '</b>', substr(@element, 9))"
        ' || \'</td><td align="right" valign="top">\''
        " || to_string(round(to_int(substr(@element, 1, 7)) / 10000.0)) || '&nbsp;%</td></tr>'"
    )
    # Formats with short field names (Shapefile) lose the p_ fields: the class is still there.
    fallback = f"array('<tr><td>' || {_escaped('class')} || '</td></tr>')"
    ranked = f"array_sort(array_remove_all(array({items}), ''), false)"
    rows = f"array_foreach(array_slice(@ranked, 0, {_TOP - 1}), {row})"
    chosen = f"if(array_length(@ranked) > 0, {rows}, {fallback})"
    return f"with_variable('ranked', {ranked}, array_to_string({chosen}, ''))"


def _escaped(field: str) -> str:
    """Return an expression for a text of the file as HTML: anybody may have written the file."""
    return f"""replace(replace("{field}", '&', '&amp;'), '<', '&lt;')"""


def _sortable(field: str, name: str, threshold: float) -> str:
    """Return an expression for text that sorts by probability: ppppppp, 0 or 1, HTML name.

    ``attribute()`` gives NULL for a field that the layer does not have, ``"field"`` an error.
    """
    value = f"attribute($currentfeature, {quoted_string(field)})"
    digits = f"lpad(to_string(round({value} * 1000000)), 7, '0')"
    passes = f"if({value} >= {threshold:.9f}, '1', '0')"
    return f"coalesce({digits} || {passes} || {quoted_string(escape(name))}, '')"


def _no_class_line() -> str:
    line = f'<tr><td colspan="2"><i>{NO_CLASS_LABEL}</i></td></tr>'
    return f"if(\"n_labels\" = 0, '{line}', '')"


def _add_renderer(root: Xml.Element, spec: ModelSpec) -> None:
    renderer = Xml.SubElement(
        root, "renderer-v2", type="RuleRenderer", symbollevels="0", forceraster="0",
        enableorderby="0", referencescale="-1",
    )  # fmt: skip
    rules = Xml.SubElement(renderer, "rules", key=_key("root"))
    symbols = Xml.SubElement(renderer, "symbols")
    for item in spec.classes:
        condition = f'{_IS_OK} AND "class" = {quoted_string(item.name)}'
        name = _add_rule(rules, item.name, condition)
        _add_class_symbol(symbols, name, item.color)
    name = _add_rule(rules, NO_CLASS_LABEL, f'{_IS_OK} AND "n_labels" = 0')
    _add_hatched_symbol(symbols, name, _DARK, angle=45, distance=2.2, outline=_DARK)
    name = _add_rule(rules, SKIPPED_LABEL, f"\"status\" <> '{OK}'")
    _add_hatched_symbol(symbols, name, _GREY, angle=135, distance=3.5, outline=_GREY)


def _add_rule(rules: Xml.Element, label: str, condition: str) -> str:
    """Add a rule and return the name of its symbol."""
    symbol = str(len(rules))
    Xml.SubElement(
        rules, "rule", key=_key(f"{symbol} {label}"), symbol=symbol, label=inert(label),
        filter=condition,
    )  # fmt: skip
    return symbol


def _add_class_symbol(symbols: Xml.Element, name: str, color: str) -> None:
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    symbol = _symbol(symbols, "fill", name)
    _add_data_defined_opacity(symbol)
    outline = ",".join(str(round(part * 0.55)) for part in (red, green, blue))
    _add_layer(
        symbol,
        "SimpleFill",
        {
            "color": f"{red},{green},{blue},255", "style": "solid", "joinstyle": "miter",
            "outline_color": f"{outline},255", "outline_style": "solid",
            "outline_width": "0.12", "outline_width_unit": "MM",
        },
    )  # fmt: skip


def _add_data_defined_opacity(symbol: Xml.Element) -> None:
    holder = _map(Xml.SubElement(symbol, "data_defined_properties"))
    _option(holder, "name", "")
    properties = _map(holder, "properties")
    opacity = _map(properties, "alpha")
    _option(opacity, "active", "true", "bool")
    _option(opacity, "expression", _OPACITY)
    _option(opacity, "type", "3", "int")
    _option(holder, "type", "collection")


def _add_hatched_symbol(
    symbols: Xml.Element, name: str, color: str, *, angle: int, distance: float, outline: str
) -> None:
    """Add parallel lines ``distance`` mm apart and an outline; nothing is filled."""
    symbol = _symbol(symbols, "fill", name)
    pattern = _add_layer(
        symbol,
        "LinePatternFill",
        {
            "angle": str(angle), "distance": str(distance), "distance_unit": "MM",
            "line_width": "0.2", "line_width_unit": "MM", "color": color,
        },
    )  # fmt: skip
    line = _symbol(pattern, "line", f"@{name}@0")
    _add_layer(
        line,
        "SimpleLine",
        {"line_color": color, "line_style": "solid", "line_width": "0.2", "line_width_unit": "MM"},
    )
    _add_layer(
        symbol,
        "SimpleFill",
        {
            "color": "0,0,0,0", "style": "no", "joinstyle": "miter", "outline_color": outline,
            "outline_style": "solid", "outline_width": "0.12", "outline_width_unit": "MM",
        },
    )  # fmt: skip


def _add_aliases(root: Xml.Element, spec: ModelSpec) -> None:
    aliases = Xml.SubElement(root, "aliases")
    for item in result_fields(spec):
        Xml.SubElement(aliases, "alias", field=item.name, name=item.alias)


def _symbol(parent: Xml.Element, kind: str, name: str) -> Xml.Element:
    return Xml.SubElement(
        parent, "symbol", type=kind, name=name, alpha="1", clip_to_extent="1", force_rhr="0"
    )


def _add_layer(symbol: Xml.Element, kind: str, values: Mapping[str, str]) -> Xml.Element:
    layer = Xml.SubElement(
        symbol,
        "layer",
        {"class": kind, "enabled": "1", "locked": "0", "pass": "0"},  # nosec B105: a pass
    )
    options = _map(layer)
    for key, value in values.items():
        _option(options, key, value)
    return layer


def _map(parent: Xml.Element, name: str | None = None) -> Xml.Element:
    element = Xml.SubElement(parent, "Option", type="Map")
    if name is not None:
        element.set("name", name)
    return element


def _option(parent: Xml.Element, name: str, value: str, kind: str = "QString") -> None:
    Xml.SubElement(parent, "Option", type=kind, name=name, value=value)


def _key(text: str) -> str:
    return f"{{{uuid.uuid5(_KEYS, text)}}}"
