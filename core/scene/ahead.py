"""A producer on a thread of its own, one item ahead of its consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from ..stages import stage

JOIN_SECONDS = 10.0

T = TypeVar("T")


def read_ahead(
    produce: Callable[[Callable[[], bool]], Iterator[T]], is_cancelled: Callable[[], bool]
) -> Iterator[T]:
    """Run ``produce(stopped)`` in a thread, one item ahead of the consumer.

    An error of the thread is raised here. The thread ends when this generator is closed, at a
    cancel, and at the end.
    """
    ready: queue.Queue[Any] = queue.Queue(maxsize=1)
    closed = threading.Event()

    def stopped() -> bool:
        return closed.is_set() or is_cancelled()

    arguments = (produce, stopped, ready)
    thread = threading.Thread(target=_produce, args=arguments, name="scene-reader", daemon=True)
    thread.start()
    try:
        yield from _consume(ready, stopped)
    finally:
        closed.set()
        # Not for ever: a network read that hangs must not hang the caller. The thread alone closes
        # what it has opened, when it is back: closing it here would pull it away under GDAL.
        thread.join(JOIN_SECONDS)


def _produce(
    produce: Callable[[Callable[[], bool]], Iterator[T]],
    stopped: Callable[[], bool],
    ready: queue.Queue[Any],
) -> None:
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


def _consume(ready: queue.Queue[Any], stopped: Callable[[], bool]) -> Iterator[Any]:
    while not stopped():
        try:
            with stage("waiting"):
                item = ready.get(timeout=0.1)
        except queue.Empty:
            continue
        if item is _END:
            return
        if isinstance(item, _Failure):
            raise item.problem
        yield item


@dataclass(frozen=True)
class _Failure:
    problem: BaseException


_END = object()
