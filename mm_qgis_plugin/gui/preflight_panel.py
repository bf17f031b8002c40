"""What is understood of the chosen scene, before it runs; and all that can be corrected."""

from __future__ import annotations

from collections.abc import Sequence

from qgis.gui import QgsCollapsibleGroupBox
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..about import tr
from ..core.contract.errors import DecisionError, MultimodalError
from ..decisions import Answer, decision_of
from ..report import SceneReport
from ..report_text import facts, headline
from .band_table import BandTable
from .decision_box import DecisionBox
from .fact_list import FactList
from .lattice import whole_window
from .scene_controls import SceneControls
from .signs import ERROR, INFO, SUCCESS, WARNING, SignLabel
from .warning_list import WarningList
from .widgets import breakable, first_sentence, name_children, note


class PreflightPanel(QgsCollapsibleGroupBox):
    """Shows one report or one refusal; asks nothing itself."""

    check_wanted = pyqtSignal()
    decided = pyqtSignal()
    """An answer was pressed; the controls hold it."""

    def __init__(self) -> None:
        super().__init__(tr("What is understood"))
        self.report: SceneReport | None = None
        self.problem: MultimodalError | None = None
        self.sign = SignLabel()
        self.headline = note()
        self.check_button = QPushButton(tr("Check"))
        self.check_button.setToolTip(tr("Look at the rasters again"))
        self.decision = DecisionBox()
        self.details = note()
        self.warnings = WarningList()
        self.facts = FactList()
        self.bands = BandTable()
        self.maps = WarningList()
        self.controls = SceneControls()
        self.show_grid = QCheckBox(tr("Show tile grid"))
        self.show_grid.setToolTip(tr("Draw the tiles on the map, before anything is computed"))
        self.grid_note = note(tr("Too many tiles to draw each: this is the box around them."))
        self.grid_note.setVisible(False)
        self._lay_out()
        self.setSaveCollapsedState(False)
        self.check_button.clicked.connect(self.check_wanted)
        self.decision.decided.connect(self._on_decided)
        self.show_unready(tr("Choose the rasters of both sensors and a model folder."))

    def show_unready(self, text: str) -> None:
        """Say what is still to be chosen before anything can be looked at."""
        self._forget()
        self._say(INFO, text)

    def show_checking(self) -> None:
        """Say that an answer is on its way; what was known stays in view, greyed out."""
        self._say(INFO, tr("Looking at the rasters ..."))
        for part in (self.decision, self.warnings, self.facts, self.bands, self.show_grid):
            part.setEnabled(False)

    def show_put_off(self) -> None:
        """Say that the answer on its way is not waited for: a run needs the worker."""
        self._say(INFO, tr("Not looked at yet: a run goes on."))

    def show_stopped(self) -> None:
        """Say that somebody stopped the question, which is no fault of the rasters."""
        self.show_unready(tr("The look at the rasters was stopped. Press Check to look again."))

    def show_report(self, report: SceneReport) -> None:
        """Show what was understood."""
        self._forget()
        self.report = report
        text = headline(report) or tr("The rasters fit together.")
        self._say(WARNING if report.warnings else SUCCESS, text)
        self.warnings.show_all([warning.message for warning in report.warnings])
        self.facts.show_all(facts(report))
        self.bands.show_all([*report.s2.bands, *report.s1.bands])
        self.show_grid.setEnabled(self._has_grid())

    def show_problem(self, problem: MultimodalError, more: Sequence[Answer] = ()) -> None:
        """Show a refusal, or a question with its answers and ``more`` that may help."""
        self._forget()
        self.problem = problem
        if isinstance(problem, DecisionError):
            self._say(WARNING, tr("One thing must be decided before it can run:"))
        else:
            self._say(ERROR, first_sentence(problem.message)[0])
        self._tell_more(first_sentence(problem.message)[1])
        marked = self.controls.highlight(decision_of(problem))
        self.decision.ask(problem, more, marked)

    def show_maps(self, texts: Sequence[str]) -> None:
        """Warn that band maps are in force; empty texts are none."""
        self.maps.show_all([text for text in texts if text])

    def set_busy(self, busy: bool) -> None:
        """Let nothing be changed while a run goes on."""
        for part in (self.controls, self.check_button, self.decision):
            part.setEnabled(not busy)
        self.show_grid.setEnabled(not busy and self._has_grid())

    def _has_grid(self) -> bool:
        return self.report is not None and whole_window(self.report.grid) is not None

    def _on_decided(self, decision: str, value: object) -> None:
        self.controls.decide(decision, value)
        self.decided.emit()

    def _say(self, kind: str, text: str) -> None:
        self.sign.show_kind(kind)
        self.headline.setText(breakable(text))

    def _tell_more(self, text: str) -> None:
        """Show what can wait until the answers were seen."""
        self.details.setText(breakable(text))
        self.details.setVisible(bool(text))

    def _forget(self) -> None:
        self.report, self.problem = None, None
        self.decision.setEnabled(True)
        self.decision.clear()
        self._tell_more("")
        self.controls.highlight("")
        for part in (self.warnings, self.facts, self.bands):
            part.setEnabled(True)
            part.show_all([])
        self.show_grid.setEnabled(False)

    def _lay_out(self) -> None:
        top = _row((self.sign, 0), (self.headline, 1))
        below = _row((self.show_grid, 1), (self.check_button, 0))
        layout = QVBoxLayout(self)
        parts = (
            top, self.decision, self.details, self.maps, self.warnings, self.facts, below,
            self.grid_note, self.bands,
            self.controls,
        )  # fmt: skip
        for part in parts:
            layout.addWidget(part)
        name_children(
            self, "multimodal_preflight", headline=self.headline, check=self.check_button,
            grid=self.show_grid, maps=self.maps,
        )  # fmt: skip


def _row(*parts: tuple[QWidget, int]) -> QWidget:
    """Return widgets side by side, each with its stretch."""
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for part, stretch in parts:
        row.addWidget(part, stretch)
    return holder
