"""May a result go to this file? Asked by the plugin before it lets go of layers, and by the worker.

Standard library only: a GeoPackage is an SQLite file.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from .errors import OutputError
from .job import ClassifyJob, fingerprint
from .result import LAYER, RUN_TABLE

SUFFIX = ".gpkg"
STYLES = "layer_styles"
_OURS = {LAYER, RUN_TABLE, STYLES}
# A run holds its file from its start to its end: waiting longer would not help.
_PATIENCE_SECONDS = 1.0
_HOUSEKEEPING = ("gpkg_", "rtree_", "sqlite_")


def check_output(job: ClassifyJob) -> None:
    """Raise an OutputError where the result of a job cannot go to ``job.output``.

    Asked before any work is done, and before anything that is there is touched.
    """
    target = real_path(job.output)
    for source in (*job.s2, *job.s1):
        if target == real_path(source.path):
            raise OutputError(f"'{target}' is an input of this run: choose another output file.")
    check_target(job.output, fingerprint(job), job.overwrite)


def check_target(path: str, identity: Mapping[str, Any], overwrite: bool) -> None:
    """Raise an OutputError where a run with this fingerprint cannot go to ``path``.

    Raises:
        OutputError: not writable, not ours, or of another run (unless ``overwrite``). What is
            not ours is never replaced. ``details["changed"]`` names what another run had
            different.
    """
    target = real_path(path)
    if target.suffix.lower() != SUFFIX:
        raise OutputError(f"The output must be a GeoPackage: '{path}' does not end in {SUFFIX}.")
    # os.path has no errors for names that cannot be; pathlib has.
    if os.path.isdir(target):
        raise OutputError(f"'{path}' is a folder: name a {SUFFIX} file in it.")
    if not os.path.isdir(target.parent):
        raise OutputError(f"The folder '{target.parent}' does not exist: make it first.")
    _probe_writable(target)
    if is_there(target):
        _check_same_run(target, identity, overwrite)


def real_path(path: str) -> Path:
    """Return where a file really is: a link stays a link when its file is replaced."""
    return Path(os.path.realpath(path))


def is_there(target: Path) -> bool:
    """Return whether a file has content; an empty one is only a name that somebody reserved."""
    return target.exists() and target.stat().st_size > 0


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn what SQLite and the system say about a result file into an OutputError."""
    try:
        yield
    except (sqlite3.Error, OSError) as problem:
        raise OutputError(
            f"'{target}' cannot be written ({problem}). Finished tiles are kept. Check the disk's "
            "space and rights, let another run on this file end, and close programs that have the "
            "file open; then run again.",
            path=str(target),
        ) from problem


def _content(path: Path) -> tuple[set[str], Mapping[str, Any] | None]:
    """Return the tables in a file, and the fingerprint of our run."""
    # Not read-only: a process killed inside a commit leaves a rollback journal, and only who
    # may write can play it back and read the file.
    with explained(path), closing(sqlite3.connect(path, timeout=_PATIENCE_SECONDS)) as connection:
        try:
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            names = {name for (name,) in connection.execute(query)}
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return set(), None  # not a database at all
        tables = {name for name in names if not name.lower().startswith(_HOUSEKEEPING)}
        return tables, _identity_in(connection) if RUN_TABLE in tables else None


def _identity_in(connection: sqlite3.Connection) -> Mapping[str, Any] | None:
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({RUN_TABLE})")]
    row = connection.execute(f"SELECT * FROM {RUN_TABLE}").fetchone()
    try:
        identity = json.loads(dict(zip(columns, row or ()))["identity"])
    except (KeyError, TypeError, ValueError):
        return None
    return identity if isinstance(identity, dict) else None


def _check_same_run(target: Path, identity: Mapping[str, Any], overwrite: bool) -> None:
    tables, there = _content(target)
    if there is None:
        raise OutputError(
            f"'{target}' exists and is not a result of this program: choose another file.",
            path=str(target),
        )
    wanted = json.loads(json.dumps(identity))
    changed = sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))
    if changed and not overwrite:
        raise OutputError(
            f"'{target}' holds another run (different: {', '.join(changed)}): choose another "
            "file, or start over and replace it.",
            path=str(target),
            changed=changed,
        )
    others = sorted(tables - _OURS)
    if overwrite and others:
        raise OutputError(
            f"'{target}' also holds {', '.join(others)}, which starting over would delete: "
            "choose another file.",
            path=str(target),
        )


def _probe_writable(target: Path) -> None:
    created = not os.path.exists(target)
    try:
        with target.open("ab"):
            pass
        if created:
            target.unlink()
    except (OSError, ValueError) as problem:  # ValueError: a name with a NUL
        reason = getattr(problem, "strerror", None) or problem
        raise OutputError(
            f"'{target}' cannot be written ({reason}): choose another folder or name.",
            path=str(target),
        ) from problem
