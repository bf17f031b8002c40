"""Signs of life from the worker while a job runs, with evidence of whether it gets on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .contract.messages import Heartbeat, Message, Phase

BEAT_SECONDS = 2.0


class Pulse:
    """Beats on a thread of its own; the job's thread says what it does.

    Quiet time is counted in beats, not by a clock: that of some systems runs on while the
    machine sleeps.
    """

    def __init__(self, send: Callable[[Message, str], None]) -> None:
        self._send = send
        self._job = ""
        self._phase = ""
        self._quiet = 0.0

    def begin(self, job: str, phase: str) -> None:
        """A job begins."""
        self._phase, self._quiet, self._job = phase, 0.0, job

    def saw(self, message: Message) -> None:
        """The job has told something: it gets on."""
        self._quiet = 0.0
        if isinstance(message, Phase):
            self._phase = message.text

    def end(self) -> None:
        """The job is over: the idle worker is silent."""
        self._job = ""

    def beat(self, is_over: threading.Event) -> None:
        """Send a heartbeat every few seconds while there is a job, until ``is_over``."""
        while not is_over.wait(BEAT_SECONDS):
            self._quiet += BEAT_SECONDS
            if job := self._job:
                self._send(Heartbeat(self._phase, self._quiet), job)
