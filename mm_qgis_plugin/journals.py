"""Journals in the user's data folder: where runs without a file of their own keep their tiles."""

from __future__ import annotations

import os
import time
from pathlib import Path

from . import settings
from .about import tr
from .core.contract.errors import OutputError
from .core.contract.job import ClassifyJob, fingerprint, fingerprint_digest
from .core.contract.target import check_target, sweep

MAX_AGE_DAYS = 30
MAX_BYTES = 2 * 1024**3
_DAMAGED = ".damaged"


def journal_path(job: ClassifyJob) -> Path:
    """Return the journal of this very job, so that the same run goes on where it ended."""
    folder = _folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(
            f"The folder '{folder}' for unfinished runs cannot be made ({problem}): "
            "name a journal file, or free the folder.",
            path=str(folder),
        ) from problem
    return folder / f"{fingerprint_digest(fingerprint(job))}.gpkg"


def set_damaged_aside(job: ClassifyJob) -> str:
    """Make room for a job whose journal in our folder cannot be read; returns what to tell of it.

    It would block this very run for ever: its name is that of the run. A file of the user's is
    left as it is, and the run refused.
    """
    path = Path(job.output)
    if path.parent != _folder():
        return ""
    try:
        check_target(str(path), fingerprint(job), overwrite=False)
    except OutputError as problem:
        if not {"unusable", "changed"} & set(problem.details) or not _moved_aside(path):
            return ""  # who writes it says so
        return tr(
            "The tiles of an earlier run cannot be read, its journal is damaged. It was put aside "
            "as '{}', and the run starts anew."
        ).format(_aside(path))
    return ""


def _moved_aside(path: Path) -> bool:
    """Rename a journal with what SQLite keeps beside it, lest that is played into a new one."""
    try:
        for end in ("-journal", "-wal", "-shm"):
            if os.path.exists(f"{path}{end}"):
                os.replace(f"{path}{end}", f"{_aside(path)}{end}")
        os.replace(path, _aside(path))
    except OSError:
        return False  # Windows: open in another process.
    return True


def _aside(path: Path) -> Path:
    return path.with_name(path.name + _DAMAGED)


def prune() -> int:
    """Delete journals over the age or the total size, oldest first; return how many."""
    oldest = time.time() - MAX_AGE_DAYS * 86400
    total, removed = 0, 0
    for path in sorted(_all(), key=_modified, reverse=True):
        total += path.stat().st_size
        if _modified(path) < oldest or total > MAX_BYTES:
            removed += _remove(path)
    return removed


def clear() -> int:
    """Delete all journals; return how many. One that is in use stays."""
    return sum(_remove(path) for path in _all())


def total_bytes() -> int:
    """Return the room that the journals take."""
    return sum(path.stat().st_size for path in _all())


def _folder() -> Path:
    return settings.data_folder() / "journals"


def _all() -> list[Path]:
    return [*_folder().glob("*.gpkg"), *_folder().glob(f"*{_DAMAGED}*")]


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def _remove(path: Path) -> int:
    if _DAMAGED not in path.name and not sweep(str(path)):
        return 0  # A run is writing it.
    try:
        path.unlink()
    except PermissionError:
        return 0  # Windows: open in another process.
    return 1
