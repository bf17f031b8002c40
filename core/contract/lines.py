"""Lines of a pipe, none of them longer than a machine can bear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

MAX_LINE = 16 * 2**20
"""Bytes. The longest orders hold an area of interest: some 400 000 corners fit."""


def lines_of(stream: IO[bytes], limit: int = MAX_LINE) -> Iterator[str | None]:
    """Yield each line as text, None for one that is longer than ``limit`` and was read over."""
    while line := stream.readline(limit + 1):
        if len(line) > limit and not line.endswith(b"\n"):
            _skip(stream, limit)
            yield None
        else:
            # What is no UTF-8 is no message of ours; it is quoted all the same.
            yield line.decode("utf-8", "replace").rstrip("\r\n")


def _skip(stream: IO[bytes], limit: int) -> None:
    while rest := stream.readline(limit):
        if rest.endswith(b"\n"):
            return
