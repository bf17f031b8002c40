"""The real worker over real pipes, started as the plugin starts it."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal.client.runtime import child_environment, worker_command
from multimodal.client.worker_client import WorkerClient
from multimodal.contract import messages as m
from multimodal.contract.errors import ModelFolderError, ProtocolError, WorkerCrashedError
from multimodal.contract.job import ClassifyJob
from multimodal.contract.lines import MAX_LINE
from multimodal.pipeline import classify

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The plugin's layout: worker_main.py with core/ beside it."""
    folder = tmp_path_factory.mktemp("plugin with space and ü")
    shutil.copy(ROOT / "mm_qgis_plugin" / "worker_main.py", folder)
    (folder / "core").symlink_to(ROOT / "core", target_is_directory=True)
    (folder / "metadata.txt").symlink_to(ROOT / "metadata.txt")
    return worker_command(Path(sys.executable), folder / "worker_main.py")


@pytest.fixture(scope="module")
def client(command: list[str]):
    with WorkerClient(command) as made:
        yield made


def rows_of(path: str) -> list[tuple]:
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT * FROM tiles ORDER BY tile_id").fetchall()


def test_the_worker_gives_what_the_pipeline_gives(
    client: WorkerClient, job: ClassifyJob, tmp_path: Path
) -> None:
    said: list[m.Message] = []
    summary = client.run(job, said.append)
    direct = replace(job, output=str(tmp_path / "direct.gpkg"))
    classify(direct)
    assert (summary.state, summary.classified, summary.skipped) == ("complete", 7, 1)
    ours, theirs = rows_of(job.output), rows_of(direct.output)
    assert len(ours) == len(theirs) == 8
    for our, their in zip(ours, theirs, strict=True):
        for a, b in zip(our, their, strict=True):
            assert a == (pytest.approx(b, abs=1e-5) if isinstance(b, float) else b)
    told = [row.tile_id for message in said if isinstance(message, m.Rows) for row in message.rows]
    assert told == list(range(8))


def test_an_error_leaves_the_worker_warm(client: WorkerClient, job: ClassifyJob) -> None:
    with pytest.raises(ModelFolderError):
        client.run(replace(job, model="/no/such/folder"))
    assert client.is_running
    assert client.run(job).state == "complete"


def test_cancel_within_two_seconds_keeps_tiles_and_the_worker(
    client: WorkerClient, large_job: ClassifyJob
) -> None:
    said: list[m.Message] = []
    cancelled_at: list[float] = []

    def is_cancelled() -> bool:
        if any(isinstance(message, m.Rows) for message in said):
            cancelled_at.append(time.monotonic())
        return bool(cancelled_at)

    job = replace(large_job, batch_size=1)
    summary = client.run(job, said.append, is_cancelled)
    assert time.monotonic() - cancelled_at[0] < 2.0
    assert summary.state == "partial"
    assert 0 < summary.classified < 144
    assert client.is_running
    assert client.run(job).state == "complete"
    assert len(rows_of(job.output)) == 144


def test_a_killed_worker_is_a_crash_and_the_next_run_goes_on(
    command: list[str], large_job: ClassifyJob
) -> None:
    job = replace(large_job, batch_size=1)
    pids: list[int] = []

    class Listening(WorkerClient):
        pass

    with Listening(command) as client:

        def kill(message: m.Message) -> None:
            if isinstance(message, m.Rows):
                os.kill(client._process._popen.pid, signal.SIGKILL)
                pids.append(client._process._popen.pid)

        with pytest.raises(WorkerCrashedError, match="SIGKILL"):
            client.run(job, kill)
        kept = len(rows_of(job.output))
        assert kept > 0
        assert client.run(job).state == "complete"
        assert len(rows_of(job.output)) == 144


def test_a_closed_pipe_ends_the_worker(command: list[str], large_job: ClassifyJob) -> None:
    """QGIS dies: no orphan is left, and the file can be gone on with."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env=child_environment(os.environ),
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write(m.encode(m.Classify(replace(large_job, batch_size=1)), "j") + "\n")
    process.stdin.flush()
    while not isinstance(m.decode(process.stdout.readline())[1], m.Rows):
        pass
    process.stdin.close()
    process.stdout.close()
    assert process.wait(5) == 0
    kept = len(rows_of(large_job.output))
    assert kept > 0
    assert classify(large_job).classified == 144


def test_a_malformed_line_is_answered_and_survived(command: list[str], job: ClassifyJob) -> None:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=child_environment(os.environ),
    )  # fmt: skip
    wrong = ["nonsense", "[" * 100_000, "\x00\x7f", "x" * (MAX_LINE + 10), '{"type": NaN}']
    lines = "\n".join([*wrong, m.encode(m.Classify(job), "j"), ""])
    # stdin stays open until the job is done: closing it would cancel.
    assert process.stdin
    assert process.stdout
    process.stdin.write(lines)
    process.stdin.flush()
    seen = []
    while not isinstance(seen[-1] if seen else None, m.Finished):
        seen.append(m.decode(process.stdout.readline())[1])
    process.stdin.write(m.encode(m.Shutdown()) + "\n")
    process.stdin.close()
    assert process.wait(5) == 0
    assert isinstance(seen[0], m.Hello)
    refused = [message.error for message in seen if isinstance(message, m.Failed)]
    assert len(refused) == len(wrong)
    assert all(isinstance(problem, ProtocolError) for problem in refused)
    assert "longer than 16 MiB" in refused[3].message


def test_prints_of_libraries_do_not_reach_the_protocol(tmp_path: Path) -> None:
    program = (
        "import os, sys; from multimodal import worker\n"
        "output = worker._take_stdout()\n"
        "print('from python'); os.write(1, b'from native code\\n')\n"
        "output.write('protocol\\n'); output.flush()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "protocol\n"
    assert "from python" in done.stderr
    assert "from native code" in done.stderr
