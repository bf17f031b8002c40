"""Long work on the main thread, a slice at a time: QGIS answers in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from qgis.PyQt.QtCore import QObject, QTimer

# With what QGIS itself does between two slices, mouse and keys wait less than 50 ms.
_SLICE_SECONDS = 0.006
_PAUSE_MILLISECONDS = 4

OnEnd = Callable[[Any, "Exception | None"], None]


class Steps(QObject):
    """Runs a generator, which yields wherever it may be left for a while."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._work: Iterator[None] = iter(())
        self._on_end: OnEnd = lambda value, problem: None
        # Not a repeating one: it would be late after each slice, and leave no pause.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MILLISECONDS)
        self._timer.timeout.connect(self._slice)
        self._is_running = False

    @property
    def is_running(self) -> bool:
        """Whether there is work left."""
        return self._is_running

    def start(self, work: Iterator[None], on_end: OnEnd) -> None:
        """Begin soon. What the generator returns, or raises, goes to ``on_end``."""
        self._work, self._on_end = work, on_end
        self._is_running = True
        self._timer.start()

    def stop(self) -> None:
        """Drop what is left; nobody is told."""
        self._timer.stop()
        self._is_running = False
        self._work = iter(())

    def cut_short(self) -> None:
        """Drop what is left: the work ends soon, without a value."""
        self._work = iter(())

    def _slice(self) -> None:
        work, until = self._work, time.perf_counter() + _SLICE_SECONDS
        try:
            while work is self._work and time.perf_counter() < until:
                next(work)
        except StopIteration as end:
            self._end(end.value, None)
        except Exception as problem:  # noqa: BLE001  # whoever started the work tells it
            self._end(None, problem)
        else:
            if self._is_running:
                self._timer.start()

    def _end(self, value: Any, problem: Exception | None) -> None:
        self.stop()
        self._on_end(value, problem)
