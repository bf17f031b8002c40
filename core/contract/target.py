"""May a result go to this file? Asked by the plugin before it lets go of layers, and by the worker.

Standard library only: a GeoPackage is an SQLite file.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from .differences import changed_keys, differences
from .drive import explained
from .errors import OutputError
from .job import ClassifyJob, fingerprint
from .json_file import parse_json
from .lines import MAX_LINE
from .result import LAYER, RUN_TABLE
from .target_place import check_place

STYLES = "layer_styles"
_OURS = {LAYER, RUN_TABLE, STYLES}
# A run holds its file from its start to its end: waiting longer would not help.
_PATIENCE_SECONDS = 1.0
_MAGIC = b"SQLite format 3\0"
_HOUSEKEEPING = ("gpkg_", "rtree_", "sqlite_")


def check_output(job: ClassifyJob) -> None:
    """Raise an OutputError where the result of a job cannot go to ``job.output``.

    Asked before any work is done, and before anything that is there is touched.
    """
    target = real_path(job.output)
    for source in job.sources:
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
    check_place(path, target)
    if is_there(target):
        _check_content(target, identity, overwrite)


def real_path(path: str) -> Path:
    """Return where a file really is: a link stays a link when its file is replaced."""
    return Path(os.path.realpath(path))


def is_there(target: Path) -> bool:
    """Return whether a file has content; an empty one is only a name that somebody reserved."""
    return os.path.exists(target) and target.stat().st_size > 0


def sweep(path: str) -> bool:
    """Remove the journal that a killed run left beside a result file; True where none is left.

    A run holds its file exclusively, and SQLite then keeps an emptied journal between two
    transactions. What a half-done transaction left is played back first. A file that somebody
    holds stays as it is, with its journal.
    """
    target = real_path(path)
    journal = target.with_name(f"{target.name}-journal")
    if os.path.exists(journal) and target.is_file():
        with suppress(sqlite3.Error), closing(_existing(target)) as connection:
            # Reading plays a hot journal back; an emptied one goes with the mode that kept it.
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("PRAGMA journal_mode = PERSIST")
            connection.execute("PRAGMA journal_mode = DELETE")
    return not os.path.exists(journal)


def _existing(target: Path) -> sqlite3.Connection:
    """Connect to a file without making it, and without waiting for who holds it."""
    return sqlite3.connect(f"{target.as_uri()}?mode=rw", uri=True, timeout=0)


def holds_run(
    connection: sqlite3.Connection, target: Path, identity: Mapping[str, Any], overwrite: bool
) -> bool:
    """Return whether an open file holds this run; False where there is room to start.

    Raises:
        OutputError: it holds something that a run with this fingerprint must not touch.
    """
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    names = {name for (name,) in connection.execute(query)}
    tables = {name for name in names if not name.lower().startswith(_HOUSEKEEPING)}
    if not names:
        return False
    if RUN_TABLE not in tables:
        raise _foreign(target)
    _check_same_run(target, _identity_in(connection, target), identity, overwrite)
    others = sorted(tables - _OURS)
    if overwrite and others:
        raise OutputError(
            f"'{target}' also holds {', '.join(others)}, which starting over would delete: "
            "choose another file.",
            path=str(target),
        )
    return not overwrite


def _check_content(target: Path, identity: Mapping[str, Any], overwrite: bool) -> None:
    # Not read-only: a process killed inside a commit leaves a rollback journal, and only who
    # may write can play it back and read the file.
    with (
        explained(target),
        closing(sqlite3.connect(target, timeout=_PATIENCE_SECONDS)) as connection,
    ):
        try:
            holds_run(connection, target, identity, overwrite)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as problem:
            raise _unreadable(target, problem) from problem


def _unreadable(target: Path, problem: sqlite3.DatabaseError) -> OutputError:
    with target.open("rb") as stream:
        is_database = stream.read(len(_MAGIC)) == _MAGIC
    return _unknown(target, str(problem)) if is_database else _foreign(target)


def _foreign(target: Path) -> OutputError:
    return OutputError(
        f"'{target}' exists and is not a result of this program: choose another file.",
        path=str(target), unusable=True,
    )  # fmt: skip


def _unknown(target: Path, why: str) -> OutputError:
    """Return the refusal of what may have been a result; it is never replaced."""
    return OutputError(
        f"'{target}' is damaged, or not a result of this program ({why}): choose another file, or "
        "remove this one if nothing in it is needed.",
        path=str(target), unusable=True,
    )  # fmt: skip


def _identity_in(connection: sqlite3.Connection, target: Path) -> Mapping[str, Any]:
    """Return the fingerprint in a file that anybody may have made."""
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({RUN_TABLE})")]
    if "identity" not in columns:
        raise _unknown(target, f"the table {RUN_TABLE} has no 'identity'")
    # As bytes: SQLite does not see to it that a text is one.
    query = f"SELECT substr(CAST(identity AS BLOB), 1, ?) FROM {RUN_TABLE}"
    row = connection.execute(query, (MAX_LINE + 1,)).fetchone()
    try:
        identity = parse_json((row[0] if row else None) or b"", MAX_LINE)
    except ValueError as problem:
        raise _unknown(target, f"what it says of its run cannot be read: {problem}") from problem
    if not isinstance(identity, dict):
        raise _unknown(target, "what it says of its run is something else")
    return identity


def _check_same_run(
    target: Path, there: Mapping[str, Any], identity: Mapping[str, Any], overwrite: bool
) -> None:
    wanted = json.loads(json.dumps(identity))
    changed = changed_keys(there, wanted)
    if changed and not overwrite:
        raise OutputError(
            f"'{target}' holds another run (different: {differences(there, wanted)}): choose "
            "another file, or start over and replace it (--overwrite on the command line).",
            path=str(target),
            changed=changed,
        )
