"""Where a run's time goes, by stage and thread; costs nothing while nobody asks."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

STAGES = ("read", "warp", "prepare", "forward", "write", "waiting")
"""Reading and unpacking blocks; resampling; units, indices, normalisation and packing; the
network; committing rows; the network waiting for tiles."""

_clocks: list[StageClock] = []


@dataclass(frozen=True)
class Span:
    """A stage on a thread from ``start`` for ``seconds`` (perf_counter), of which ``own`` seconds
    were not spent in stages within it."""

    stage: str
    thread: str
    start: float
    seconds: float
    own: float


@dataclass
class StageClock:
    """Takes the time of every stage of this process while it is entered."""

    spans: list[Span] = field(default_factory=list)
    _open: threading.local = field(default_factory=threading.local)

    def __enter__(self) -> StageClock:
        _clocks.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _clocks.remove(self)

    def seconds(self) -> dict[str, float]:
        """Return seconds by stage, all threads together; a stage within another counts once."""
        total: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        for span in self.spans:
            total[span.stage] += span.own
        return total

    @contextmanager
    def take(self, name: str) -> Iterator[None]:
        """Take the time of a stage on this thread."""
        above: list[float] = self._open.__dict__.setdefault("inner", [])
        above.append(0.0)
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            inner = above.pop()
            if above:
                above[-1] += seconds
            thread = threading.current_thread().name
            # Appending is atomic: no thread waits for another.
            self.spans.append(Span(name, thread, start, seconds, max(0.0, seconds - inner)))

    def write_trace(self, path: Path) -> None:
        """Write the spans as a Chrome trace, to be opened in chrome://tracing or Perfetto."""
        threads: defaultdict[str, int] = defaultdict(lambda: len(threads) + 1)
        begin = min((span.start for span in self.spans), default=0.0)
        process = os.getpid()
        events = [
            {"name": span.stage, "ph": "X", "pid": process, "tid": threads[span.thread],
             "ts": 1e6 * (span.start - begin), "dur": 1e6 * span.seconds}
            for span in self.spans
        ]  # fmt: skip
        names = [
            {"name": "thread_name", "ph": "M", "pid": process, "tid": number,
             "args": {"name": thread}}
            for thread, number in threads.items()
        ]  # fmt: skip
        path.write_text(json.dumps({"traceEvents": [*names, *events]}), encoding="utf-8")


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Mark what this thread does; one of :data:`STAGES`."""
    if not _clocks:
        yield
        return
    with _clocks[-1].take(name):
        yield
