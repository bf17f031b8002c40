"""What the worker says, told in the log of Processing."""

from __future__ import annotations

import time
from collections.abc import Callable

from qgis.core import QgsProcessingFeedback

from ..about import tr
from ..core.contract.errors import OutputError
from ..core.contract.messages import Log, Message, Phase, Plan, Progress, Rows
from ..progress_text import plan_text, progress_text

_SECONDS_BETWEEN_LINES = 5.0


class Reporter:
    """Turns messages into lines and the progress bar; called on the algorithm's thread."""

    def __init__(
        self,
        feedback: QgsProcessingFeedback,
        check_plan: Callable[[Plan], None] = lambda plan: None,
    ) -> None:
        self._feedback = feedback
        self._check_plan = check_plan
        self._last_line = time.monotonic()
        self.was_complete = False
        """The journal held every tile before: nothing was computed."""
        self.is_planned = False
        """The worker has opened the rasters and told what is to be done."""
        self.has_new_tiles = False
        """This run has finished a tile, as far as the worker told."""
        self.refusal: OutputError | None = None
        """Why the run is not worth its work, found out when its size was known."""

    def is_stopped(self) -> bool:
        """Return whether the worker is to stop."""
        return self._feedback.isCanceled() or self.refusal is not None

    def on_message(self, message: Message) -> None:
        """Tell one message."""
        if isinstance(message, Phase):
            self._feedback.setProgressText(tr(message.text))
        elif isinstance(message, Plan):
            self.is_planned = True
            self.was_complete = message.todo == 0
            self._feedback.pushInfo(plan_text(message))
            self._check(message)
        elif isinstance(message, Rows):
            self.has_new_tiles = True
        elif isinstance(message, Progress):
            self._on_progress(message)
        elif isinstance(message, Log) and message.level == "warning":
            self._feedback.pushWarning(message.text)
        elif isinstance(message, Log):
            self._feedback.pushInfo(message.text)

    def _check(self, plan: Plan) -> None:
        try:
            self._check_plan(plan)
        except OutputError as problem:
            self.refusal = problem

    def _on_progress(self, message: Progress) -> None:
        self._feedback.setProgress(100.0 * message.done / max(message.total, 1))
        if time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._feedback.pushInfo(progress_text(message))
