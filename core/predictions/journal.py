"""The journal: a GeoPackage that holds every finished batch, whatever happens next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fudgeo import GeoPackage

from ..contract.errors import OutputError
from ..contract.job import fingerprint_digest
from ..contract.qml import result_style_qml
from ..contract.result import LAYER, OK, RUN_TABLE, TileResult
from ..contract.spec import ModelSpec
from . import schema

SUFFIX = ".gpkg"


@dataclass(frozen=True)
class JournalState:
    """What stands in a file: ids of finished tiles, how many are classified, why others are not."""

    finished: frozenset[int]
    classified: int
    skipped_reasons: Mapping[str, int]
    state: str
    device: str
    precision: str


def check_target(path: str, identity: Mapping[str, Any], overwrite: bool) -> None:
    """Raise an OutputError where a result cannot go to ``path``, before any work is done."""
    target = Path(path)
    if target.suffix.lower() != SUFFIX:
        raise OutputError(f"The output must be a GeoPackage: '{path}' does not end in {SUFFIX}.")
    if target.is_dir():
        raise OutputError(f"'{path}' is a folder: name a {SUFFIX} file in it.")
    if not target.parent.is_dir():
        raise OutputError(f"The folder '{target.parent}' does not exist: make it first.")
    _probe_writable(target)
    if target.exists() and not overwrite:
        _check_same_run(target, identity)


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
        target = Path(path)
        check_target(path, identity, overwrite)
        with _explained(target):
            if overwrite:
                _remove(target)
            is_new = not target.exists()
            if is_new:
                package = schema.create(target, spec, crs_wkt)
            else:
                package = GeoPackage(target)
                schema.start_again(package)
                package.connection.execute("PRAGMA synchronous = FULL")
            journal = cls(target, package, spec, is_new)
            journal._write_run(identity, run)
            return journal

    def state(self) -> JournalState:
        """Return what the file holds."""
        return read_state(self._package.connection)

    def append(self, rows: Sequence[TileResult]) -> None:
        """Commit rows in one transaction: all of them are on disk when this returns."""
        with _explained(self.path), self._package.connection:
            schema.insert(self._package, rows, self._spec)

    def close(self, state: str, warnings: Sequence[str] = ()) -> None:
        """Build the index, store style and state, and close the file."""
        with _explained(self.path):
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

    def _write_run(self, identity: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        values = {
            "fingerprint": fingerprint_digest(identity),
            "identity": json.dumps(identity),
            "spec": json.dumps(self._spec.to_dict()),
            "state": "running",
            "started": _now(),
            **{key: v if isinstance(v, str) else json.dumps(v) for key, v in run.items()},
        }
        columns, marks = ", ".join(values), ", ".join("?" * len(values))
        with self._package.connection as connection:
            connection.execute(f"DELETE FROM {RUN_TABLE}")
            statement = f"INSERT INTO {RUN_TABLE} ({columns}) VALUES ({marks})"
            connection.execute(statement, tuple(values.values()))

    def _update_run(self, **values: str) -> None:
        assignments = ", ".join(f"{key} = ?" for key in values)
        with self._package.connection as connection:
            connection.execute(f"UPDATE {RUN_TABLE} SET {assignments}", tuple(values.values()))


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


def existing_identity(path: Path) -> Mapping[str, Any] | None:
    """Return the fingerprint of the run that wrote ``path``, None where it is not ours."""
    try:
        connection = sqlite3.connect(f"file:{path.resolve().as_posix()}?mode=ro", uri=True)
    except sqlite3.Error:
        return None
    try:
        row = connection.execute(f"SELECT identity FROM {RUN_TABLE}").fetchone()
        return json.loads(row[0]) if row else None
    except (sqlite3.Error, ValueError):
        return None
    finally:
        connection.close()


def _check_same_run(target: Path, identity: Mapping[str, Any]) -> None:
    there = existing_identity(target)
    if there is None:
        raise OutputError(
            f"'{target}' exists and is not a result of this program: choose another file, "
            "or say overwrite.",
            path=str(target),
        )
    wanted = json.loads(json.dumps(identity))
    changed = sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))
    if changed:
        raise OutputError(
            f"'{target}' holds another run (different: {', '.join(changed)}): choose another "
            "file, or say overwrite to start over.",
            path=str(target),
            changed=changed,
        )


def _probe_writable(target: Path) -> None:
    created = not target.exists()
    try:
        with target.open("ab"):
            pass
        if created:
            target.unlink()
    except OSError as problem:
        raise OutputError(
            f"'{target}' cannot be written ({problem.strerror}): choose another folder.",
            path=str(target),
        ) from problem


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as problem:
        raise OutputError(
            f"'{target}' cannot be written ({problem}). Finished tiles are kept. Check the disk's "
            "space and rights, and close programs that have the file open; then run again.",
            path=str(target),
        ) from problem


def _remove(target: Path) -> None:
    for path in (target, *(Path(f"{target}{end}") for end in ("-journal", "-wal", "-shm"))):
        path.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
