"""Messages between client and worker: one JSON object a line, ``{type, job, payload}``.

To the worker: :class:`Classify`, :class:`Inspect`, :class:`Benchmark`, :class:`Cancel`,
:class:`Shutdown`. From the worker: :class:`Hello` first, then for each job :class:`Phase`,
:class:`Plan`, :class:`Rows`, :class:`Progress`, :class:`Log`, every few seconds a
:class:`Heartbeat`, and at last exactly one of :class:`Finished`, :class:`Inspected`,
:class:`Measured` and :class:`Failed` (a cancelled run is Finished with state ``partial``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Union

from ._codec import as_object, take
from .benchmark import BenchmarkOrder, order_from_dict
from .errors import MultimodalError, ProtocolError, error_from_dict
from .job import ClassifyJob, job_from_dict
from .result import RunSummary, TileResult, summary_from_dict, tile_from_dict

PROTOCOL_VERSION = 3
EARLIER_RUN, RECKONED = "earlier run", "reckoned"
"""How the speed behind ``estimate.seconds`` of a report is known: its ``estimate.basis``."""
_NUMBER = (int, float)
_MOST_DIGITS = 300
# A line has 16 MiB at most, and a model may have 1900 classes. And QGIS waits while Python reads a
# line, or looks for garbage, which many rows at once bring about.
_ROWS_A_LINE = 64


@dataclass(frozen=True)
class Hello:
    """The worker is up: protocol and engine version, Python, process id, its log file or ""."""

    protocol: int
    version: str
    python: str
    pid: int
    log: str


@dataclass(frozen=True)
class Classify:
    """Run this job."""

    job: ClassifyJob


@dataclass(frozen=True)
class Inspect:
    """Say what is understood of this job's scene; nothing is written."""

    job: ClassifyJob


@dataclass(frozen=True)
class Benchmark:
    """Measure how fast this machine classifies."""

    order: BenchmarkOrder


@dataclass(frozen=True)
class Cancel:
    """Stop the running job; keep what is finished."""


@dataclass(frozen=True)
class Shutdown:
    """End the process after the running job was cancelled."""


@dataclass(frozen=True)
class Phase:
    """What goes on: ``wait`` (for another run), ``open``, ``model``, ``classify``, ``finish``."""

    name: str
    text: str


@dataclass(frozen=True)
class Plan:
    """What the run is going to be, before the first tile.

    ``expected_skipped`` of all ``tiles`` are likely to get no class, by a sample.
    """

    tiles: int
    todo: int
    crs_wkt: str
    device: str
    precision: str
    batch_size: int
    expected_skipped: int = 0


@dataclass(frozen=True)
class Rows:
    """Tiles that stand in the journal, on disk."""

    rows: tuple[TileResult, ...]


def rows_in_lines(rows: Sequence[TileResult]) -> Iterator[Rows]:
    """Yield any number of rows in messages that are short enough for a line."""
    for first in range(0, len(rows), _ROWS_A_LINE):
        yield Rows(tuple(rows[first : first + _ROWS_A_LINE]))


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` tiles; ``eta_seconds`` is None until there is a rate."""

    done: int
    total: int
    tiles_per_second: float
    eta_seconds: float | None


@dataclass(frozen=True)
class Log:
    """A line for the user; ``level`` is ``info`` or ``warning``."""

    level: str
    text: str


@dataclass(frozen=True)
class Heartbeat:
    """The process lives: some thread of it still runs Python.

    That says nothing of the job's own thread, which may wait for a dead drive. Its last ``phase``,
    in words, and for how many seconds it has told nothing new come along.
    """

    phase: str
    quiet_seconds: float


@dataclass(frozen=True)
class Finished:
    """The run is over and its file closed; ``state`` says whether it is complete."""

    summary: RunSummary


@dataclass(frozen=True)
class Inspected:
    """What was understood, with the keys of ``multimodal inspect scene --json``."""

    report: Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What a benchmark measured, with the keys of ``multimodal benchmark --json``."""

    result: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """The run ended with an error; finished tiles stand in the journal all the same."""

    error: MultimodalError


Message = Union[
    Hello, Classify, Inspect, Benchmark, Cancel, Shutdown, Phase, Plan, Rows, Progress, Log,
    Heartbeat, Finished, Inspected, Measured, Failed,
]  # fmt: skip


def encode(message: Message, job: str = "") -> str:
    """Return the message as one line of JSON, without the newline. NaN is refused."""
    name = type(message).__name__.lower()
    payload = _WRITERS.get(type(message), vars)(message)
    return json.dumps(
        {"type": name, "job": job, "payload": payload}, allow_nan=False, separators=(",", ":")
    )


def decode(line: str) -> tuple[str, Message]:
    """Return (job, message); anything that is not a message is a :class:`ProtocolError`."""
    try:
        data = as_object(json.loads(line, **_STRICT), ProtocolError, "A message")
    except (ValueError, RecursionError) as problem:
        raise ProtocolError(f"A message is not JSON: {line[:200]!r}") from problem
    name = take(data, "type", str, ProtocolError, "message")
    job = take(data, "job", str, ProtocolError, "message")
    payload = take(data, "payload", dict, ProtocolError, "message")
    if name not in _READERS:
        raise ProtocolError(f"Message type '{name}' is unknown.")
    try:
        return job, _READERS[name](payload)
    # An ArithmeticError is a whole number that no float can hold.
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as problem:
        raise ProtocolError(f"A '{name}' message is malformed: {problem}") from problem


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _whole(text: str) -> int:
    return int(text) if len(text) <= _MOST_DIGITS else _no_number(f"{text[:20]}...")


# json reads NaN, 1e999 as infinity, and whole numbers that no float holds.
_STRICT: dict[str, Any] = {
    "parse_constant": _no_number, "parse_float": _finite, "parse_int": _whole,
}  # fmt: skip


def _plain(cls: Callable[..., Any], **kinds: Any) -> Callable[[Mapping[str, Any]], Any]:
    def read(payload: Mapping[str, Any]) -> Any:
        where = cls.__name__.lower()
        return cls(**{k: take(payload, k, kind, ProtocolError, where) for k, kind in kinds.items()})

    return read


_WRITERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    Classify: lambda message: message.job.to_dict(),
    Inspect: lambda message: message.job.to_dict(),
    Benchmark: lambda message: message.order.to_dict(),
    Rows: lambda message: {"rows": [row.to_dict() for row in message.rows]},
    Finished: lambda message: message.summary.to_dict(),
    Failed: lambda message: message.error.to_dict(),
}

_READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "hello": _plain(Hello, protocol=int, version=str, python=str, pid=int, log=str),
    "classify": lambda payload: Classify(job_from_dict(payload)),
    "inspect": lambda payload: Inspect(job_from_dict(payload)),
    "benchmark": lambda payload: Benchmark(order_from_dict(payload)),
    "cancel": _plain(Cancel),
    "shutdown": _plain(Shutdown),
    "phase": _plain(Phase, name=str, text=str),
    "plan": _plain(
        Plan, tiles=int, todo=int, crs_wkt=str, device=str, precision=str, batch_size=int,
        expected_skipped=int,
    ),
    "rows": lambda payload: Rows(
        tuple(tile_from_dict(row) for row in take(payload, "rows", list, ProtocolError, "rows"))
    ),
    "progress": _plain(
        Progress, done=int, total=int, tiles_per_second=_NUMBER,
        eta_seconds=(int, float, type(None)),
    ),
    "log": _plain(Log, level=str, text=str),
    "heartbeat": _plain(Heartbeat, phase=str, quiet_seconds=_NUMBER),
    "inspected": _plain(Inspected, report=dict),
    "measured": _plain(Measured, result=dict),
    "finished": lambda payload: Finished(summary_from_dict(payload)),
    "failed": lambda payload: Failed(error_from_dict(dict(payload))),
}  # fmt: skip
