"""Journals in the user's data folder: where runs without a file of their own keep their tiles."""

from __future__ import annotations

import time
from pathlib import Path

from . import settings
from .core.contract.errors import OutputError
from .core.contract.job import ClassifyJob, fingerprint, fingerprint_digest
from .core.contract.target import sweep

MAX_AGE_DAYS = 30
MAX_BYTES = 2 * 1024**3


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
    return list(_folder().glob("*.gpkg"))


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def _remove(path: Path) -> int:
    if not sweep(str(path)):
        return 0  # A run is writing it.
    try:
        path.unlink()
    except PermissionError:
        return 0  # Windows: open in another process.
    return 1
