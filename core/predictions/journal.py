"""The journal: a GeoPackage that holds every finished batch, whatever happens next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from fudgeo import GeoPackage

from ..contract.drive import changed_by_others, check_still_there, explained
from ..contract.errors import OutputError
from ..contract.job import fingerprint_digest
from ..contract.result import LAYER, OK, PARTIAL, RUN_TABLE, TileResult, result_bytes
from ..contract.spec import ModelSpec
from ..contract.target import check_target, holds_run, is_there, real_path
from ..stages import stage
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
        package = GeoPackage(target)
        with explained(target), _held(package):
            # Asked again now that nobody else can write.
            goes_on = holds_run(package.connection, target, identity, overwrite)
            if goes_on:
                schema.start_again(package, spec)
                with package.connection:
                    _write_run(package.connection, spec, identity, run)
            else:
                _start(package.connection, spec, crs_wkt, identity, run)
            return cls(target, package, spec, not goes_on)

    def state(self) -> JournalState:
        """Return what the file holds."""
        with explained(self.path):
            return read_state(self._package.connection, self.path)

    def append(self, rows: Sequence[TileResult]) -> None:
        """Commit rows in one transaction: all of them are on disk when this returns."""
        # Better to stop while there is room to close the file.
        check_still_there(self.path, _rows_bytes(len(rows), self._spec))
        with stage("write"), explained(self.path), self._package.connection:
            schema.insert(self._package, rows, self._spec)
        check_still_there(self.path)

    def remove(self, tile_ids: Sequence[int]) -> None:
        """Take tiles out again in one transaction: they turned out not to be of this run."""
        if not tile_ids:
            return
        with explained(self.path), self._package.connection:
            schema.delete(self._package, tile_ids)

    def set_device(self, device: str) -> None:
        """Note that the run went on with another device."""
        with explained(self.path):
            self._update_run(device=device)

    def close(self, state: str, warnings: Sequence[str] = ()) -> None:
        """Store how the run ended, and close the file."""
        # Closed whatever happens: an open connection would keep the next run out.
        with explained(self.path), closing(self._package.connection):
            self._update_run(state=state, finished=_now(), warnings=_json(list(warnings)))
        check_still_there(self.path)

    def abandon(self) -> None:
        """Close after an error: finished tiles stay as a partial result, an empty file goes.

        What a failing drive says now is not told: the file was partial before.
        """
        is_empty = False
        with (
            suppress(OutputError),
            explained(self.path),
            closing(self._package.connection) as open_,
        ):
            open_.rollback()
            is_empty = self._is_new and not self.state().finished
            if not is_empty:
                self._update_run(state=PARTIAL, finished=_now())
        if is_empty:
            with suppress(OSError):
                _remove(self.path)

    def _update_run(self, **values: str) -> None:
        assignments = ", ".join(f"{key} = ?" for key in values)
        with self._package.connection as connection:
            schema.stamp(connection)
            connection.execute(f"UPDATE {RUN_TABLE} SET {assignments}", tuple(values.values()))


def held_state(path: str, overwrite: bool) -> JournalState | None:
    """Return what a file that :func:`check_target` passed holds; None where a run starts anew."""
    target = Path(path)
    if overwrite or not is_there(target):
        return None
    with explained(target), closing(sqlite3.connect(target)) as connection:
        # A death before the first commit leaves a file without tables.
        is_begun = connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        return read_state(connection, target) if is_begun else None


def read_state(connection: sqlite3.Connection, path: Path) -> JournalState:
    """Return what a result file holds; OutputError where another program left no result of it."""
    run = connection.execute(f"SELECT state, device, precision FROM {RUN_TABLE}").fetchone()
    texts = [PARTIAL, "", ""] if run is None else ["" if text is None else text for text in run]
    # What a user drew into the layer has no number.
    query = (
        f"SELECT tile_id, ifnull(status, 'skipped: unknown') FROM {LAYER} WHERE {schema.IS_TILE}"
    )
    rows = connection.execute(query).fetchall()
    if not all(isinstance(text, str) for text in (*texts, *(status for _, status in rows))):
        raise changed_by_others(path, "a text in it is something else")
    reasons: dict[str, int] = {}
    for _, status in rows:
        if status != OK:
            reason = status.removeprefix("skipped: ")
            reasons[reason] = reasons.get(reason, 0) + 1
    return JournalState(
        frozenset(tile_id for tile_id, _ in rows),
        len(rows) - sum(reasons.values()),
        reasons,
        *texts,
    )


@contextmanager
def _held(package: GeoPackage) -> Iterator[None]:
    """Keep every other writer out until the file is closed, or this process is dead.

    An error lets go of the file; one that was made here and is still empty goes.
    """
    is_ours = False
    try:
        connection = package.connection
        # Another program may have put the file into WAL mode, which leaves files beside it.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.commit()
        is_ours = True
        yield
    except BaseException:
        package.connection.close()
        if is_ours and not is_there(package.path):
            _remove(package.path)
        raise


def _start(
    connection: sqlite3.Connection,
    spec: ModelSpec,
    crs_wkt: str,
    identity: Mapping[str, Any],
    run: Mapping[str, Any],
) -> None:
    """Put an empty file of this run in place, in one transaction over what was there."""
    with closing(schema.create(spec, crs_wkt).connection) as blank:
        with blank:
            _write_run(blank, spec, identity, run)
        blank.backup(connection)


def _write_run(
    connection: sqlite3.Connection,
    spec: ModelSpec,
    identity: Mapping[str, Any],
    run: Mapping[str, Any],
) -> None:
    values = {
        "fingerprint": fingerprint_digest(identity),
        "identity": _json(identity),
        "spec": _json(spec.to_dict()),
        "state": PARTIAL,  # until all is there: a run that dies cannot say so
        "started": _now(),
        **{key: v if isinstance(v, str) else _json(v) for key, v in run.items()},
    }
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(f"DELETE FROM {RUN_TABLE}")
    statement = f"INSERT INTO {RUN_TABLE} ({columns}) VALUES ({marks})"
    connection.execute(statement, tuple(values.values()))


def _rows_bytes(count: int, spec: ModelSpec) -> int:
    classes = len(spec.classes)
    return result_bytes(count, count, classes) - result_bytes(0, 0, classes)


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _remove(target: Path) -> None:
    for path in (target, *(Path(f"{target}{end}") for end in ("-journal", "-wal", "-shm"))):
        path.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
