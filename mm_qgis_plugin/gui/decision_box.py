"""A question about the scene, with its answers as buttons."""

from __future__ import annotations

from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import QFrame, QPushButton, QVBoxLayout

from ..about import tr
from ..core.contract.errors import DecisionError
from ..decisions import choice_text, choices_of, decision_of
from .framed import MARK_COLOR
from .widgets import note


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
        self._layout = QVBoxLayout(self)
        self._layout.addWidget(self.question)
        self._layout.addWidget(self.hint)
        self.setVisible(False)

    def ask(self, problem: DecisionError) -> None:
        """Show the question of a refusal, and one button for each answer."""
        self._drop_buttons()
        decision, choices = decision_of(problem), choices_of(problem)
        self.question.setText(problem.message)
        self.hint.setText(tr("Write the answer into the framed field below."))
        self.hint.setVisible(not choices)
        for value in choices:
            button = QPushButton(choice_text(decision, value))
            button.clicked.connect(lambda _=False, value=value: self.decided.emit(decision, value))
            self.buttons.append(button)
            self._layout.addWidget(button)
        self.setVisible(True)

    def clear(self) -> None:
        """Nothing is to be decided."""
        self._drop_buttons()
        self.setVisible(False)

    def _drop_buttons(self) -> None:
        buttons, self.buttons = self.buttons, []
        for button in buttons:
            self._layout.removeWidget(button)
            # Its click may be what called us.
            button.hide()
            button.deleteLater()
