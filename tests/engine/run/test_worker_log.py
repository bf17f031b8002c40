"""The log file by itself: it rotates, and several workers do not spoil each other's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
