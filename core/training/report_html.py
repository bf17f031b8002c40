"""The report as one HTML page: tables and inline SVG, nothing loaded, nothing run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ..contract.foreign_text import printable
from . import svg

_STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em;
       color: #222; background: #fff; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; } th, td { padding: 0.2em 0.7em; text-align: right;
       border-bottom: 1px solid #ddd; } th:first-child, td:first-child { text-align: left; }
.note { background: #fff6e0; padding: 0.5em 1em; border-left: 4px solid #d9822b; }
.swatch { display: inline-block; width: 0.9em; height: 0.9em; border: 1px solid #888;
       vertical-align: -0.1em; margin-right: 0.4em; } svg { max-width: 100%; height: auto; }
"""
_TITLES = {"training": "Trained model", "evaluation": "Evaluation"}
_KEYS = ("precision", "recall", "f1", "ap")


def report_html(report: Mapping[str, Any]) -> str:
    """Return the page of a report of ``train`` or ``evaluate``."""
    report = printable(_plain(report))
    body = "\n".join(_sections(report))
    title = _TITLES.get(report["kind"], "Report")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}\n"
        "</body></html>\n"
    )


def _sections(report: Mapping[str, Any]) -> Iterator[str]:
    figures = report["validation"]
    yield _summary(report, figures)
    yield from (_note(text) for text in report["warnings"])
    if "sampling" in report:
        yield "<h2>Tiles</h2>" + _sampling(report)
    if not figures["tested"]:
        yield f"<h2>Validation</h2>{_note(figures['note'])}"
        return
    yield f"<h2>Figures by class</h2><p>{escape(figures['note'])}.</p>" + _by_class(figures)
    yield svg.class_bars(figures["classes"])
    if "confusion" in figures:
        names = [row["class"] for row in figures["classes"]]
        yield "<h2>Confusion matrix</h2>" + svg.confusion_matrix(figures["confusion"], names)
    if "map" in figures:
        yield "<h2>Accuracy of the map, weighted by area</h2>" + _areas(figures["map"])
    if "reliability" in figures:
        yield "<h2>Reliability</h2>" + _reliability(figures)
    if "learning_curve" in figures:
        yield "<h2>Learning curve</h2>" + svg.learning_curve(figures["learning_curve"])
    if report.get("tested_tiles"):
        yield "<h2>Where it is right and wrong</h2>" + svg.error_map(report["tested_tiles"])


def _summary(report: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    rows = [("Task", report["task"]), ("Tiles", str(report["tiles"])),
            ("Tested", str(figures["tested"]))]  # fmt: skip
    if "head" in report:
        head = report["head"]
        setting = f"C {head['C']:g}" if "C" in head else f"{head['epochs']:g} epochs"
        rows.append(("Head", f"{head['type']}, {setting}"))
        rows.append(("Blocks", f"{figures['blocks']} of {figures['block_m']:.0f} m"))
    if figures["tested"]:
        if figures.get("accuracy") is not None:
            rows.append(("Accuracy", _number(figures["accuracy"])))
        for kind in ("macro", "micro"):
            part = figures[kind]
            rows.append((f"F1 and average precision, {kind}",
                         f"{_number(part['f1'])}, {_number(part['ap'])}"))  # fmt: skip
    for key in ("labels", "scenes", "predictions", "reference"):
        if key in report:
            rows.append((key.capitalize(), _joined(report[key])))
    return _table((), [[name, value] for name, value in rows])


def _sampling(report: Mapping[str, Any]) -> str:
    colours = {item["name"]: item for item in report["classes"]}
    rows = []
    for row in report["sampling"]["classes"]:
        item = colours.get(row["class"])
        swatch = f'<span class="swatch" style="background:{escape(item["color"])}"></span>' if (
            item) else ""  # fmt: skip
        threshold = f"{item['threshold']:.3f}" if item else ""
        is_calibrated = "" if item is None else "yes" if item["calibrated"] else "no"
        rows.append([f"{swatch}{escape(row['class'])}", row["present"], row["absent"],
                     row["unknown"], threshold, is_calibrated])  # fmt: skip
    heads = ("Class", "Present", "Absent", "Not known", "Threshold", "Calibrated")
    return _table(heads, rows, is_safe=True)


def _by_class(figures: Mapping[str, Any]) -> str:
    rows = [[row["class"], row["present"], _number(row["prevalence"]),
             *(_number(row[key]) for key in _KEYS)] for row in figures["classes"]]  # fmt: skip
    for kind in ("macro", "micro"):
        rows.append([kind, "", "", *(_number(figures[kind][key]) for key in _KEYS)])
    heads = ("Class", "Tiles", "Prevalence", "Precision", "Recall", "F1", "Average precision")
    return _table(heads, rows)


def _reliability(figures: Mapping[str, Any]) -> str:
    curves, words = {}, []
    for key, name in (("reliability_before", "before calibration"), ("reliability", "as given")):
        if key in figures:
            curves[name] = figures[key]["bins"]
            words.append(f"{name} {_number(figures[key]['ece'])}")
    return f"<p>Expected calibration error: {', '.join(words)}.</p>" + (
        svg.reliability_diagram(curves)
    )


def _areas(told: Mapping[str, Any]) -> str:
    rows = [
        [row["class"], *(_with_interval(row[key]) for key in ("user", "producer")),
         f"{_with_interval(row['area_share'])}"]
        for row in told["classes"]
    ]  # fmt: skip
    text = f"Overall accuracy {_with_interval(told['overall'])} (95 % confidence). "
    heads = ("Class", "User's accuracy", "Producer's accuracy", "Share of the area")
    return f"<p>{escape(text + told['note'])}</p>" + _table(heads, rows)


def _with_interval(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "–"
    interval = "" if value["half_width"] is None else f" ± {value['half_width']:.3f}"
    return f"{value['value']:.3f}{interval}"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]], is_safe: bool = False) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell if is_safe else escape(str(cell))}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )  # fmt: skip
    return f"<table>{f'<tr>{top}</tr>' if heads else ''}{body}</table>"


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def _joined(value: Any) -> str:
    items = value if isinstance(value, list) else [value]
    return "; ".join(", ".join(item) if isinstance(item, list) else str(item) for item in items)


def _plain(value: Any) -> Any:
    """Return lists for tuples, as JSON would."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
