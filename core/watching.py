"""Sees that the files a run reads stay as they were when it began."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from .contract.errors import SourceError
from .contract.source_identity import local_files, without_credentials

# A local drive answers sooner, and is asked for each batch.
_SLOW_SECONDS = 0.002
# Of the run's time at most this share goes into looking where a network drive answers slowly.
_SHARE = 0.02

State = tuple[int, int]


class SourceWatch:
    """The files of a run with their size and time.

    A file that was removed, or replaced, stays readable on Linux and macOS for who has it open:
    only its name tells.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._states = {file: _state(file) for file in _files(names)}
        self._next = 0.0

    def narrow(self, names: Iterable[str]) -> None:
        """Watch what is really read, from now on; a file that was watched keeps its first state."""
        known = self._states
        self._states = {
            file: known[file] if file in known else _state(file) for file in _files(names)
        }

    def check(self, *, at_once: bool = False) -> bool:
        """Look at every file, unless the last look took so long that it is too soon.

        Args:
            at_once: look in any case.

        Returns:
            Whether it looked: what was read before is then of the files of the beginning.

        Raises:
            SourceError: a file is another one, or gone.
        """
        started = time.monotonic()
        if started < self._next and not at_once:
            return False
        for file, before in self._states.items():
            now = _state(file)
            if now != before:
                raise _changed(file, "is gone" if now is None else "was changed")
        ended = time.monotonic()
        took = ended - started
        self._next = ended + (took / _SHARE if took > _SLOW_SECONDS else 0.0)
        return True


def taken_out(problem: SourceError, tiles: int) -> SourceError:
    """Return the error of a change with how many finished tiles it has cost."""
    if not tiles:
        return problem
    what = "1 tile is" if tiles == 1 else f"{tiles} tiles are"
    return SourceError(
        f"{problem.message} {what} out of the result again: finished since the files were last "
        "looked at, perhaps from the changed one.",
        **problem.details,
    )


def _files(names: Iterable[str]) -> list[Path]:
    found = {os.path.abspath(file) for name in names for file in local_files(name)}
    return [Path(file) for file in sorted(found)]


def _state(file: Path) -> State | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _changed(file: Path, what: str) -> SourceError:
    shown = without_credentials(str(file))
    return SourceError(
        f"'{shown}' {what} during the run: tiles from before and after would not belong together. "
        "Tiles finished before are kept as a partial result. Put the file back as it was and run "
        "again to go on, or start over with the file as it is now.",
        path=shown,
    )
