"""Small helpers that keep the dock narrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtCore import QEvent, QModelIndex, QObject, Qt
from qgis.PyQt.QtGui import QResizeEvent
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QLabel,
    QLineEdit,
    QListWidgetItem,
    QMessageBox,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QStyle,
    QTableWidgetItem,
    QWidget,
)

from ..about import display_name
from ..core.contract.foreign_text import inert

_SHORTEST_COMBO = 8
_LONG_WORD = 24
_LONG_TEXT = 140
# Margins of a group inside a group, in pixels.
SLIM = (6, 6, 6, 6)


def narrow(combo: QComboBox) -> QComboBox:
    """Let a combo box be narrower than its longest entry."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(_SHORTEST_COMBO)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo


def let_go(combo: QgsMapLayerComboBox) -> QgsMapLayerComboBox:
    """Let a box with an empty entry show that, and no neighbour, when its layer is removed."""

    def on_removal(_: QModelIndex, first: int, last: int) -> None:
        if first <= combo.currentIndex() <= last:
            combo.setCurrentIndex(0)

    # The project tells of the removal after the box has taken another layer.
    combo.model().rowsAboutToBeRemoved.connect(on_removal)
    return combo


def choice(items: Iterable[tuple[str, Any]]) -> QComboBox:
    """Return a narrow combo box of (label, data)."""
    combo = QComboBox()
    for label, data in items:
        combo.addItem(label, data)
    return narrow(combo)


class Note(QLabel):
    """Text that wraps, can be copied from, and does not widen the dock.

    It asks for the height that its lines need at the width that it got. A form layout counts with
    other widths, and cuts lines off while there is room below.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setMinimumWidth(1)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def setText(self, text: str) -> None:
        """Show another text."""
        super().setText(text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Called by Qt."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        # Forgotten first, or what an earlier text needed would count.
        self.setMinimumHeight(0)
        self.setMinimumHeight(self.heightForWidth(self.width()) if self.text() else 0)


def note(text: str = "") -> QLabel:
    """Return a :class:`Note`."""
    return Note(text)


def number_box(least: int, most: int, zero: str, unit: str = "") -> QSpinBox:
    """Return a box for whole numbers; ``zero`` stands for the least of them."""
    box = QSpinBox()
    box.setRange(least, most)
    box.setSpecialValueText(zero)
    if unit:
        box.setSuffix(f" {unit}")
    return box


def breakable(text: str) -> str:
    """Return a text whose long words, such as paths, may go on in the next line."""
    words = [
        re.sub(r"([_.,=])", "\\1\N{ZERO WIDTH SPACE}", word) if len(word) > _LONG_WORD else word
        for word in text.split(" ")
    ]
    # EPSG:32633 is one word to people, and two to Qt.
    return re.sub(r"(?<=[A-Z]):(?=\d)", ":\N{WORD JOINER}", " ".join(words))


def first_sentence(text: str) -> tuple[str, str]:
    """Return the first sentence of a long text, and the rest; a short text is left whole."""
    if len(text) <= _LONG_TEXT:
        return text, ""
    first, *rest = re.split(r"(?<=[\w)'%\]][.!?])\s+(?=[A-Z'])", text, maxsplit=1)
    return first, "".join(rest)


def form(parent: QWidget | None = None) -> QFormLayout:
    """Return a form whose fields take the width that there is."""
    layout = QFormLayout(parent)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    layout.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    return layout


def ask(parent: QWidget, question: str) -> bool:
    """Ask, with No as the answer of whoever only presses Return."""
    yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    # Not QMessageBox.question, which shows as HTML what looks like it: a path may.
    box = QMessageBox(QMessageBox.Icon.Question, display_name(), "", yes | no, parent)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(question)
    box.setDefaultButton(no)
    box.exec()
    box.deleteLater()
    return box.standardButton(box.clickedButton()) == yes


def set_tip(part: QWidget | QListWidgetItem | QTableWidgetItem, text: str) -> None:
    """Set a tooltip that is text, whatever it looks like: names and paths may be of strangers."""
    part.setToolTip(inert(text))


def on_change(part: QWidget, call: Callable[[], None]) -> None:
    """Call whenever a control in this part gets another value."""
    for box in part.findChildren(QComboBox):
        box.currentIndexChanged.connect(lambda _: call())
    for line in part.findChildren(QLineEdit):
        line.textChanged.connect(lambda _: call())
    for number in part.findChildren(QSpinBox):
        number.valueChanged.connect(lambda _: call())
    for check in part.findChildren(QCheckBox):
        check.toggled.connect(lambda _: call())


def name_children(owner: QWidget, prefix: str, **widgets: QWidget) -> None:
    """Give widgets stable object names, by which tests and macros find them."""
    owner.setObjectName(prefix)
    for name, widget in widgets.items():
        widget.setObjectName(f"{prefix}_{name}")


class Scrolling(QScrollArea):
    """Scrolls up and down, and is never narrower than what is in it."""

    def __init__(self, body: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(body)
        body.installEventFilter(self)
        self._fit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Called by Qt: the body gets wider when a group unfolds."""
        if event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return super().eventFilter(watched, event)

    def _fit(self) -> None:
        bar = self.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent)
        self.setMinimumWidth(self.widget().minimumSizeHint().width() + bar)
