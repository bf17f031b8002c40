"""The journal: a GeoPackage that holds every finished batch, whatever happens next."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fudgeo import GeoPackage

from ..contract.job import fingerprint_digest
from ..contract.qml import result_style_qml
from ..contract.result import LAYER, OK, RUN_TABLE, TileResult
from ..contract.spec import ModelSpec
from ..contract.target import SUFFIX, check_target, explained, is_there, real_path
from . import schema


@dataclass(frozen=True)
class JournalState:
    """What stands in a file: ids of finished tiles, how many are classified, why others are not."""

    finished: frozenset[int]
    classified: int
    skipped_reasons: Mapping[str, int]
    state: str
    device: str
    precision: str


class Journal:
    """One open result file. Rows are appended in transactions; closed, it is a layer for QGIS."""

    def __init__(self, path: Path, package: GeoPackage, spec: ModelSpec, is_new: bool) -> None:
        self.path = path
        self._package = package
        self._spec = spec
        self._is_new = is_new

    @classmethod
    def open(
        cls,
        path: str,
        spec: ModelSpec,
        identity: Mapping[str, Any],
        crs_wkt: str,
        run: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ) -> Journal:
        """Open ``path`` to go on with the same run, or make it.

        Args:
            identity: the run's fingerprint; a file of another run is refused.
            run: what ``mm_run`` tells of this run: parameters, device, precision, versions.

        Raises:
            OutputError: not writable, not ours, or of another run (unless ``overwrite``).
        """
        target = real_path(path)
        check_target(path, identity, overwrite)
        is_new = overwrite or not is_there(target)
        with explained(target):
            if is_new:
                _create(target, spec, crs_wkt, identity, run, overwrite)
            package = GeoPackage(target)
            _hold(package.connection)
            if not is_new:
                schema.start_again(package)
                _write_run(package.connection, spec, identity, run)
            return cls(target, package, spec, is_new)

    def state(self) -> JournalState:
        """Return what the file holds."""
        return read_state(self._package.connection)

    def append(self, rows: Sequence[TileResult]) -> None:
        """Commit rows in one transaction: all of them are on disk when this returns."""
        with explained(self.path), self._package.connection:
            schema.insert(self._package, rows, self._spec)

    def close(self, state: str, warnings: Sequence[str] = ()) -> None:
        """Build the index, store style and state, and close the file."""
        with explained(self.path):
            schema.finish(self._package)
            schema.store_style(self._package, result_style_qml(self._spec))
            self._update_run(state=state, finished=_now(), warnings=json.dumps(list(warnings)))
            self._package.connection.close()

    def abandon(self) -> None:
        """Close after an error: finished tiles stay as a partial result, an empty file goes."""
        self._package.connection.rollback()
        if self.state().finished or not self._is_new:
            self.close("partial")
            return
        self._package.connection.close()
        _remove(self.path)

    def _update_run(self, **values: str) -> None:
        assignments = ", ".join(f"{key} = ?" for key in values)
        with self._package.connection as connection:
            connection.execute(f"UPDATE {RUN_TABLE} SET {assignments}", tuple(values.values()))


def held_state(path: str, overwrite: bool) -> JournalState | None:
    """Return what a file that :func:`check_target` passed holds; None where a run starts anew."""
    target = Path(path)
    if overwrite or not is_there(target):
        return None
    with explained(target), closing(sqlite3.connect(target)) as connection:
        return read_state(connection)


def read_state(connection: sqlite3.Connection) -> JournalState:
    """Return what a result file holds."""
    run = connection.execute(f"SELECT state, device, precision FROM {RUN_TABLE}").fetchone()
    rows = connection.execute(f"SELECT tile_id, status FROM {LAYER}").fetchall()
    reasons: dict[str, int] = {}
    for _, status in rows:
        if status != OK:
            reason = status.removeprefix("skipped: ")
            reasons[reason] = reasons.get(reason, 0) + 1
    return JournalState(
        frozenset(tile_id for tile_id, _ in rows),
        len(rows) - sum(reasons.values()),
        reasons,
        *(run or ("partial", "", "")),
    )


def _hold(connection: sqlite3.Connection) -> None:
    """Keep every other writer out until the file is closed, or this process is dead."""
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    connection.commit()


def _create(
    target: Path,
    spec: ModelSpec,
    crs_wkt: str,
    identity: Mapping[str, Any],
    run: Mapping[str, Any],
    overwrite: bool,
) -> None:
    """Put an empty file of this run in place. What was there stays until the new one is whole."""
    fresh = target.with_name(f".{target.stem}.new{SUFFIX}")
    _remove(fresh)
    try:
        package = schema.create(fresh, spec, crs_wkt)
        with closing(package.connection) as connection:
            _write_run(connection, spec, identity, run)
        if is_there(target) and not overwrite:
            raise FileExistsError(errno.EEXIST, "another run has just made it")
        # The rollback journal of an old file must not be played back into the new one.
        _remove(target)
        os.replace(fresh, target)
    finally:
        _remove(fresh)


def _write_run(
    connection: sqlite3.Connection,
    spec: ModelSpec,
    identity: Mapping[str, Any],
    run: Mapping[str, Any],
) -> None:
    values = {
        "fingerprint": fingerprint_digest(identity),
        "identity": json.dumps(identity),
        "spec": json.dumps(spec.to_dict()),
        "state": "running",
        "started": _now(),
        **{key: v if isinstance(v, str) else json.dumps(v) for key, v in run.items()},
    }
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    with connection:
        connection.execute(f"DELETE FROM {RUN_TABLE}")
        statement = f"INSERT INTO {RUN_TABLE} ({columns}) VALUES ({marks})"
        connection.execute(statement, tuple(values.values()))


def _remove(target: Path) -> None:
    for path in (target, *(Path(f"{target}{end}") for end in ("-journal", "-wal", "-shm"))):
        path.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
