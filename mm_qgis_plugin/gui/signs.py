"""Signs of messages: coloured discs, which can be told apart on light and on dark themes."""

from __future__ import annotations

from qgis.PyQt.QtCore import QRectF, Qt
from qgis.PyQt.QtGui import QColor, QPainter, QPixmap
from qgis.PyQt.QtWidgets import QLabel

INFO, SUCCESS, WARNING, ERROR = "info", "success", "warning", "error"
_LOOKS = {
    INFO: ("#2a7fba", "i"),
    SUCCESS: ("#2e8b3d", "\N{CHECK MARK}"),
    WARNING: ("#b86e00", "!"),
    ERROR: ("#c0392b", "\N{MULTIPLICATION SIGN}"),
}
SIZE = 16


def sign(kind: str, ratio: float = 1.0) -> QPixmap:
    """Return the sign of a kind of message for a screen with this pixel ratio."""
    color, glyph = _LOOKS[kind]
    pixmap = QPixmap(round(SIZE * ratio), round(SIZE * ratio))
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(color))
    disc = QRectF(0, 0, SIZE, SIZE)
    painter.drawEllipse(disc)
    font = painter.font()
    font.setBold(True)
    font.setPixelSize(SIZE - 4)
    painter.setFont(font)
    painter.setPen(Qt.GlobalColor.white)
    painter.drawText(disc, Qt.AlignmentFlag.AlignCenter, glyph)
    painter.end()
    return pixmap


class SignLabel(QLabel):
    """A sign beside a message, on the height of its first line."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = ""
        self.setFixedWidth(SIZE)
        self.setAlignment(Qt.AlignmentFlag.AlignTop)

    def show_kind(self, kind: str) -> None:
        """Show the sign of this kind."""
        self.kind = kind
        self.setPixmap(sign(kind, self.devicePixelRatioF()))
