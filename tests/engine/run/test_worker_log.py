"""The log file by itself: it rotates, and several workers do not spoil each other's."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal import cli, pipeline
from multimodal.contract.job import ClassifyJob
from multimodal.contract.log_file import log_paths

WRITER = """
import sys
from multimodal.worker_log import LOGGER, start_log

path = start_log()
for number in range(int(sys.argv[1])):
    LOGGER.info("%s %s", number, "x" * 1000)
print(path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path):
    processes: list[subprocess.Popen[str]] = []
    folders = {"XDG_CACHE_HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path)}

    def begin(lines: int = 1) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(lines)],
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **folders},
            )
        )
        return processes[-1]

    yield begin
    for process in processes:
        process.communicate(timeout=30)


def test_three_files_of_one_megabyte(start, tmp_path: Path) -> None:
    writer = start(3500)
    log = Path(writer.stdout.readline().strip())
    writer.communicate(timeout=60)
    files = sorted(log.parent.glob("*.log*"))
    assert [path.name for path in files] == ["worker.log", "worker.log.1", "worker.log.2"]
    assert all(path.stat().st_size <= 1_000_000 for path in files)
    assert " 3499 xxx" in log.read_text()


def test_workers_at_once_have_files_of_their_own(start) -> None:
    first, second = start(), start()
    logs = [process.stdout.readline().strip() for process in (first, second)]
    assert {Path(log).name for log in logs} == {"worker.log", "worker-2.log"}
    first.kill()  # its lock goes with it
    first.wait()
    third = start()
    assert third.stdout.readline().strip() == logs[0]
    third.communicate(timeout=30)
    assert Path(logs[0]).read_text().count(" 0 xxx") == 2


def test_a_log_that_cannot_be_written_stops_nobody(start, tmp_path: Path) -> None:
    (tmp_path / "multimodal-sentinel").write_text("a file where the folder should be")
    writer = start()
    assert writer.stdout.readline() == "\n"
    writer.communicate(timeout=30)
    assert writer.returncode == 0


def classify(job: ClassifyJob, home: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user who lives there."""
    command = [
        sys.executable, "-m", "multimodal.cli", "classify", "--s2", job.s2[0].path,
        "--s1", job.s1[0].path, "--model", job.model, "--output", job.output, "--device", "cpu",
    ]  # fmt: skip
    surroundings = {"HOME": str(home), "USERPROFILE": str(home), "XDG_CACHE_HOME": str(home / "c")}
    return subprocess.run(
        [*command, *more], capture_output=True, text=True, check=False,
        env={**os.environ, **surroundings, "LOCALAPPDATA": str(home / "c")},
    )  # fmt: skip


def test_the_command_line_logs_its_runs_too(job: ClassifyJob, tmp_path: Path) -> None:
    assert classify(job, tmp_path, "--quiet").returncode == 0
    log = tmp_path / "c" / "multimodal-sentinel" / "logs" / "worker.log"
    text = log.read_text()
    assert "command line " in text
    assert "libraries: torch" in text
    assert "'output': '~/out.gpkg'" in text
    assert "Classifying 8 tiles on cpu" in text
    assert "complete: 7 of 8 tiles" in text
    assert str(tmp_path) not in text
    again = classify(replace(job, model=str(tmp_path)), tmp_path)
    assert again.returncode == 2
    assert " log '" not in again.stderr, "what is explained needs no log"
    assert "model_folder: " in log.read_text().removeprefix(text)


def test_what_nobody_foresaw_names_the_log(
    job: ClassifyJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(pipeline, "classify", defect)
    before = list(logging.getLogger().handlers)
    arguments = ["classify", "--s2", job.s2[0].path, "--s1", job.s1[0].path, "--model", job.model,
                 "--output", job.output, "--json"]  # fmt: skip
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    (log,) = log_paths()[:1]
    assert f"The log '{log}' tells more" in said.err
    assert json.loads(said.out.splitlines()[-1])["error"]["details"] == {"log": str(log)}
    assert "Traceback" in log.read_text()
    assert "ZeroDivisionError: no such thing" in log.read_text()
    assert logging.getLogger().handlers == before
    assert cli.main(arguments) == 2
    assert log.read_text().count("ZeroDivisionError: no such thing") == 2, "the lock was let go"
