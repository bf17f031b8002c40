"""What the command line says: on any terminal, into any pipe."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from .contract._codec import finite
from .contract.errors import JobError, MultimodalError


def allow_any_character() -> None:
    """Escape what a terminal or a log cannot show: the name of a file must not end a good run."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def as_json(payload: Mapping[str, Any]) -> str:
    """Return one line of JSON, null where a number is none."""
    return json.dumps(finite(payload), default=str, allow_nan=False)


def write_out(lines: Iterable[str]) -> None:
    """Print lines on standard output. A reader that is gone, like ``head``, wants no more.

    Raises:
        JobError: they cannot be written.
    """
    try:
        for line in lines:
            if sys.stdout is None:  # closed before Python began, which then prints into nothing
                raise JobError("The answer cannot be written: standard output is closed.")
            print(line)
        print(end="", flush=True)
    except BrokenPipeError:
        _discard()
    except OSError as problem:
        _discard()
        raise JobError(f"The answer cannot be written to standard output ({problem}).") from problem


def explain(problem: MultimodalError, options: argparse.Namespace) -> None:
    """Say what went wrong, in JSON too where that was asked for."""
    with suppress(OSError):  # a closed terminal: nobody is there to be told
        if options.debug:
            traceback.print_exc()
        print(f"Error: {problem.message}", file=sys.stderr, flush=True)
    if options.json:
        with suppress(JobError):
            write_out([as_json({"error": problem.to_dict()})])


def _discard() -> None:
    """Let go of what is left: Python would try to write it at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
