"""A question about the scene, with its answers as buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QFrame,
    QGridLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..about import tr
from ..core.contract.errors import DecisionError, MultimodalError
from ..decisions import Answer, answers_to, decision_of, selectable, written
from .framed import MARK_COLOR
from .widgets import SLIM, breakable, first_sentence, note

_TICKS_IN_A_ROW = 5


class DecisionBox(QFrame):
    """Shows what must be decided; ``decided`` tells (option, value)."""

    decided = pyqtSignal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("multimodal_decision")
        self.setStyleSheet(
            f"#multimodal_decision {{ border: 2px solid {MARK_COLOR}; border-radius: 4px; }}"
        )
        self.question = note()
        self.hint = note()
        self.buttons: list[QPushButton] = []
        self.ticks: list[QCheckBox] = []
        self._made: list[QWidget] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(*SLIM)
        self._layout.addWidget(self.question)
        self._layout.addWidget(self.hint)
        self.setVisible(False)

    def ask(self, problem: MultimodalError, more: Sequence[Answer], marked: bool) -> None:
        """Show the ways on from a refusal, and ``more``; ``marked``: a field below is framed."""
        self.clear()
        answers = [*more, *answers_to(problem)]
        is_question = isinstance(problem, DecisionError)
        question = first_sentence(problem.message)[0] if is_question else ""
        self.question.setText(breakable(question))
        self.question.setVisible(is_question)
        if selectable(problem):
            self._add_ticks(decision_of(problem), selectable(problem))
        for answer in answers:
            self._add_button(answer)
        self._hint(is_question, bool(self.buttons), marked)
        self.setVisible(is_question or bool(answers))

    def clear(self) -> None:
        """Nothing is to be decided."""
        made, self._made, self.buttons, self.ticks = self._made, [], [], []
        for widget in made:
            self._layout.removeWidget(widget)
            # Its click may be what called us.
            widget.hide()
            widget.deleteLater()
        self.setVisible(False)

    def _hint(self, is_question: bool, has_buttons: bool, marked: bool) -> None:
        text = ""
        if marked and not has_buttons:
            text = tr("Write the answer into the framed field below.")
        elif marked and not is_question:
            text = tr("Or correct it in the framed field below.")
        self.hint.setText(text)
        self.hint.setVisible(bool(text))

    def _add_button(self, answer: Answer) -> None:
        button = QPushButton(answer.text)
        # A long band map must not widen the dock.
        button.setMinimumWidth(1)
        button.setToolTip(answer.text)
        button.clicked.connect(lambda: self.decided.emit(answer.decision, answer.value))
        self.buttons.append(button)
        self._add(button)

    def _add_ticks(self, decision: str, values: list[Any]) -> None:
        holder = QWidget()
        grid = QGridLayout(holder)
        grid.setContentsMargins(0, 0, 0, 0)
        for number, value in enumerate(values):
            tick = QCheckBox(written(value))
            self.ticks.append(tick)
            grid.addWidget(tick, *divmod(number, _TICKS_IN_A_ROW))
        self._add(holder)
        button = QPushButton(tr("Reject the ticked ones"))
        button.clicked.connect(lambda: self._take_ticked(decision))
        self.buttons.append(button)
        self._add(button)

    def _take_ticked(self, decision: str) -> None:
        ticked = [tick.text() for tick in self.ticks if tick.isChecked()]
        if ticked:
            self.decided.emit(decision, ticked)

    def _add(self, widget: QWidget) -> None:
        self._made.append(widget)
        self._layout.insertWidget(self._layout.indexOf(self.hint), widget)
