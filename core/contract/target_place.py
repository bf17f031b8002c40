"""Can a result file be where it is asked for? Answered at once, whatever lies there."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from .errors import OutputError

SUFFIX = ".gpkg"
# What SQLite opens beside a file.
_COMPANIONS = ("", "-journal", "-wal", "-shm")


def check_place(path: str, target: Path) -> None:
    """Raise an OutputError where no GeoPackage can be written.

    Args:
        path: as the user named it.
        target: where that really is.
    """
    if target.suffix.lower() != SUFFIX:
        raise OutputError(f"The output must be a GeoPackage: '{path}' does not end in {SUFFIX}.")
    # os.path has no errors for names that cannot be; pathlib has.
    if os.path.isdir(target):
        raise OutputError(f"'{path}' is a folder: name a {SUFFIX} file in it.")
    if not os.path.isdir(target.parent):
        raise OutputError(f"The folder '{target.parent}' does not exist: make it first.")
    _check_plain(target)
    _probe_file(target)
    _probe_folder(target)


def _check_plain(target: Path) -> None:
    """Refuse what would be waited for: who opens a pipe hears from nobody, for ever."""
    for end in _COMPANIONS:
        name = f"{target}{end}"
        if os.path.exists(name) and not os.path.isfile(name):
            raise OutputError(
                f"'{name}' is a pipe, a device or a folder, and must be a file: choose another "
                "output.",
                path=str(target),
            )


def _probe_file(target: Path) -> None:
    try:
        # Its own name is the longest that a run will need; os.path hides what is wrong with one.
        for name in (target, f"{target}-journal"):
            with suppress(FileNotFoundError):
                os.stat(name)
        if os.path.exists(target):
            with target.open("ab"):
                pass
    except OSError as problem:
        if problem.errno == errno.ENAMETOOLONG:
            raise OutputError(
                f"The name of the output, '{target.name[:40]}...', is too long: choose a shorter "
                "one.",
                path=str(target),
            ) from problem
        if problem.errno == errno.ELOOP:
            raise OutputError(
                f"'{target}' is a link that leads back to itself: choose another name, or remove "
                "the link.",
                path=str(target),
            ) from problem
        raise OutputError(
            f"'{target}' cannot be written ({problem.strerror}): choose another folder or name.",
            path=str(target),
        ) from problem


def _probe_folder(target: Path) -> None:
    """See that a file can be made beside the result, also where that is there: SQLite needs one."""
    try:
        # Never under the name itself: another run may be making the file at this moment.
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as problem:
        raise OutputError(
            f"The folder '{target.parent}' cannot be written ({problem.strerror}), and a run keeps "
            f"a second file beside '{target.name}' while it works: choose an output in another "
            "folder, or allow writing in this one.",
            path=str(target),
        ) from problem
