"""Every way in which the real worker ends, or does not get on: real processes and signals."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal.client.runtime import child_environment
from multimodal.client.worker_client import WorkerClient
from multimodal.contract import messages as m
from multimodal.contract.errors import (
    CancelledError,
    DeviceError,
    InternalError,
    WorkerCrashedError,
    WorkerSilentError,
)
from multimodal.contract.job import ClassifyJob
from multimodal.pipeline import classify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc")

WORKER = Path(__file__).resolve().parents[2] / "fake_workers" / "rigged.py"
CANCEL_SECONDS = 2.0
ORPHAN_SECONDS = 5.0


class Rig:
    """A worker with traps: ``set`` one, and see when it is sprung."""

    def __init__(self, folder: Path) -> None:
        self.order, self.reached = folder / "order", folder / "reached"
        self.command = [sys.executable, "-I", str(WORKER), str(self.order), str(self.reached)]

    def set(self, place: str = "", action: str = "") -> None:
        self.reached.unlink(missing_ok=True)
        self.order.write_text(f"{place} {action}")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig(tmp_path_factory.mktemp("rig"))


@pytest.fixture(scope="module")
def client(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerClient]:
    """One warm worker for as long as nothing kills it; its user lives where the tests write."""
    home = str(tmp_path_factory.getbasetemp())
    surroundings = {**child_environment(os.environ), "HOME": home}
    surroundings["XDG_CACHE_HOME"] = str(rig.order.parent)
    with WorkerClient(rig.command, surroundings, silent_seconds=3.0) as made:
        yield made


@pytest.fixture(autouse=True)
def _set_no_trap(rig: Rig) -> Iterator[None]:
    rig.set()
    yield
    rig.set()


def state_of(path: str) -> tuple[str, int]:
    """(state, tiles) of a file that must be whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (state,) = connection.execute("SELECT state FROM mm_run").fetchone()
        return state, connection.execute("SELECT count(*) FROM tiles").fetchone()[0]


@pytest.mark.parametrize(
    ("place", "action", "least"),
    # The model first: a warm worker loads it no more.
    [("model", "slow", 0), ("read", "slow", 0), ("batch", "brief", 0),
     ("write", "slow", 1), ("finish", "slow", 8)],
)  # fmt: skip
def test_a_cancel_in_each_phase(
    client: WorkerClient, rig: Rig, job: ClassifyJob, place: str, action: str, least: int
) -> None:
    rig.set(place, action)
    cancel = Cancel(rig)
    state = None
    try:
        state = client.run(job, is_cancelled=cancel).state
    except CancelledError:
        # On a busy machine a step that nobody can stop may last too long for the client.
        assert time.monotonic() - cancel.wanted_at > CANCEL_SECONDS / 2
        assert not client.is_running
    assert time.monotonic() - cancel.wanted_at < CANCEL_SECONDS
    rig.set()
    if state is not None:
        # At the finish nothing was left to stop.
        assert state == ("complete" if least == 8 else "partial")
        assert state_of(job.output)[0] == state
        assert state_of(job.output)[1] in ([8] if least == 8 else range(least, 8))
    worker = client._process
    assert client.run(job).state == "complete"
    assert worker in (None, client._process), "warm, unless it had to be killed"


@pytest.mark.parametrize("act", ["run", "inspect"])
def test_a_cancel_while_the_rasters_are_opened(
    client: WorkerClient, rig: Rig, job: ClassifyJob, act: str
) -> None:
    """Each file that is opened takes 0.4 s, as on a slow drive: no other one is."""
    client.run(replace(job, output=f"{job.output}.gpkg"))
    worker = client._process
    rig.set("file", "slow")
    cancel = Cancel(rig)
    with pytest.raises(CancelledError, match="while the rasters were looked at"):
        getattr(client, act)(job, is_cancelled=cancel)
    assert time.monotonic() - cancel.wanted_at < CANCEL_SECONDS
    assert not Path(job.output).exists()
    rig.set()
    assert client.run(job).state == "complete"
    assert client._process is worker, "warm"


class Cancel:
    """Wants a cancel from the moment on that a trap is sprung."""

    def __init__(self, rig: Rig, after: float = 0.0) -> None:
        self._rig, self._after = rig, after
        self.wanted_at = 0.0

    def __call__(self) -> bool:
        reached = self._rig.reached
        if not self.wanted_at and is_older(reached, self._after):
            self.wanted_at = time.monotonic()
        return bool(self.wanted_at)


def is_older(path: Path, seconds: float) -> bool:
    return path.exists() and time.time() - path.stat().st_mtime >= seconds


def test_a_cancel_while_the_worker_starts(rig: Rig, job: ClassifyJob) -> None:
    rig.set("import", "native")
    cancel = Cancel(rig)
    with WorkerClient(rig.command) as starting:
        with pytest.raises(CancelledError, match="starting"):
            starting.run(job, is_cancelled=cancel)
        assert time.monotonic() - cancel.wanted_at < CANCEL_SECONDS
        assert not starting.is_running
    assert not Path(job.output).exists()


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [("defect", InternalError, "ZeroDivisionError.*report it.*worker.*log"),
     ("memory", DeviceError, "memory")],
)  # fmt: skip
def test_a_failed_run_keeps_its_tiles_and_the_worker(
    client: WorkerClient, rig: Rig, job: ClassifyJob, action: str, error: type, words: str
) -> None:
    rig.set("write", action)
    with pytest.raises(error, match=words):
        client.run(job)
    log = Path(client.log).read_text()
    assert all(words in log for words in ("Traceback", "libraries: torch", "Classifying 8 tiles"))
    assert "'output': '~/" in log
    assert str(Path(job.output).parent) not in log
    assert client.is_running
    process = client._process
    rig.set()
    assert client.run(job).state == "complete"
    assert client._process is process


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [("null", WorkerCrashedError, "SIGSEGV.*run again.*Segmentation fault"),
     ("locked", WorkerSilentError, "hung.*Classifying 8 tiles.*run again")],
)  # fmt: skip
def test_a_worker_that_is_gone_or_mute(
    client: WorkerClient, rig: Rig, job: ClassifyJob, action: str, error: type, words: str
) -> None:
    """The next run has a fresh worker by itself: it is the one of the next test."""
    rig.set("write", action)
    started = time.monotonic()
    with pytest.raises(error, match=f"(?s){words}"):
        client.run(job)
    assert time.monotonic() - started < 60
    assert not client.is_running
    assert action == "locked" or "trap" in Path(client.log).read_text()
    rig.set()
    assert classify(job).state == "complete"


def test_a_dead_drive_is_no_hang_and_can_be_cancelled(
    client: WorkerClient, rig: Rig, job: ClassifyJob
) -> None:
    """The reading thread is stuck in native code that leaves the interpreter's lock."""
    rig.set("read", "native")
    cancel = Cancel(rig, after=5.0)  # longer than the silence that is borne
    with pytest.raises(CancelledError, match="kept"):
        client.run(job, is_cancelled=cancel)
    assert time.monotonic() - cancel.wanted_at < CANCEL_SECONDS
    rig.set()
    assert classify(job).state == "complete"


PARENT = """
import json, sys
from multimodal.client.runtime import child_environment
from multimodal.client.worker_client import WorkerClient
from multimodal.contract.job import job_from_dict

client = WorkerClient(sys.argv[2:])
client.run(job_from_dict(json.loads(sys.argv[1])), lambda message: None)
"""


def test_no_worker_outlives_its_qgis(job: ClassifyJob, tmp_path: Path) -> None:
    """The parent is killed; the worker computes, keeps the interpreter's lock, or still starts."""
    import json

    rigs, parents = {}, {}
    for place, action in (("write", "native"), ("batch", "locked"), ("import", "locked")):
        folder = tmp_path / f"{place} {action}"
        folder.mkdir()
        rigged = rigs[place] = Rig(folder)
        rigged.set(place, action)
        own = replace(job, output=str(folder / "out.gpkg"))
        command = [sys.executable, "-c", PARENT, json.dumps(own.to_dict()), *rigged.command]
        parents[place] = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for place, parent in parents.items():
        wait_for(rigs[place].reached.exists, 120)
        workers = running(str(rigs[place].order))
        assert len(workers) == 3, "parent, worker and its guard"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_for(lambda rigged=rigs[place]: not running(str(rigged.order)), ORPHAN_SECONDS)
    own = replace(job, output=str(tmp_path / "write native" / "out.gpkg"))
    assert classify(own).state == "complete"


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def running(argument: str) -> list[int]:
    """Return the processes that were started with an argument and are not just unburied."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # no process, or gone
        if argument.encode() in words:
            found.append(int(folder.name))
    return found


def test_the_worker_listens_on_no_port(client: WorkerClient, rig: Rig, job: ClassifyJob) -> None:
    seen: list[set[str]] = []

    def look(message: m.Message) -> None:
        if isinstance(message, m.Rows):
            seen.append(inodes(client._process._popen.pid))

    assert client.run(job, look).state == "complete"
    assert seen
    assert not set().union(*seen) & network_inodes()


def inodes(pid: int) -> set[str]:
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return {link[len("socket:[") : -1] for link in links if link.startswith("socket:")}


def network_inodes() -> set[str]:
    tables = [Path("/proc/net") / name for name in ("tcp", "tcp6", "udp", "udp6")]
    lines = [line for table in tables if table.exists() for line in table.open()]
    return {line.split()[9] for line in lines}
