"""Long work in slices: QGIS goes on living, and the end is told once."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest
from qgis.PyQt.QtCore import QObject, QTimer

from mm_qgis_plugin.gui.steps import Steps


class Ended:
    """Remembers how work ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[object, Exception | None]] = []

    def __call__(self, value: object, problem: Exception | None) -> None:
        self.ends.append((value, problem))


@pytest.fixture
def steps(qgis_app) -> Steps:
    return Steps(QObject(qgis_app))


def long_work(done: list[int], count: int = 100) -> Generator[None, None, str]:
    for number in range(count):
        time.sleep(0.002)
        done.append(number)
        yield
    return "result"


def test_other_timers_tick_while_work_is_done(steps: Steps, spin_until) -> None:
    done: list[int] = []
    seen: list[int] = []
    timer = QTimer()
    timer.timeout.connect(lambda: seen.append(len(done)))
    timer.start(0)
    ended = Ended()
    steps.start(long_work(done), ended)
    assert done == []
    spin_until(lambda: ended.ends)
    timer.stop()
    assert ended.ends == [("result", None)]
    assert done == list(range(100))
    # Never more than a slice between two ticks: 6 ms of steps of 2 ms.
    assert max(b - a for a, b in zip(seen, seen[1:])) <= 4
    assert not steps.is_running


def test_what_the_work_raises_is_told(steps: Steps, spin_until) -> None:
    def failing() -> Generator[None, None, None]:
        yield
        raise ValueError("no")

    ended = Ended()
    steps.start(failing(), ended)
    spin_until(lambda: ended.ends)
    [(value, problem)] = ended.ends
    assert value is None
    assert isinstance(problem, ValueError)


def test_work_that_is_stopped_ends_without_a_word(steps: Steps, spin_until) -> None:
    done: list[int] = []
    ended = Ended()
    steps.start(long_work(done), ended)
    spin_until(lambda: done)
    steps.stop()
    count, until = len(done), time.monotonic() + 0.1
    spin_until(lambda: time.monotonic() > until)
    assert len(done) == count
    assert ended.ends == []
    assert not steps.is_running


def test_work_that_is_cut_short_ends_soon_without_a_value(steps: Steps, spin_until) -> None:
    done: list[int] = []
    ended = Ended()
    steps.start(long_work(done), ended)
    spin_until(lambda: done)
    steps.cut_short()
    spin_until(lambda: ended.ends)
    assert ended.ends == [(None, None)]
    assert len(done) < 100


def test_whoever_is_told_of_the_end_may_start_again(steps: Steps, spin_until) -> None:
    ended = Ended()
    steps.start(iter(()), lambda *_: steps.start(long_work([], 2), ended))
    spin_until(lambda: ended.ends)
    assert ended.ends == [("result", None)]
