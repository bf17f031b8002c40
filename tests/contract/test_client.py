"""WorkerClient against workers that misbehave: real processes, real pipes."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal.client import runtime
from multimodal.client.ends import end_in_words
from multimodal.client.environment import create_environment
from multimodal.client.worker_client import WorkerClient
from multimodal.contract.errors import (
    CancelledError,
    DeviceError,
    MultimodalError,
    NoOverlapError,
    ProtocolError,
    RuntimeMissingError,
    WorkerCrashedError,
    WorkerSilentError,
)
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.lines import lines_of
from multimodal.contract.messages import Log, Phase, Progress

FAKE = Path(__file__).resolve().parents[1] / "fake_workers" / "misbehave.py"
JOB = ClassifyJob((RasterSource("s2.tif"),), (RasterSource("s1.tif"),), "model", "out.gpkg")


def client(mode: str, **options: float) -> WorkerClient:
    return WorkerClient([sys.executable, "-I", str(FAKE), mode], **options)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def pid_of(messages: list) -> int:
    return int(next(m for m in messages if isinstance(m, Log)).text.split()[1])


def test_runs_tell_everything_and_keep_the_worker_warm() -> None:
    first, second = [], []
    with client("behave") as worker:
        assert not worker.is_running
        summary = worker.run(JOB, first.append)
        worker.run(JOB, second.append)
        assert worker.is_running
    assert summary.state == "complete"
    assert summary.skipped_reasons == {"no data": 1}
    assert Progress(1, 2, 2.0, None) in first
    assert pid_of(first) == pid_of(second)
    assert is_gone(pid_of(first))


def test_crash_is_explained_and_the_next_run_has_a_fresh_worker(tmp_path: Path) -> None:
    with client("crash") as worker:
        for _ in range(2):
            with pytest.raises(WorkerCrashedError) as caught:
                worker.run(JOB)
            assert "SIGSEGV" in caught.value.message
            assert "libfoo: corrupted heap" in caught.value.message
            assert not worker.is_running


def test_a_worker_that_cannot_start_is_quoted() -> None:
    with client("exit_early") as worker, pytest.raises(WorkerCrashedError) as caught:
        worker.run(JOB)
    assert "exit code 3" in caught.value.message
    assert "no module named torch" in caught.value.message


def test_no_such_program_is_a_coded_error() -> None:
    with WorkerClient(["/no/such/python"]) as worker, pytest.raises(WorkerCrashedError):
        worker.run(JOB)


def test_prints_on_stdout_do_not_break_the_protocol() -> None:
    with client("garbage") as worker:
        assert worker.run(JOB).state == "complete"


def test_a_flood_on_stderr_does_not_block() -> None:
    with client("flood") as worker:
        assert worker.run(JOB).state == "complete"


def test_silence_ends_with_words() -> None:
    with client("silent", start_seconds=0.5) as worker:
        with pytest.raises(WorkerSilentError):
            worker.run(JOB)
        assert not worker.is_running


def test_another_protocol_is_refused() -> None:
    with client("other_protocol") as worker:
        with pytest.raises(ProtocolError, match="version 99"):
            worker.run(JOB)
        assert not worker.is_running


def test_an_error_of_the_worker_arrives_as_itself_and_the_worker_stays() -> None:
    with client("fail") as worker:
        for _ in range(2):
            with pytest.raises(NoOverlapError, match="do not meet"):
                worker.run(JOB)
            assert worker.is_running


def test_a_worker_that_lost_its_gpu_is_not_asked_again() -> None:
    with client("lose_gpu") as worker:
        for _ in range(2):  # the second one would wait for ever for the first process
            with pytest.raises(DeviceError, match="GPU failed"):
                worker.run(JOB)
            assert not worker.is_running


def test_cancel_is_obeyed_and_the_worker_stays_warm() -> None:
    with client("obey_cancel") as worker:
        told: list[object] = []
        # Not before it has the job: a cancel while it starts is another case.
        assert worker.run(JOB, told.append, lambda: bool(told)).state == "partial"
        assert worker.is_running
        assert worker.run(JOB).state == "complete"


def test_cancel_that_is_ignored_kills_the_worker_within_two_seconds() -> None:
    with client("ignore_cancel") as worker:
        cancel_at = time.monotonic() + 0.3
        with pytest.raises(CancelledError, match="finished are kept"):
            worker.run(JOB, is_cancelled=lambda: time.monotonic() > cancel_at)
        assert time.monotonic() - cancel_at < 2.0
        assert not worker.is_running


def test_a_cancelled_inspection_is_not_told_of_tiles() -> None:
    with client("ignore_cancel") as worker:
        cancel_at = time.monotonic() + 0.3
        with pytest.raises(CancelledError, match="looked at the rasters") as caught:
            worker.inspect(JOB, lambda: time.monotonic() > cancel_at)
    assert "kept" not in caught.value.message


def look(worker: WorkerClient, ends_at: float) -> None:
    with pytest.raises(CancelledError):
        worker.inspect(JOB, lambda: time.monotonic() > ends_at)


def test_a_run_that_waits_says_what_for() -> None:
    with client("ignore_cancel") as worker:
        ends_at = time.monotonic() + 1.0
        looks = threading.Thread(target=look, args=(worker, ends_at))
        looks.start()
        time.sleep(0.2)
        told: list = []
        with pytest.raises(CancelledError, match="waiting for the worker"):
            worker.run(JOB, told.append, lambda: bool(told))
        looks.join(10)
    assert [message.text for message in told] == ["Waiting until the rasters were looked at"]


def test_cancel_while_the_worker_starts() -> None:
    started = time.monotonic()
    with client("silent") as worker, pytest.raises(CancelledError):
        worker.run(JOB, is_cancelled=lambda: True)
    assert time.monotonic() - started < 2.0


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGSTOP")
def test_a_worker_that_hangs_is_ended_and_the_next_run_has_a_fresh_one() -> None:
    said: list = []
    with client("hang", silent_seconds=1.0) as worker:
        for _ in range(2):
            started = time.monotonic()
            with pytest.raises(WorkerSilentError, match="hung") as caught:
                worker.run(JOB, said.append)
            assert time.monotonic() - started < 10
            assert "It was at: Classifying 2 tiles." in caught.value.message
            assert "run again to go on with a fresh worker" in caught.value.message
            assert not worker.is_running
    assert len(said) == 2


def test_a_caller_that_was_busy_takes_nobody_for_hung() -> None:
    """As a machine that slept: the clock ran on, and nobody listened."""

    def listen(message: object) -> None:
        if isinstance(message, Log):
            time.sleep(2.0)

    with client("behave", silent_seconds=1.5) as worker:
        assert worker.run(JOB, listen).state == "complete"


def test_no_progress_is_told_once_a_minute_and_taken_back() -> None:
    said: list = []
    with client("stall", silent_seconds=1.8) as worker:
        assert worker.run(JOB, said.append).state == "complete"
    opening = "Opening the rasters"
    assert all(isinstance(message, (Phase, Log)) for message in said)
    texts = [message.text for message in said]
    spans = [text.split(": no progress for ")[1].split(".")[0] for text in texts[1:5]]
    assert spans == ["2 min", "3 min", "4 min", "5 min"]
    assert all(text.startswith(opening) and "Cancel works" in text for text in texts[1:5])
    assert [texts[0], *texts[5:]] == [opening, opening, "at last"]


def test_a_worker_that_nobody_can_hear_is_a_crash_and_ended() -> None:
    with client("close_output") as worker:
        with pytest.raises(WorkerCrashedError, match="its output is closed"):
            worker.run(JOB)
        assert not worker.is_running


def test_an_answer_without_an_end_is_refused() -> None:
    with client("endless_line") as worker:
        with pytest.raises(ProtocolError, match="longer than 16 MiB"):
            worker.run(JOB)
        assert not worker.is_running


@pytest.mark.skipif(sys.platform == "win32", reason="a signal")
def test_a_crash_in_native_code_tells_where_without_flooding_the_user() -> None:
    with client("segfault") as worker, pytest.raises(WorkerCrashedError) as caught:
        worker.run(JOB)
    assert "SIGSEGV" in caught.value.message
    assert caught.value.message.endswith("corrupted heap\nFatal Python error: Segmentation fault")
    assert "in segfault" in caught.value.details["traceback"]


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "want of memory.*batch size"), (-11, "SIGSEGV$"), (3, "exit code 3$"),
     (0xC0000005, "access violation"), (-250, "signal 250"), (None, "still runs")],
)  # fmt: skip
def test_ends_in_words(code: int | None, words: str) -> None:
    assert re.search(words, end_in_words(code))


def test_long_lines_are_read_over_and_the_next_one_is_whole() -> None:
    pipe = io.BytesIO(b"abc\n" + b"x" * 11 + b"\nabcdefghi\r\n" + b"y" * 35 + b"\n\xff")
    assert list(lines_of(pipe, 10)) == ["abc", None, "abcdefghi", None, "\ufffd"]


def test_two_threads_share_one_worker() -> None:
    with client("behave") as worker:
        messages: list = []
        threads = [
            threading.Thread(target=worker.run, args=(JOB, messages.append)) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len({m.text for m in messages if isinstance(m, Log)}) == 1
        assert sum(isinstance(m, Progress) for m in messages) == 3


def test_a_raising_callback_ends_the_worker() -> None:
    def explode(message: object) -> None:
        raise ValueError("the reader is broken")

    with client("behave") as worker:
        with pytest.raises(ValueError, match="reader is broken"):
            worker.run(JOB, explode)
        assert not worker.is_running


def test_an_exit_in_the_middle_of_a_job_is_a_crash_with_its_last_words() -> None:
    with client("exit_in_job") as worker, pytest.raises(WorkerCrashedError) as caught:
        worker.run(JOB)
    assert "exit code 7" in caught.value.message
    assert "giving up" in caught.value.message


def test_an_answer_that_breaks_the_contract_is_not_waited_for() -> None:
    ends_at = time.monotonic() + 10
    with client("malformed_end") as worker:
        with pytest.raises(ProtocolError, match="'tiles' is missing"):
            worker.run(JOB, is_cancelled=lambda: time.monotonic() > ends_at)
        assert not worker.is_running


def test_a_worker_that_does_not_read_can_be_cancelled() -> None:
    # More than any pipe holds.
    long_job = replace(JOB, aoi_wkt=f"POLYGON (({'1 1, ' * 200_000}1 1))")
    cancel_at = time.monotonic() + 0.5
    with client("deaf") as worker:
        with pytest.raises(CancelledError):
            worker.run(long_job, is_cancelled=lambda: time.monotonic() > cancel_at)
        assert time.monotonic() - cancel_at < 2.5
        assert not worker.is_running


def test_closing_during_a_run_is_no_crash() -> None:
    worker, ends = client("ignore_cancel"), []

    def run() -> None:
        try:
            worker.run(JOB)
        except MultimodalError as problem:
            ends.append(problem.code)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not worker.is_running:
        time.sleep(0.01)
    time.sleep(0.3)
    worker.close()
    thread.join(5)
    assert ends == ["cancelled"]


def test_environment_is_cleaned_of_what_is_foreign() -> None:
    base = {
        "PATH": "/usr/bin", "HOME": "/home/x", "PYTHONPATH": "x", "PYTHONHOME": "x",
        "PROJ_LIB": "x", "GDAL_DATA": "x", "QT_PLUGIN_PATH": "x", "LD_LIBRARY_PATH": "x",
        "VIRTUAL_ENV": "x", "PYENV_VERSION": "x", "https_proxy": "keep",
        "CUDA_VISIBLE_DEVICES": "0",
    }  # fmt: skip
    cleaned = runtime.child_environment(base)
    assert set(cleaned) == {"PATH", "HOME", "https_proxy", "CUDA_VISIBLE_DEVICES"}


def test_find_worker_python_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeMissingError, match="does not exist"):
        runtime.find_worker_python(str(tmp_path / "python"), tmp_path)
    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    liar.chmod(0o755)
    with pytest.raises(RuntimeMissingError, match="broken"):
        runtime.find_worker_python(str(liar), tmp_path)
    bare = tmp_path / "bare"
    bare.write_text("#!/bin/sh\necho missing torch rasterio\n")
    bare.chmod(0o755)
    with pytest.raises(RuntimeMissingError, match="torch, rasterio") as caught:
        runtime.find_worker_python(str(bare), tmp_path)
    assert caught.value.details["missing"] == ["torch", "rasterio"]


def test_a_qgis_python_that_is_too_old_is_not_blamed_on_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "bin" / "python3"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'AssertionError: too old: 3.9.5' >&2\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(RuntimeMissingError, match="Set up worker environment"):
        runtime.find_worker_python(None, tmp_path / "none")


def test_the_managed_environment_is_found(tmp_path: Path) -> None:
    python = runtime.managed_python(tmp_path)
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho missing\n")
    python.chmod(0o755)
    assert runtime.find_worker_python(None, tmp_path) == python


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for Python")
def test_the_python_is_asked_once_while_nothing_changes(tmp_path: Path) -> None:
    asked = tmp_path / "asked"

    def install(python: Path) -> str:
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f"#!/bin/sh\necho {python} >> {asked}\necho missing\n")
        python.chmod(0o755)
        return str(python)

    def times() -> int:
        return len(asked.read_text().splitlines())

    finder, first = runtime.PythonFinder(), install(tmp_path / "first")
    managed = tmp_path / "managed"
    for _ in range(3):
        assert finder.find(first, managed) == Path(first)
    assert times() == 1
    os.utime(first, (1, 1))
    finder.find(first, managed)
    assert times() == 2, "another file under the same name"
    own = install(runtime.managed_python(managed))
    assert finder.find(None, managed) == Path(own)
    assert times() == 3, "another setting"
    finder.forget()
    finder.find(None, managed)
    assert times() == 4
    Path(own).unlink()
    with pytest.raises(RuntimeMissingError):
        finder.find(own, managed)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for Python")
def test_a_managed_environment_that_appears_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(python: Path) -> Path:
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text("#!/bin/sh\necho missing\n")
        python.chmod(0o755)
        return python

    host = install(tmp_path / "host" / "bin" / "python3")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "host"))
    finder = runtime.PythonFinder()
    assert finder.find(None, tmp_path) == host
    managed = install(runtime.managed_python(tmp_path))
    assert finder.find(None, tmp_path) == managed


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for Python")
def test_a_cancel_while_the_python_is_asked(tmp_path: Path) -> None:
    slow, child = tmp_path / "python", tmp_path / "child"
    slow.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {child}.part\nmv {child}.part {child}\nwait")
    slow.chmod(0o755)
    at: list[float] = []

    def is_cancelled() -> bool:
        if child.exists():
            at.append(time.monotonic())
        return bool(at)

    with pytest.raises(CancelledError, match="looked for"):
        runtime.PythonFinder().find(str(slow), tmp_path, is_cancelled)
    assert time.monotonic() - at[0] < 2
    assert not is_sleeping(child.read_text())


# An interpreter that answers when it is asked for its packages.
ANSWERS = "#!/bin/sh\n[ $2 = -c ] && echo missing && exit 0\n"


def test_a_python_that_is_too_old_is_not_started_with(tmp_path: Path) -> None:
    tool = tmp_path / "python"
    tool.write_text("#!/bin/sh\necho 'too old: 3.9.2' >&2\nexit 1\n")
    tool.chmod(0o755)
    with pytest.raises(RuntimeMissingError, match=r"too old: 3\.9.*3\.10 or newer"):
        create_environment(tmp_path / "managed", print, tool)


def test_a_failing_installation_quotes_the_tool(tmp_path: Path) -> None:
    tool = tmp_path / "python"
    tool.write_text(f"{ANSWERS}echo no space left on device\nexit 1\n")
    tool.chmod(0o755)
    lines: list[str] = []
    with pytest.raises(RuntimeMissingError, match="no space left"):
        create_environment(tmp_path / "managed", lines.append, tool)
    assert lines == ["no space left on device"]
    assert not runtime.managed_python(tmp_path / "managed").parent.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs the command sleep")
def test_a_child_that_keeps_the_pipe_hides_no_crash() -> None:
    started = time.monotonic()
    with (
        client("leave_a_child") as worker,
        pytest.raises(WorkerCrashedError, match="exit code 4") as caught,
    ):
        worker.run(JOB)
    assert time.monotonic() - started < 10
    assert not is_sleeping(caught.value.message.split("child ")[1].split()[0])


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the tools")
def test_a_silent_installation_is_cancelled_at_once(tmp_path: Path) -> None:
    child = tmp_path / "child"
    tool = tmp_path / "python"
    slow = f"sleep 60 & echo $! > {child}.part; mv {child}.part {child}; wait"
    tool.write_text(f"{ANSWERS}echo working\n{slow}\n")
    tool.chmod(0o755)
    lines: list[str] = []
    started = time.monotonic()
    with pytest.raises(CancelledError):
        create_environment(
            tmp_path, lines.append, tool, is_cancelled=lambda: child.exists() and bool(lines)
        )
    assert time.monotonic() - started < 10
    assert lines == ["working"]
    assert not is_sleeping(child.read_text())


def is_sleeping(pid: str) -> bool:
    """Return whether a process is there and not just unburied."""
    stat = Path(f"/proc/{pid.strip()}/stat")
    return stat.exists() and ") S " in stat.read_text()
