"""What the worker says, told in the log of Processing."""

from __future__ import annotations

import time

from qgis.core import QgsProcessingFeedback

from ..about import tr
from ..core.contract.messages import Log, Message, Phase, Plan, Progress
from ..progress_text import plan_text, progress_text

_SECONDS_BETWEEN_LINES = 5.0


class Reporter:
    """Turns messages into lines and the progress bar; called on the algorithm's thread."""

    def __init__(self, feedback: QgsProcessingFeedback) -> None:
        self._feedback = feedback
        self._last_line = time.monotonic()
        self.was_complete = False
        """The journal held every tile before: nothing was computed."""

    def on_message(self, message: Message) -> None:
        """Tell one message."""
        if isinstance(message, Phase):
            self._feedback.setProgressText(tr(message.text))
        elif isinstance(message, Plan):
            self.was_complete = message.todo == 0
            self._feedback.pushInfo(plan_text(message))
        elif isinstance(message, Progress):
            self._on_progress(message)
        elif isinstance(message, Log) and message.level == "warning":
            self._feedback.pushWarning(message.text)
        elif isinstance(message, Log):
            self._feedback.pushInfo(message.text)

    def _on_progress(self, message: Progress) -> None:
        self._feedback.setProgress(100.0 * message.done / max(message.total, 1))
        if time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._feedback.pushInfo(progress_text(message))
