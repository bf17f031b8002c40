"""Progress, what happened in plain words, and a button that helps."""

from __future__ import annotations

from collections.abc import Callable

from qgis.PyQt.QtCore import QEvent, QObject, QSize, Qt
from qgis.PyQt.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from .signs import ERROR, INFO, SUCCESS, WARNING, SignLabel
from .widgets import name_children, note

__all__ = ["ERROR", "INFO", "SUCCESS", "WARNING", "StatusPanel"]

_MAX_LOG_LINES = 2000
_SURE_TEXT_HEIGHT = 130
_MOST_TEXT_HEIGHT = 220


class StatusPanel(QWidget):
    """Shows one message at a time; warnings stay beside it until the next run."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.progress = note()
        self.sign = SignLabel()
        self.message = note()
        self.warning_sign = SignLabel()
        self.warning_sign.show_kind(WARNING)
        self.warnings = note()
        self.remedy = QPushButton()
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(_MAX_LOG_LINES)
        self.log.setMaximumHeight(140)
        self._remedy: Callable[[], None] | None = None
        self._lay_out()
        self.remedy.clicked.connect(self._on_remedy)
        self.show_idle()

    def show_idle(self) -> None:
        """Show nothing but the message."""
        for part in (self.bar, self.progress):
            part.setVisible(False)

    def start(self, text: str, warning: str = "") -> None:
        """Show a fresh progress bar; its length is not known yet."""
        self.say(INFO, text)
        self.warnings.setText(warning)
        self.warning_row.setVisible(bool(warning))
        self.log.clear()
        self.log.setVisible(False)
        self.bar.setRange(0, 0)
        self.progress.setText("")
        for part in (self.bar, self.progress):
            part.setVisible(True)

    def set_progress(self, done: int, total: int, text: str) -> None:
        """Move the bar."""
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        self.progress.setText(text)

    def say(
        self,
        kind: str,
        text: str,
        remedy: str = "",
        on_remedy: Callable[[], None] | None = None,
    ) -> None:
        """Show a message, with a button that does something about it where there is one."""
        self.sign.show_kind(kind)
        self.message.setText(text)
        self.message_row.setVisible(bool(text))
        self._texts.verticalScrollBar().setValue(0)
        self._remedy = on_remedy
        self.remedy.setText(remedy)
        self.remedy.setVisible(on_remedy is not None)

    def forget(self) -> None:
        """Show neither message nor warnings: they are about something else."""
        self.say(INFO, "")
        self.warnings.setText("")
        self.warning_row.setVisible(False)

    def hide_remedy(self) -> None:
        """Take the button away: what it would do is not what was offered any more."""
        self._remedy = None
        self.remedy.setVisible(False)

    def warn(self, text: str) -> None:
        """Add a warning of this run."""
        known = self.warnings.text()
        self.warnings.setText(f"{known}\n{text}" if known else text)
        self.warning_row.setVisible(True)

    def add_log(self, line: str) -> None:
        """Show a line of a longer job."""
        self.log.setVisible(True)
        self.log.appendPlainText(line)

    def _on_remedy(self) -> None:
        action = self._remedy
        self.hide_remedy()
        if action is not None:
            action()

    def _lay_out(self) -> None:
        for text in (self.message, self.warnings):
            text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.message_row = _row(self.sign, self.message)
        self.warning_row = _row(self.warning_sign, self.warnings)
        texts = QWidget()
        rows = QVBoxLayout(texts)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.message_row)
        rows.addWidget(self.warning_row)
        rows.addStretch(1)
        self._texts = _GrowingArea(texts)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.bar)
        layout.addWidget(self.progress)
        layout.addWidget(self._texts)
        layout.addWidget(self.remedy)
        layout.addWidget(self.log)
        name_children(
            self, "multimodal_status", bar=self.bar, progress=self.progress,
            message=self.message, warnings=self.warnings, remedy=self.remedy, log=self.log,
        )  # fmt: skip
        for part in (self.message_row, self.warning_row, self.remedy, self.log):
            part.setVisible(False)


class _GrowingArea(QScrollArea):
    """As high as its text, up to a height from which on it scrolls: it must not push the dock."""

    def __init__(self, body: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setWidget(body)
        # The colour of the dock, not of a field.
        self.viewport().setAutoFillBackground(False)
        body.setAutoFillBackground(False)
        body.installEventFilter(self)
        self._fit()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return super().eventFilter(watched, event)

    def resizeEvent(self, event: QEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def sizeHint(self) -> QSize:
        return QSize(super().sizeHint().width(), self._height())

    def minimumSizeHint(self) -> QSize:
        return QSize(0, min(self._height(), _SURE_TEXT_HEIGHT))

    def _fit(self) -> None:
        policies = Qt.ScrollBarPolicy
        # Qt would take the height that the words need in a narrower place.
        fits = self._wanted() <= max(self.height(), _SURE_TEXT_HEIGHT)
        self.setVerticalScrollBarPolicy(
            policies.ScrollBarAlwaysOff if fits else policies.ScrollBarAsNeeded
        )
        self.setMaximumHeight(self._height())
        self.updateGeometry()

    def _height(self) -> int:
        return min(self._wanted(), _MOST_TEXT_HEIGHT)

    def _wanted(self) -> int:
        return max(0, self.widget().layout().heightForWidth(max(self.width(), 1)))


def _row(sign: SignLabel, text: QWidget) -> QWidget:
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(sign)
    row.addWidget(text, 1)
    return holder
