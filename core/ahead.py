"""Producers on threads of their own, some items ahead of their consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from .stages import stage

JOIN_SECONDS = 10.0

T = TypeVar("T")
Produce = Callable[[Callable[[], bool]], Iterator[T]]
"""Gives items until it has no more, or until what it is handed says that it should stop."""


def read_ahead(
    producers: Sequence[Produce[T]],
    is_cancelled: Callable[[], bool] = lambda: False,
    *,
    name: str,
    waiting: str | None = None,
) -> Iterator[T]:
    """Run each producer in a thread, one item ahead of the consumer, and yield what comes first.

    The items of one producer come in its order. An error of a thread is raised here, after what
    was ready before it. The threads end when this generator is closed, at a cancel, and at the
    end.

    Args:
        name: of the threads.
        waiting: the stage that the time spent waiting here counts for.
    """
    ready: queue.Queue[Any] = queue.Queue(maxsize=1)
    closed = threading.Event()

    def stopped() -> bool:
        return closed.is_set() or is_cancelled()

    threads = [
        threading.Thread(target=_produce, args=(produce, stopped, ready), name=name, daemon=True)
        for produce in producers
    ]
    for thread in threads:
        thread.start()
    try:
        yield from _consume(ready, len(threads), stopped, waiting)
    finally:
        closed.set()
        # Not for ever: a network read that hangs must not hang the caller. The thread alone closes
        # what it has opened, when it is back: closing it here would pull it away under GDAL.
        for thread in threads:
            thread.join(JOIN_SECONDS)


def _produce(produce: Produce[T], stopped: Callable[[], bool], ready: queue.Queue[Any]) -> None:
    try:
        with closing(produce(stopped)) as items:  # type: ignore[type-var]  # a generator
            for item in items:
                if not _put(ready, item, stopped):
                    return
        _put(ready, _END, stopped)
    except BaseException as problem:  # noqa: BLE001  # raised again in the consumer's thread
        _put(ready, _Failure(problem), stopped)


def _put(ready: queue.Queue[Any], item: object, stopped: Callable[[], bool]) -> bool:
    while not stopped():
        try:
            ready.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False


def _consume(
    ready: queue.Queue[Any], producers: int, stopped: Callable[[], bool], waiting: str | None
) -> Iterator[Any]:
    while producers and not stopped():
        try:
            with stage(waiting) if waiting else nullcontext():
                item = ready.get(timeout=0.1)
        except queue.Empty:
            continue
        if item is _END:
            producers -= 1
        elif isinstance(item, _Failure):
            raise item.problem
        else:
            yield item


@dataclass(frozen=True)
class _Failure:
    problem: BaseException


_END = object()
