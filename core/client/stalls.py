"""Tells the user that a worker lives and does not get on."""

from __future__ import annotations

from collections.abc import Callable

from ..contract.messages import Heartbeat, Message, Phase

STALL_SECONDS = 120.0
_MINUTE = 60.0


class Stalls:
    """Stands between the worker and whoever listens: turns heartbeats into words.

    No news for minutes is told in the place of the phase, once a minute, and taken back by the
    next news.
    """

    def __init__(
        self, tell: Callable[[Message], None], stall_seconds: float = STALL_SECONDS
    ) -> None:
        self._tell = tell
        self._stall_seconds = stall_seconds
        self._told_at = 0.0
        self._phase: Phase | None = None

    @property
    def phase(self) -> str:
        """What the job was at when it told something last."""
        return self._phase.text if self._phase else ""

    def take(self, message: Message) -> None:
        """Pass a message on, or what a heartbeat says of the job."""
        if isinstance(message, Heartbeat):
            self._on_beat(message)
            return
        if isinstance(message, Phase):
            self._phase = message
        elif self._told_at and self._phase is not None:
            self._tell(self._phase)
        self._told_at = 0.0
        self._tell(message)

    def _on_beat(self, beat: Heartbeat) -> None:
        quiet = beat.quiet_seconds
        if quiet < self._stall_seconds or quiet - self._told_at < _MINUTE:
            return
        self._told_at = quiet
        name = self._phase.name if self._phase else "wait"
        self._tell(
            Phase(
                name,
                f"{beat.phase}: no progress for {_span(quiet)}. The worker is alive; it may wait "
                "for a slow disk or network, or compute a large batch. Cancel works.",
            )
        )


def _span(seconds: float) -> str:
    return f"{seconds / _MINUTE:.0f} min" if seconds >= _MINUTE else f"{seconds:.0f} s"
