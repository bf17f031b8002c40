"""Drives that are full, read-only, failing or gone: the run ends in words, its tiles stay."""

from __future__ import annotations

import errno
import math
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from multimodal import row_writer
from multimodal.contract.drive import explained
from multimodal.contract.errors import OutputError
from multimodal.contract.job import ClassifyJob
from multimodal.contract.messages import Message, Rows
from multimodal.pipeline import ModelCache, classify

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "soak")]

from killing import content, job_in, make_scene  # noqa: E402
from test_journal_kill import write  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts and faults as on Linux")


@pytest.fixture(autouse=True)
def each_batch_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few and quick tiles would share the second commit, and nothing come after it."""
    monkeypatch.setattr(row_writer, "SHARE", math.inf)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the library that lets calls fail")
    made = tmp_path_factory.mktemp("faults") / "faults.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(HERE / "faults.c"), "-ldl"]
    subprocess.run(command, check=True)
    return made


@pytest.mark.timeout(900)
@pytest.mark.parametrize("what", ["results", "sources"])
def test_whatever_call_fails_the_run_can_go_on(library: Path, tmp_path: Path, what: str) -> None:
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else tmp_path
    folder = base / f"faults-{os.getpid()}-{what}"
    folder.mkdir()
    command = [sys.executable, str(HERE / "faulty_drive.py"), what, str(folder)]
    environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    finally:
        shutil.rmtree(folder)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def mounted(place: Path, *arguments: str) -> Iterator[Path]:
    """Mount a small file system, where this user may."""
    place.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", *arguments, str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    make_scene(folder)
    return folder


@pytest.fixture(scope="module")
def run(scene: Path) -> Callable[..., object]:
    """Classify the small pair, and do something after the second batch."""
    models = ModelCache()

    def classify_it(output: Path, then: Callable[[], object] = lambda: None) -> object:
        batches = []

        def hear(message: Message) -> None:
            if isinstance(message, Rows):
                batches.append(message)
                if len(batches) == 2:
                    then()

        return classify(job_in(scene, output, 6), hear, models=models)

    return classify_it


@pytest.fixture(scope="module")
def expected(run: Callable[..., object], tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("whole") / "whole.gpkg"
    run(path)
    return content(path)[0]


def kept(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT state FROM mm_run").fetchone() == ("partial",)
        return connection.execute("SELECT count(*) FROM tiles").fetchone()[0]


def fill(folder: Path) -> Path:
    """Take all the room that a small drive has."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def test_a_disk_that_becomes_full(run, expected: dict, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as drive:
        output = drive / "out.gpkg"
        with pytest.raises(
            OutputError, match=r"drive '.*small' is full .*MB free.*goes on"
        ) as told:
            run(output, lambda: fill(drive))
        assert "Finished tiles are kept" in told.value.message
        assert kept(output) >= 12
        (drive / "ballast").unlink()
        run(output)
        assert content(output)[0] == expected


def test_a_disk_that_is_certainly_too_small(run, tmp_path: Path) -> None:
    with mounted(tmp_path / "tiny", "-t", "tmpfs", "-o", "size=100k", "tmpfs") as drive:
        with pytest.raises(OutputError, match=r"takes about 0\.2 MB, and .* has 0\.1 MB free"):
            run(drive / "out.gpkg")
        assert list(drive.iterdir()) == []


def test_a_drive_that_is_read_only(run, expected: dict, tmp_path: Path) -> None:
    with mounted(tmp_path / "drive", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as drive:
        remount = ["mount", "-o", "remount,ro", str(drive)]
        subprocess.run(remount, check=True)
        with pytest.raises(OutputError, match=r"cannot be written .*Read-only"):
            run(drive / "out.gpkg")


def test_a_drive_that_goes_away_and_comes_back(run, expected: dict, tmp_path: Path) -> None:
    image, place = tmp_path / "image", tmp_path / "drive"
    image.write_bytes(b"")
    os.truncate(image, 8 * 2**20)
    make = shutil.which("mkfs.ext4")
    if make is None:
        pytest.skip("no mkfs.ext4 here")
    subprocess.run([make, "-q", "-F", str(image)], check=True)
    output = place / "out.gpkg"
    with (
        mounted(place, "-o", "loop", str(image)),
        pytest.raises(OutputError, match=r"is gone, or its folder or drive is.*goes on"),
    ):
        run(output, lambda: subprocess.run(["umount", "-l", str(place)], check=True))
    with mounted(place, "-o", "loop", str(image)):
        assert kept(output) >= 12
        run(output)
        assert content(output)[0] == expected


def test_a_folder_that_is_removed(run, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    with pytest.raises(OutputError, match="is gone"):
        run(folder / "out.gpkg", lambda: shutil.rmtree(folder))


def in_fork(work: Callable[[], object]) -> str:
    """Return what an error said in a process that is bound by limits or rights of its own."""
    seen, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(told, b"done")
        except OutputError as problem:
            os.write(told, problem.message.encode())
        finally:
            os._exit(0)
    os.close(told)
    os.waitpid(child, 0)
    with os.fdopen(seen) as pipe:
        return pipe.read()


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (OSError(errno.EIO, "Input/output error", "/mnt/locked/is full/x.gpkg"), "failed"),
        (OSError(errno.ENOSPC, "No space left on device", "/mnt/locked/x.gpkg"), "is full"),
        (OSError(errno.EROFS, "Read-only file system", "/mnt/locked/x.gpkg"), "read-only"),
        (PermissionError(errno.EACCES, "another process has locked a portion of the file",
                         "x.gpkg"), "Another run holds"),
        (sqlite3.OperationalError("database is locked"), "Another run holds"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "read-only"),
    ],
)  # fmt: skip
def test_the_name_of_a_file_says_nothing_of_its_drive(
    tmp_path: Path, problem: Exception, words: str
) -> None:
    with pytest.raises(OutputError, match=words) as told, explained(tmp_path / "out.gpkg"):
        raise problem
    assert words == "Another run holds" or "Another run holds" not in told.value.message


def test_a_quota_that_no_file_system_tells(tmp_path: Path) -> None:
    """A limit of the file's size stops SQLite in the middle of a write."""
    path, whole = tmp_path / "out.gpkg", tmp_path / "whole.gpkg"
    write(whole)
    sizes = [whole.stat().st_size - 4096 * pages for pages in (1, 3, 8, 20)]

    def write_within(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        write(path)

    for size in sizes:
        assert "cannot be written" in in_fork(lambda size=size: write_within(size))
    write(path)
    assert path.stat().st_size == whole.stat().st_size


def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    folder.chmod(0o555)

    def write_there() -> None:
        if os.getuid() == 0:  # nothing is forbidden to root
            os.setuid(65534)
        write(folder / "out.gpkg")

    tmp_path.chmod(0o755)
    said = in_fork(write_there)
    assert "Permission denied" in said or "does not exist" in said
    assert list(folder.iterdir()) == []


def test_a_device_is_no_result(tmp_path: Path, scene: Path) -> None:
    link = tmp_path / "out.gpkg"
    link.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="must be a GeoPackage"):
        classify(job_in(scene, link, 6))


def test_two_runs_on_one_file_are_refused_by_the_engine_and_the_command_line(
    run, scene: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.gpkg"
    said: list[str] = []

    def run_a_second() -> None:
        job: ClassifyJob = job_in(scene, output, 6)
        arguments = ["classify", "--s2", job.s2[0].path, "--s1", job.s1[0].path]
        arguments += ["--model", job.model, "--output", job.output, "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, "-m", "multimodal.cli", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        said.append(done.stderr)
        with pytest.raises(OutputError, match="Another run holds"):
            classify(job)

    assert run(output, run_a_second).state == "complete"
    assert "Another run holds" in said[0]
