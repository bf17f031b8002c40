"""The drive that a result lies on: its room, and what is said when it fails."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError

# An estimate may be wrong by this much before a run is refused for it.
_CERTAIN = 0.75
# Kept free while a run writes: what closing the file takes.
_RESERVE_BYTES = 64 * 1024
_KEPT = "Finished tiles are kept"
_GOES_ON = "then run again: it goes on from there"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)


def drive_of(path: Path) -> str:
    """Return the drive letter, network share or mount point that a path lies on."""
    place = Path(os.path.abspath(path)).parent
    if place.drive:
        return place.drive
    while not os.path.ismount(place) and place != place.parent:
        place = place.parent
    return str(place)


def size_text(size: float) -> str:
    """Return a number of bytes as a user reads it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def is_same_drive(path: Path, other: Path) -> bool:
    """Return whether two files take their room from one drive."""
    try:
        return path.parent.stat().st_dev == other.parent.stat().st_dev
    except OSError:
        return False


def check_room(target: Path, needed: int) -> None:
    """Raise an OutputError where a drive is certainly too small for ``needed`` more bytes."""
    try:
        free = shutil.disk_usage(target.parent).free
    except OSError:
        return  # Some network drives do not tell.
    if free < needed * _CERTAIN:
        raise OutputError(
            f"The result takes about {size_text(needed)}, and the drive '{drive_of(target)}' has "
            f"{size_text(free)} free: free space there, or choose an output on another drive.",
            path=str(target), needed_bytes=needed, free_bytes=free,
        )  # fmt: skip


def check_still_there(target: Path, needed: int = 0) -> None:
    """Raise an OutputError where a file that is being written is gone, or has no room to grow.

    A system goes on taking what is written into a file that has no name any more.
    """
    if not os.path.exists(target):
        raise _gone(target)
    try:
        free = shutil.disk_usage(target.parent).free if needed else None
    except OSError:
        return
    if free is not None and free < needed + _RESERVE_BYTES:
        raise _full(target, f"{size_text(free)} free")


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn what SQLite and the system say about a result file into an OutputError."""
    try:
        yield
    except (sqlite3.Error, OSError) as problem:
        raise _error_of(problem, target) from problem


def _error_of(problem: Exception, target: Path) -> OutputError:
    text, code = str(problem), getattr(problem, "errno", None)
    # Not of the whole text: the system's has the file's name in it.
    words = problem.strerror or "" if isinstance(problem, OSError) else text
    if "locked" in words:
        return _held(target)
    if "is full" in words or code in _FULL:
        return _full(target, text)
    if "readonly" in words or code in _REFUSED:
        return _refused(target, text)
    if not os.path.isdir(target.parent):
        return _gone(target)
    if "I/O error" in words or "unable to open" in words or code is not None:
        return _failed(target, text)
    return OutputError(
        f"'{target}' cannot be written ({text}). {_KEPT}. Check the disk's space and rights, and "
        "close programs that have the file open; then run again.",
        path=str(target),
    )


def _held(target: Path) -> OutputError:
    return OutputError(
        f"Another run holds '{target}' (it is locked): let it end, or close programs that "
        f"have the file open; then run again. {_KEPT}.",
        path=str(target),
    )


def _full(target: Path, text: str) -> OutputError:
    return OutputError(
        f"'{target}' cannot be written: the drive '{drive_of(target)}' is full ({text}). {_KEPT}. "
        f"Free space on it, {_GOES_ON}.",
        path=str(target),
    )


def _refused(target: Path, text: str) -> OutputError:
    return OutputError(
        f"'{target}' cannot be written ({text}): the drive '{drive_of(target)}' or the file is "
        f"read-only. {_KEPT}. Allow writing, {_GOES_ON}; or choose another output.",
        path=str(target),
    )


def _gone(target: Path) -> OutputError:
    return OutputError(
        f"'{target}' cannot be written: it is gone, or its folder or drive is. {_KEPT} in it. "
        f"Connect the drive again, or put the file back, {_GOES_ON}.",
        path=str(target),
    )


def _failed(target: Path, text: str) -> OutputError:
    return OutputError(
        f"'{target}' cannot be written: the drive '{drive_of(target)}' failed ({text}). {_KEPT}. "
        f"Check the drive and its connection, {_GOES_ON}.",
        path=str(target),
    )
