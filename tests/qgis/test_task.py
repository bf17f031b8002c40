"""The tasks in QGIS's own task manager: threads, progress, cancel, and every way to end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QThread

from mm_qgis_plugin import task as tasks
from mm_qgis_plugin.core.contract.errors import (
    CancelledError,
    InternalError,
    MultimodalError,
    ProtocolError,
    WorkerCrashedError,
)
from mm_qgis_plugin.core.contract.job import ClassifyJob, RasterSource
from mm_qgis_plugin.core.contract.messages import Message, Phase, Plan, Progress, Rows
from mm_qgis_plugin.core.contract.result import RunSummary
from mm_qgis_plugin.progress_text import plan_text, progress_text, repeat_text, summary_text
from mm_qgis_plugin.task import ClassifyTask

TILES = 8
CANCEL_SECONDS = 2.0


@pytest.fixture
def job(
    qgis_app, tmp_path: Path, s2_path: str, s1_path: str, model_folder: str
) -> Callable[..., ClassifyJob]:
    def make(**changes: object) -> ClassifyJob:
        values = {
            "s2": (RasterSource(s2_path),), "s1": (RasterSource(s1_path),), "device": "cpu",
            "model": model_folder, "output": str(tmp_path / "out.gpkg"), **changes,
        }  # fmt: skip
        return ClassifyJob(**values)

    return make


@dataclass
class Seen:
    """What the signals of a task told, and on which thread."""

    messages: list[Message] = field(default_factory=list)
    ends: list[tuple[RunSummary | None, MultimodalError | None]] = field(default_factory=list)
    threads: set[QThread] = field(default_factory=set)
    fractions: list[float] = field(default_factory=list)

    def on_message(self, message: Message) -> None:
        assert not self.ends, "nothing may come after the end"
        self.messages.append(message)
        self.threads.add(QThread.currentThread())

    def on_ended(self, summary: RunSummary | None, problem: MultimodalError | None) -> None:
        self.ends.append((summary, problem))
        self.threads.add(QThread.currentThread())

    def of(self, kind: type) -> list:
        return [message for message in self.messages if isinstance(message, kind)]


@pytest.fixture
def start() -> Callable[[ClassifyJob], tuple[ClassifyTask, Seen]]:
    def begin(order: ClassifyJob) -> tuple[ClassifyTask, Seen]:
        task, seen = ClassifyTask(order), Seen()
        task.message.connect(seen.on_message)
        task.ended.connect(seen.on_ended)
        task.progressChanged.connect(seen.fractions.append)
        QgsApplication.taskManager().addTask(task)
        return task, seen

    return begin


def end_of(seen: Seen, spin_until) -> tuple[RunSummary | None, MultimodalError | None]:
    spin_until(lambda: seen.ends)
    (end,) = seen.ends
    return end


def test_messages_and_end_arrive_in_order_on_the_main_thread(
    job, start, spin_until, qgis_app
) -> None:
    _, seen = start(job(batch_size=2))
    summary, problem = end_of(seen, spin_until)
    assert problem is None
    assert (summary.classified, summary.skipped, summary.state) == (7, 1, "complete")
    assert seen.threads == {qgis_app.thread()}
    assert [plan.tiles for plan in seen.of(Plan)] == [TILES]
    assert sum(len(rows.rows) for rows in seen.of(Rows)) == TILES
    done = [progress.done for progress in seen.of(Progress)]
    assert done == sorted(done)
    assert done[-1] == TILES


def test_progress_of_the_task_bar_grows_to_the_end(job, start, spin_until) -> None:
    _, seen = start(job(batch_size=2))
    end_of(seen, spin_until)
    assert len(seen.fractions) > 1
    assert seen.fractions == sorted(seen.fractions)
    assert seen.fractions[-1] == pytest.approx(100.0)


def test_task_bar_tells_tiles_speed_and_time_left_once_a_second(job, start, spin_until) -> None:
    task, seen = start(job(stride=8, batch_size=8))
    told: list[str] = []
    task.progressChanged.connect(lambda _: told.append(task.description()))
    spin_until(lambda: len(set(told)) > 2)
    progresses = len(seen.of(Progress))
    task.cancel()
    end_of(seen, spin_until)
    assert told[0] == "Classifying Sentinel tiles"
    pattern = r"Classifying \d+ of \d+ tiles, \d+\.\d tiles/s, .* left"
    texts = sorted(set(told), key=told.index)
    assert all(re.fullmatch(pattern, text) for text in texts[1:]), texts
    assert len(texts) - 1 <= progresses / 2, "not for each batch"


def test_a_run_that_must_wait_says_so_once(job, start, spin_until, fake_worker) -> None:
    fake_worker("obey_cancel")
    first, seen_first = start(job())
    spin_until(lambda: first.status() == first.TaskStatus.Running)
    time.sleep(0.5)
    second, seen = start(job(stride=60))
    spin_until(lambda: seen.of(Phase))
    time.sleep(0.3)
    second.cancel()
    _, problem = end_of(seen, spin_until)
    assert isinstance(problem, CancelledError)
    assert [phase.text for phase in seen.of(Phase)] == ["Waiting for another run to end"]
    first.cancel()
    end_of(seen_first, spin_until)
    assert "wait" not in [phase.name for phase in seen_first.of(Phase)]


def test_cancel_ends_in_time_and_the_same_job_goes_on(job, start, spin_until) -> None:
    order = job(stride=8, batch_size=8)
    task, seen = start(order)
    spin_until(lambda: seen.of(Rows))
    started = time.monotonic()
    task.cancel()
    summary, problem = end_of(seen, spin_until)
    assert time.monotonic() - started < CANCEL_SECONDS
    assert problem is None
    assert summary.state == "partial"
    kept = summary.classified + summary.skipped
    assert 0 < kept < summary.tiles
    spin_until(lambda: not task.isActive())
    assert task.status() == task.TaskStatus.Complete, "QGIS would say 'Task failed' beside us"
    assert task.notice == "Classifying Sentinel tiles: stopped"
    _, again = start(order)
    whole, _ = end_of(again, spin_until)
    (plan,) = again.of(Plan)
    assert whole.state == "complete"
    assert plan.todo == plan.tiles - kept


def test_cancel_before_it_began_is_told(job, spin_until) -> None:
    task, seen = ClassifyTask(job()), Seen()
    task.ended.connect(seen.on_ended)
    task.hold()
    QgsApplication.taskManager().addTask(task)
    task.cancel()
    _, problem = end_of(seen, spin_until)
    assert isinstance(problem, CancelledError)
    assert not Path(task.job.output).exists()


def test_error_of_the_worker_keeps_its_words(job, start, spin_until) -> None:
    task, seen = start(job(extent_wkt="POLYGON((0 0, 1 0, 1 1, 0 1, 0 0))"))
    summary, problem = end_of(seen, spin_until)
    spin_until(lambda: not task.isActive())
    assert task.status() == task.TaskStatus.Complete, "QGIS would say 'Task failed' beside us"
    assert summary is None
    assert problem.code == "no_overlap"
    assert not Path(job().output).exists()


def test_defect_of_ours_is_reported_with_its_traceback(
    job, start, spin_until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "session_worker", lambda: 1 / 0)
    _, seen = start(job())
    _, problem = end_of(seen, spin_until)
    assert isinstance(problem, InternalError)
    assert "ZeroDivisionError" in problem.message
    assert "in work" in problem.details["traceback"]


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("crash", WorkerCrashedError, "corrupted heap"),
        ("exit_early", WorkerCrashedError, "no module named torch"),
        ("exit_in_job", WorkerCrashedError, "exit code 7"),
        ("other_protocol", ProtocolError, "restart QGIS after an upgrade"),
        ("malformed_end", ProtocolError, "not understood"),
    ],
)
def test_misbehaving_workers_are_explained(
    job, start, spin_until, fake_worker, mode: str, kind: type, words: str
) -> None:
    fake_worker(mode)
    _, seen = start(job())
    summary, problem = end_of(seen, spin_until)
    assert summary is None
    assert isinstance(problem, kind)
    assert words in problem.message


@pytest.mark.parametrize("mode", ["garbage", "flood", "behave"])
def test_noise_of_a_worker_does_no_harm(job, start, spin_until, fake_worker, mode: str) -> None:
    fake_worker(mode)
    _, seen = start(job())
    summary, problem = end_of(seen, spin_until)
    assert problem is None
    assert summary.state == "complete"


@pytest.mark.parametrize("mode", ["silent", "ignore_cancel", "deaf"])
def test_worker_that_does_not_listen_is_ended_in_time(
    job, start, spin_until, fake_worker, mode: str
) -> None:
    fake_worker(mode)
    task, seen = start(job())
    spin_until(lambda: task.status() == task.TaskStatus.Running)
    time.sleep(0.5)
    assert not seen.ends
    started = time.monotonic()
    task.cancel()
    _, problem = end_of(seen, spin_until)
    assert time.monotonic() - started < CANCEL_SECONDS
    assert isinstance(problem, CancelledError)


def test_words_for_one_tile_and_for_none_computed() -> None:
    plan = Plan(1, 1, "", "cpu", "fp32", 1)
    assert plan_text(plan) == "1 tile on cpu (fp32)"
    assert progress_text(Progress(1, 1, 2.0, None)) == "1 of 1 tile, 2.0 tiles/s"
    one = RunSummary("o.gpkg", 1, 1, 0, "cpu", "fp32", 2.0, 0.5, "complete")
    assert summary_text(one).startswith("1 tile classified, 0 skipped in 2 s: 0.5 tiles/s")
    again = repeat_text(one)
    assert "1 tile classified, 0 skipped" in again
    assert "nothing was computed" in again
    assert "tiles/s" not in again
