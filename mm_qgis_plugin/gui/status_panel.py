"""Progress, what happened in plain words, and a button that helps."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import QgsApplication
from qgis.PyQt.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from .widgets import name_children, note

INFO, SUCCESS, WARNING, ERROR = "info", "success", "warning", "error"
_ICONS = {
    INFO: "/mIconInfo.svg",
    SUCCESS: "/mIconSuccess.svg",
    WARNING: "/mIconWarning.svg",
    ERROR: "/mIconCritical.svg",
}
_ICON_SIZE = 16
_MAX_LOG_LINES = 2000


class StatusPanel(QWidget):
    """Shows one message at a time; warnings stay beside it until the next run."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QProgressBar()
        self.bar.setTextVisible(True)
        self.progress = note()
        self.sign = QLabel()
        self.message = note()
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

    def start(self, text: str) -> None:
        """Show a fresh progress bar; its length is not known yet."""
        self.say(INFO, text)
        self.warnings.setText("")
        self.warnings.setVisible(False)
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
        icon = QgsApplication.getThemeIcon(_ICONS[kind])
        self.sign.setPixmap(icon.pixmap(_ICON_SIZE, _ICON_SIZE))
        self.sign.setVisible(bool(text))
        self.message.setText(text)
        self._remedy = on_remedy
        self.remedy.setText(remedy)
        self.remedy.setVisible(on_remedy is not None)

    def warn(self, text: str) -> None:
        """Add a warning of this run."""
        known = self.warnings.text()
        self.warnings.setText(f"{known}\n{text}" if known else text)
        self.warnings.setVisible(True)

    def add_log(self, line: str) -> None:
        """Show a line of a longer job."""
        self.log.setVisible(True)
        self.log.appendPlainText(line)

    def _on_remedy(self) -> None:
        action, self._remedy = self._remedy, None
        self.remedy.setVisible(False)
        if action is not None:
            action()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.sign)
        row.addWidget(self.message, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.bar)
        layout.addWidget(self.progress)
        layout.addLayout(row)
        layout.addWidget(self.remedy)
        layout.addWidget(self.warnings)
        layout.addWidget(self.log)
        name_children(
            self, "multimodal_status", bar=self.bar, progress=self.progress,
            message=self.message, warnings=self.warnings, remedy=self.remedy, log=self.log,
        )  # fmt: skip
        for part in (self.warnings, self.remedy, self.log, self.sign):
            part.setVisible(False)
