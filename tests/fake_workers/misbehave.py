"""A worker that misbehaves in the way its first argument names. Standard library only.

It speaks the protocol by hand, so that a mistake in the contract's own code shows.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

SUMMARY = {
    "output": "out.gpkg", "tiles": 2, "classified": 1, "skipped": 1, "device": "cpu",
    "precision": "fp32", "seconds": 1.0, "tiles_per_second": 2.0, "state": "complete",
    "skipped_reasons": {"no data": 1}, "warnings": [],
}  # fmt: skip


def say(kind: str, job: str, **payload: object) -> None:
    print(json.dumps({"type": kind, "job": job, "payload": payload}), flush=True)


def hello(protocol: int = 3) -> None:
    say("hello", "", protocol=protocol, version="0", python="3", pid=os.getpid(), log="")


def next_order() -> dict:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def behave() -> None:
    while (order := next_order())["type"] == "classify":
        job = order["job"]
        say("log", job, level="info", text=f"pid {os.getpid()}")
        say("progress", job, done=1, total=2, tiles_per_second=2.0, eta_seconds=None)
        say("finished", job, **SUMMARY)


def crash() -> None:
    next_order()
    print("libfoo: corrupted heap", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def leave_a_child() -> None:
    next_order()
    child = subprocess.Popen(["sleep", "60"])  # inherits stdout and stderr
    print(f"child {child.pid}", file=sys.stderr, flush=True)
    os._exit(4)


def exit_early() -> None:
    print("ImportError: no module named torch", file=sys.stderr, flush=True)
    sys.exit(3)


def garbage() -> None:
    job = next_order()["job"]
    print("WARNING: some library prints here", flush=True)
    print('{"type": "nonsense"', flush=True)
    say("finished", job, **SUMMARY)


def flood() -> None:
    job = next_order()["job"]
    for number in range(20_000):
        print(f"warning {number}: " + "x" * 100, file=sys.stderr)
    say("finished", job, **SUMMARY)


def ignore_cancel() -> None:
    next_order()
    while True:
        time.sleep(0.1)


def obey_cancel() -> None:
    job = next_order()["job"]
    say("phase", job, name="classify", text="Classifying")
    while next_order()["type"] != "cancel":
        pass
    say("finished", job, **{**SUMMARY, "state": "partial"})
    behave()


def obey_cancel_at_once() -> None:
    """Stopped before the first tile."""
    job = next_order()["job"]
    while next_order()["type"] != "cancel":
        pass
    nothing = {"classified": 0, "skipped": 0, "state": "partial", "skipped_reasons": {}}
    say("finished", job, **{**SUMMARY, **nothing})
    behave()


def exit_in_job() -> None:
    next_order()
    print("giving up", file=sys.stderr, flush=True)
    sys.exit(7)


def malformed_end() -> None:
    say("finished", next_order()["job"], output="out.gpkg")
    next_order()


def hang() -> None:
    """Stopped as by a debugger: alive, and no thread of it runs."""
    say("phase", next_order()["job"], name="classify", text="Classifying 2 tiles")
    os.kill(os.getpid(), signal.SIGSTOP)


def stall() -> None:
    """Beats, and does not get on for some minutes of its own clock; then it does."""
    job = next_order()["job"]
    say("phase", job, name="open", text="Opening the rasters")
    for quiet in range(0, 301, 10):
        say("heartbeat", job, phase="Opening the rasters", quiet_seconds=quiet)
    say("log", job, level="info", text="at last")
    time.sleep(1.0)  # longer than the silence that is borne, but for the heartbeat
    say("heartbeat", job, phase="Opening the rasters", quiet_seconds=0)
    time.sleep(1.0)
    say("finished", job, **SUMMARY)


def close_output() -> None:
    """Nobody can hear it any more, and it goes on."""
    next_order()
    os.close(1)
    time.sleep(60)


def endless_line() -> None:
    next_order()
    for _ in range(17):
        sys.stdout.write("x" * 2**20)
    print(flush=True)
    time.sleep(60)


def segfault() -> None:
    """In native code, with faulthandler's words as the real worker has them."""
    import ctypes
    import faulthandler

    faulthandler.enable()
    next_order()
    print("libfoo: corrupted heap", file=sys.stderr, flush=True)
    ctypes.string_at(0)


def deaf() -> None:
    """Never reads, so that a long order fills the pipe."""
    time.sleep(60)


def fail() -> None:
    while (order := next_order())["type"] == "classify":
        say("failed", order["job"], code="no_overlap", message="They do not meet.", details={})


def lose_gpu() -> None:
    order = next_order()
    details = {"lost": True}
    say("failed", order["job"], code="device", message="The GPU failed.", details=details)
    time.sleep(60)


def main(mode: str) -> None:
    if mode == "silent":
        time.sleep(60)
    if mode == "exit_early":
        exit_early()
    hello(99 if mode == "other_protocol" else 3)
    {
        "behave": behave, "crash": crash, "garbage": garbage, "flood": flood, "fail": fail,
        "ignore_cancel": ignore_cancel, "obey_cancel": obey_cancel, "other_protocol": behave,
        "exit_in_job": exit_in_job, "leave_a_child": leave_a_child,
        "obey_cancel_at_once": obey_cancel_at_once, "malformed_end": malformed_end, "deaf": deaf,
        "hang": hang, "stall": stall, "close_output": close_output, "segfault": segfault,
        "endless_line": endless_line, "lose_gpu": lose_gpu,
    }[mode]()  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
