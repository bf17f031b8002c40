"""Rows on their way to the result: how many go into one commit, and when they are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from .contract.result import TileResult

# A commit waits for the disk, some milliseconds or, on a slow one, a tenth of a second, whatever
# the number of rows. Of the run's time at most this share goes into it.
SHARE = 0.05
# But a run that is killed loses no more than this, and the map grows as one looks at it.
_MOST_SECONDS = 0.5
_MOST_ROWS = 512

TakeRows = Callable[[Sequence[TileResult]], None]


class RowWriter:
    """Holds rows back for as long as the last commits cost, and never tells one before its commit.

    Rows are held only where more of them are about to come: those of a slow model, seconds apart,
    are committed as they are. Left, it commits what it holds, also where an error is on its way.

    Args:
        commit: has the rows on disk when it returns.
        tell: what is to be said of rows that are there.
    """

    def __init__(
        self, commit: TakeRows, tell: TakeRows, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._commit = commit
        self._tell = tell
        self._clock = clock
        self._held: list[TileResult] = []
        self._due = self._left = clock()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.flush()
            return
        # That the disk fails too is not told: the first error is the one to mend.
        with suppress(Exception):
            self.flush()

    def add(self, rows: Sequence[TileResult]) -> None:
        """Take rows, and commit all that is held where the next ones would come too late."""
        now = self._clock()
        self._held += rows
        until_next = now - self._left
        if now + until_next >= self._due or len(self._held) >= _MOST_ROWS:
            self.flush()
        self._left = self._clock()

    def flush(self) -> None:
        """Commit and tell what is held. Rows whose commit failed are gone: no second attempt."""
        rows, self._held = self._held, []
        if not rows:
            return
        started = self._clock()
        self._commit(rows)
        ended = self._clock()
        self._due = ended + min((ended - started) / SHARE, _MOST_SECONDS)
        self._tell(rows)

    def drop(self) -> None:
        """Forget what is held: it turned out not to be of this run."""
        self._held.clear()
