"""Plots as inline SVG: no library, no scripts, nothing from outside the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

INK, GREY, LINE = "#222222", "#8a8a8a", "#dddddd"
SERIES = ("#1b6ca8", "#d9822b", "#3a9a5c", "#8a4fa3")
_FONT = 'font-family="sans-serif" font-size="12"'
_LONGEST = 28


def confusion_matrix(table: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Draw counts, truth by row and decision by column, shaded by the share of the row."""
    cell, left, top = 44, 210, 150
    size = cell * len(names)
    parts = [_text(left + size / 2, 14, "decided", "middle"), _text(4, top - 8, "truth")]
    for n, name in enumerate(names):
        parts.append(_text(left - 8, top + cell * (n + 0.6), short(name), "end"))
        parts.append(_turned(left + cell * (n + 0.6), top - 8, short(name), -50, "start"))
    for row, counts in enumerate(table):
        whole = max(sum(counts), 1)
        for col, count in enumerate(counts):
            colour = SERIES[2] if row == col else SERIES[1]
            x, y = left + col * cell, top + row * cell
            parts.append(_rect(x, y, cell - 2, cell - 2, colour, count / whole * 0.8))
            if count:
                parts.append(_text(x + cell / 2, y + cell / 2 + 4, str(count), "middle"))
    return _svg(left + size + 120, top + size + 10, parts)


def class_bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw precision, recall, F1 and average precision of each class."""
    keys = ("precision", "recall", "f1", "ap")
    left, width, bar = 240, 320, 8
    height = bar * len(keys) + 12
    parts = [_legend(left, 12, ("Precision", "Recall", "F1", "Average precision"))]
    for n, row in enumerate(rows):
        y = 30 + n * height
        parts.append(_text(left - 8, y + height / 2, f"{short(row['class'])} ({row['present']})",
                           "end"))  # fmt: skip
        for place, key in enumerate(keys):
            value = row[key]
            if value is not None and math.isfinite(value):
                parts.append(_rect(left, y + place * bar, value * width, bar - 2, SERIES[place], 1))
    bottom = 30 + len(rows) * height
    parts += [_scale_line(left + share * width, 26, bottom, f"{share:g}")
              for share in (0, 0.25, 0.5, 0.75, 1)]  # fmt: skip
    return _svg(left + width + 40, bottom + 24, parts)


def reliability_diagram(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Draw the share that came true over the probability that was given, by bin."""
    frame = _Frame(0, 1, 0, 1, "probability given", "share that came true")
    parts = [*frame.axes(), frame.line([(0, 0), (1, 1)], GREY, dashed=True)]
    for colour, bins in zip(SERIES, curves.values(), strict=False):
        points = [(b["mean"], b["share"]) for b in bins if b["count"]]
        most = max((b["count"] for b in bins), default=1) or 1
        parts.append(frame.line(points, colour))
        for b in bins:
            if b["count"]:
                size = 3 + 5 * math.sqrt(b["count"] / most)
                parts.append(frame.dot(b["mean"], b["share"], colour, size))
    parts.append(_legend(60, 12, tuple(curves)))
    return _svg(frame.width, frame.height, parts)


def learning_curve(points: Sequence[Mapping[str, Any]]) -> str:
    """Draw the score over the number of tiles that were trained on."""
    known = [(p["tiles"], p["ap_macro"]) for p in points
             if p["ap_macro"] is not None and math.isfinite(p["ap_macro"])]  # fmt: skip
    most = max((tiles for tiles, _ in known), default=1.0)
    frame = _Frame(0, most, 0, 1, "tiles trained on", "average precision, macro")
    parts = [*frame.axes(), frame.line(known, SERIES[0])]
    parts += [frame.dot(tiles, score, SERIES[0], 4) for tiles, score in known]
    return _svg(frame.width, frame.height, parts)


def error_map(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw tested tiles where they lie, north up: right ones and wrong ones."""
    lons, lats = [row["lon"] for row in rows], [row["lat"] for row in rows]
    squeeze = math.cos(math.radians((min(lats) + max(lats)) / 2))
    reach = max((max(lons) - min(lons)) * squeeze, max(lats) - min(lats), 1e-9)
    side, edge = 440, 20
    parts = [_legend(edge, 12, ("right", "wrong"), (SERIES[2], "#c0392b"))]
    for row in rows:
        x = edge + (row["lon"] - min(lons)) * squeeze / reach * side
        y = 30 + (max(lats) - row["lat"]) / reach * side
        colour = "#c0392b" if row["wrong"] else SERIES[2]
        hint = f"{'; '.join(row['truth'])} / decided: {'; '.join(row['decided']) or 'none'}"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" '
                     f'fill-opacity="0.7"><title>{escape(hint)}</title></circle>')  # fmt: skip
    return _svg(side + 2 * edge, 30 + side + edge, parts)


class _Frame:
    """Axes with a linear scale."""

    width, height = 440, 330
    _left, _top, _right, _bottom = 60, 30, 420, 280

    def __init__(
        self, x0: float, x1: float, y0: float, y1: float, x_name: str, y_name: str
    ) -> None:
        self._x, self._y, self._names = (x0, max(x1, x0 + 1e-9)), (y0, y1), (x_name, y_name)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is drawn."""
        right = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return (self._left + right * (self._right - self._left),
                self._bottom - up * (self._bottom - self._top))  # fmt: skip

    def axes(self) -> Iterator[str]:
        """Yield grid lines, numbers and names."""
        for share in (0, 0.25, 0.5, 0.75, 1):
            x = self._x[0] + share * (self._x[1] - self._x[0])
            y = self._y[0] + share * (self._y[1] - self._y[0])
            px, py = self.at(x, y)
            yield _stroke(px, self._top, px, self._bottom)
            yield _stroke(self._left, py, self._right, py)
            yield _text(px, self._bottom + 16, f"{x:.3g}", "middle")
            yield _text(self._left - 6, py + 4, f"{y:.3g}", "end")
        middle = (self._top + self._bottom) / 2
        yield _text((self._left + self._right) / 2, self._bottom + 36, self._names[0], "middle")
        yield _turned(14, middle, self._names[1], -90, "middle")

    def line(self, points: Sequence[tuple[float, float]], colour: str, dashed: bool = False) -> str:
        """Draw a line through points."""
        path = " ".join("{:.1f},{:.1f}".format(*self.at(x, y)) for x, y in points)
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'

    def dot(self, x: float, y: float, colour: str, size: float) -> str:
        """Draw a dot."""
        px, py = self.at(x, y)
        return f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{size:.1f}" fill="{colour}"/>'


def short(name: str) -> str:
    """Return a name that fits beside a plot."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" {_FONT} fill="{INK}" text-anchor="{anchor}">'
            f"{escape(text)}</text>")  # fmt: skip


def _turned(x: float, y: float, text: str, degrees: int, anchor: str) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" {_FONT} fill="{INK}" text-anchor="{anchor}" '
        f'transform="rotate({degrees} {x:.0f} {y:.0f})">{escape(text)}</text>'
    )


def _rect(x: float, y: float, width: float, height: float, colour: str, opacity: float) -> str:
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{colour}" fill-opacity="{opacity:.2f}"/>')  # fmt: skip


def _stroke(x1: float, y1: float, x2: float, y2: float) -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{LINE}" stroke-width="1"/>')  # fmt: skip


def _scale_line(x: float, top: float, bottom: float, text: str) -> str:
    return _stroke(x, top, x, bottom) + _text(x, bottom + 16, text, "middle")


def _legend(x: float, y: float, names: Sequence[str], colours: Sequence[str] = SERIES) -> str:
    parts = []
    for name, colour in zip(names, colours, strict=False):
        parts.append(_rect(x, y - 9, 10, 10, colour, 1) + _text(x + 14, y, name))
        x += 26 + 7.2 * len(name)
    return "".join(parts)
