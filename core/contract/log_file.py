"""The worker's log, which a user can attach to a report: where it is, and notes in it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from .redaction import redacted
from .user_folder import cache_folder

_NAME = "worker{}.log"
MOST_LOGS = 9
"""As many workers at once have a log of their own."""


def log_paths() -> tuple[Path, ...]:
    """Return where logs may be: a file of its own for each of the workers at once."""
    folder = cache_folder() / "logs"
    numbers = ("", *(f"-{number}" for number in range(2, MOST_LOGS + 1)))
    return tuple(folder / _NAME.format(number) for number in numbers)


def newest_log() -> Path | None:
    """Return the log that was written last, None where there is none."""
    found = [path for path in log_paths() if path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def note(path: str | Path, text: str) -> None:
    """Add what the dead worker cannot say itself; a log that fails is no error."""
    when = datetime.now().isoformat(sep=" ", timespec="milliseconds")
    try:
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{when} {redacted(text)}\n")
    except OSError:
        return
