"""A cancel while a scene is looked at: asked for wherever a file is opened or read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

from ..contract.errors import CancelledError

Given = TypeVar("Given")
Made = TypeVar("Made")

# Of the context, not an argument: files are opened and read at the end of many calls.
_is_cancelled: ContextVar[Callable[[], bool]] = ContextVar("is_cancelled", default=lambda: False)


@contextmanager
def stopped_by(is_cancelled: Callable[[], bool]) -> Iterator[None]:
    """Let :func:`go_on` ask ``is_cancelled`` in this block."""
    before = _is_cancelled.set(is_cancelled)
    try:
        yield
    finally:
        _is_cancelled.reset(before)


def go_on() -> None:
    """Raise a CancelledError where a cancel was asked for."""
    if _is_cancelled.get()():
        raise CancelledError("Cancelled while the rasters were looked at. Finished tiles are kept.")


def on_any_thread(work: Callable[[Given], Made]) -> Callable[[Given], Made]:
    """Return ``work`` so that it can be stopped on threads of a pool too."""
    context = copy_context()
    # A context can be entered by one thread at a time.
    return lambda given: context.copy().run(work, given)
