"""The one worker of a session: what it costs to use it again, and to give up early."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mm_qgis_plugin import settings, worker
from mm_qgis_plugin.core.contract.errors import CancelledError, WorkerCrashedError
from mm_qgis_plugin.core.contract.job import ClassifyJob, RasterSource

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts stand in for Python")

FAKE = Path(__file__).resolve().parents[1] / "fake_workers" / "misbehave.py"
JOB = ClassifyJob((RasterSource("s2.tif"),), (RasterSource("s1.tif"),), "model", "out.gpkg")


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str], Path]:
    """Make an interpreter of a shell script the one that the user has set."""

    def install(script: str) -> Path:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        settings.remember(settings.WORKER_PYTHON, str(path))
        return path

    return install


@pytest.fixture
def session(qgis_app):
    made = worker.SessionWorker()
    yield made
    made.close()


def as_mode(mode: str, asked: Path) -> str:
    """Return a script that notes when it is asked for its packages, and is a fake worker else."""
    return (
        f"[ $2 = -c ] && echo asked >> '{asked}' && echo missing && exit\n"
        f"exec '{sys.executable}' -I '{FAKE}' {mode}"
    )


def test_a_second_run_asks_no_python(session, python, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    python(as_mode("behave", asked))
    for _ in range(3):
        assert session.run(JOB, lambda message: None, lambda: False).state == "complete"
    assert asked.read_text() == "asked\n"


def test_after_a_crash_the_python_is_asked_again(session, python, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    python(as_mode("exit_early", asked))
    for _ in range(2):
        with pytest.raises(WorkerCrashedError, match="no module named torch"):
            session.run(JOB, lambda message: None, lambda: False)
    assert asked.read_text() == "asked\n" * 2


@pytest.mark.parametrize("act", ["run", "inspect"])
def test_a_cancel_does_not_wait_for_a_python_that_does_not_answer(
    session, python, act: str
) -> None:
    python("exec sleep 60")
    started = time.monotonic()

    def is_cancelled() -> bool:
        return time.monotonic() - started > 0.5

    arguments = (JOB, is_cancelled) if act == "inspect" else (JOB, print, is_cancelled)
    with pytest.raises(CancelledError):
        getattr(session, act)(*arguments)
    assert time.monotonic() - started < 2.5
