"""How a process ended, in words, and what of its last words is for the user."""

from __future__ import annotations

import signal
from collections.abc import Iterable

_QUOTED_LINES = 15
_MEMORY = (
    "killed, perhaps for want of memory: if that happens again, close other programs or choose a "
    "smaller batch size under Advanced"
)
_WINDOWS = {
    0xC0000005: "access violation",
    0xC0000017: "out of memory",
    0xC00000FD: "stack overflow",
    0xC0000409: "ended by Windows",
}
# What faulthandler prints: one line for the user, the rest for those who look for the defect.
_FATAL = ("Fatal Python error", "Windows fatal exception")


def end_in_words(code: int | None) -> str:
    """Return what an exit code says; None is a process that did not end."""
    if code is None:
        return "its output is closed, but it still runs"
    if code >= 0:
        name = _WINDOWS.get(code)
        return f"exit code {code:#x}: {name}" if name else f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}: {_MEMORY}" if name == "SIGKILL" else name


def quoted(lines: Iterable[str]) -> str:
    """Return the end of what a process printed, ready to follow a sentence."""
    said = [line for line in lines if line.strip()]
    fatal = [number for number, line in enumerate(said) if line.startswith(_FATAL)]
    said = said[: fatal[0] + 1] if fatal else said
    return " It printed last:\n" + "\n".join(said[-_QUOTED_LINES:]) if said else ""
