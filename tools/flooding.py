"""A worker that has 8,281 rows to tell and computes nothing: ``flooding.py [ROWS_PER_SECOND]``.

It writes them as a run does, and tells each after its commit. Without a rate it is as quick as
its disk.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from many_rows import SPEC, TILES, WKT, many_rows, open_journal

from multimodal.contract.messages import (
    PROTOCOL_VERSION,
    Classify,
    Finished,
    Hello,
    Message,
    Phase,
    Plan,
    Progress,
    decode,
    encode,
    rows_in_lines,
)
from multimodal.contract.result import COMPLETE, RunSummary, TileResult
from multimodal.row_writer import RowWriter

BATCH = 32


class Flood:
    """One run: batches at a rate, as a graphics card yields them."""

    def __init__(self, job: str, path: str, rate: float) -> None:
        self._job = job
        self._path = path
        self._rate = rate
        self._started = time.monotonic()
        self._done = 0

    def say(self, message: Message) -> None:
        """Write a line to whoever ordered the run."""
        print(encode(message, self._job), flush=True)

    def run(self) -> None:
        """Write and tell all rows."""
        self.say(Plan(TILES, TILES, WKT, "cpu", "fp32", BATCH))
        self.say(Phase("classify", f"Classifying {TILES} tiles"))
        journal, rows = open_journal(Path(self._path)), many_rows()
        self._started = time.monotonic()
        with RowWriter(journal.append, self._tell) as writer:
            for first in range(0, TILES, BATCH):
                self._keep_the_rate(first)
                writer.add(rows[first : first + BATCH])
        journal.close(COMPLETE)
        seconds = time.monotonic() - self._started
        self.say(
            Finished(
                RunSummary(
                    self._path, TILES, TILES, 0, "cpu", "fp32", seconds, TILES / seconds, COMPLETE
                )
            )
        )

    def _keep_the_rate(self, done: int) -> None:
        if self._rate:
            time.sleep(max(0.0, self._started + done / self._rate - time.monotonic()))

    def _tell(self, rows: Sequence[TileResult]) -> None:
        self._done += len(rows)
        for line in rows_in_lines(rows):
            self.say(line)
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        self.say(Progress(self._done, TILES, rate, (TILES - self._done) / rate))


def main() -> None:
    """Serve runs until nobody orders one."""
    rate = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    assert len(many_rows()[0].probabilities or ()) == len(SPEC.classes)
    print(
        encode(Hello(PROTOCOL_VERSION, "0", platform.python_version(), os.getpid(), "")), flush=True
    )
    for line in sys.stdin:
        job, order = decode(line)
        if isinstance(order, Classify):
            Flood(job, order.job.output, rate).run()


if __name__ == "__main__":
    main()
