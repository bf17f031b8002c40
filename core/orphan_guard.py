"""The worker's end when its QGIS is gone, whatever the worker is busy with.

Two watchers, because each is blind to something. A thread (:func:`end_after`) works on every
system, but not while native code holds the interpreter's lock. A small process (:func:`guard`)
needs nothing of the worker's, but is to be had on POSIX alone.
"""

from __future__ import annotations

import os
import select
import signal
import threading

GRACE_SECONDS = 2.5
"""For a run to close its file after stdin was closed; what is committed stays in any case."""
_KILL_SECONDS = 3.5
_STDIN = 0


def guard() -> None:
    """Fork a process that kills this one when it outlives the other end of stdin.

    To be called first of all: with one thread, before anything heavy is in memory.
    """
    if not hasattr(os, "fork") or not hasattr(select, "poll"):
        return
    worker = os.getpid()
    watched, held = os.pipe()  # the worker's end of it closes with the worker
    if os.fork():
        os.close(watched)
        return
    try:
        os.close(held)
        _watch(worker, watched)
    finally:
        os._exit(0)


def end_after(seconds: float, is_over: threading.Event) -> None:
    """End this process if it is not over by itself in time."""
    if not is_over.wait(seconds):
        # No exit handlers: one of them may wait for the very thread that is stuck.
        os._exit(1)


def _watch(worker: int, watched: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _let_go(watched)
    poll = select.poll()
    for pipe in (_STDIN, watched):
        poll.register(pipe, 0)  # nothing is read: only that the other end is gone
    if any(pipe == watched for pipe, _ in poll.poll()):
        return
    poll.unregister(_STDIN)
    if not poll.poll(_KILL_SECONDS * 1000) and os.getppid() == worker:
        os.kill(worker, signal.SIGKILL)


def _let_go(watched: int) -> None:
    """Close stdout and stderr, by whose end the client sees that the worker is dead."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    os.closerange(3, watched)
    os.closerange(watched + 1, 256)
