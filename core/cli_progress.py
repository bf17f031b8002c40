"""The progress bar of the command line, on stderr."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from .contract.messages import Log, Message, Phase, Plan, Progress


class ProgressBar:
    """Shows what a run says: its phases, its warnings and how far it is."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._step: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in filter(None, (self._bar, self._step)):
            with suppress(OSError):
                bar.close()

    def show(self, message: Message) -> None:
        """Take one message of the pipeline."""
        if not self._quiet:
            with suppress(OSError):  # a terminal that was closed does not end a run
                self._show(message)

    def _show(self, message: Message) -> None:
        if isinstance(message, Plan):
            done = message.tiles - message.todo
            self._bar = tqdm(total=message.tiles, initial=done, unit="tile", file=sys.stderr)
        elif isinstance(message, Progress):
            self._advance(message)
        elif isinstance(message, Log):
            tqdm.write(f"{message.level}: {message.text}", file=sys.stderr)
        elif isinstance(message, Phase) and self._bar is None:
            tqdm.write(f"{message.text} ...", file=sys.stderr)

    def _advance(self, message: Progress) -> None:
        if self._bar is not None:
            self._bar.update(message.done - self._bar.n)
            return
        # Without a plan the count is a step among others: phases come after it.
        if self._step is None:
            self._step = tqdm(total=message.total, unit="tile", file=sys.stderr)
        self._step.update(message.done - self._step.n)
        if message.done == message.total:
            self._step.close()
            self._step = None
