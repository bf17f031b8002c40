"""The real ``qgis_process`` with a throw-away profile, beside the command line."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from signal import SIG_DFL, SIGINT, SIGKILL, SIGTERM, signal

import pytest
from qgis.core import QgsVectorLayer

PLUGIN = Path(__file__).resolve().parents[2] / "build" / "plugin" / "mm_qgis_plugin"
# Of the sample scene at a stride of 20: the last of three runs at once still goes on at its turn.
TILES = 481
PROGRAM = next(
    (
        found
        # Debian's wrapper of 3.22 passes a flag that the program does not know.
        for name in ("qgis_process.bin", "qgis_process")
        if (found := shutil.which(name, path="/usr/bin:/bin"))
    ),
    None,
)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="qgis_process is not installed")


@pytest.fixture
def qgis_process(tmp_path: Path):
    plugins = tmp_path / "profile" / "profiles" / "default" / "python" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / PLUGIN.name).symlink_to(PLUGIN)
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8",
        "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(runtime),
        "QGIS_CUSTOM_CONFIG_PATH": str(tmp_path / "profile"),
        "MULTIMODAL_DATA_DIR": str(tmp_path / "data"),
        "MULTIMODAL_WORKER_PYTHON": os.environ["MULTIMODAL_WORKER_PYTHON"],
    }  # fmt: skip

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PROGRAM), *arguments], env=environment, capture_output=True, text=True,
            timeout=250, check=False,
        )  # fmt: skip

    call("plugins", "enable", PLUGIN.name)
    call.environment = environment
    return call


def test_same_tiles_and_probabilities_as_the_command_line(
    qgis_process, tmp_path: Path, s2_path: str, s1_path: str, model_folder: str, assert_same_tiles
) -> None:
    output = tmp_path / "tiles.gpkg"
    done = qgis_process(
        "run", "multimodal:classify", f"--S2={s2_path}", f"--S1={s1_path}",
        f"--MODEL={model_folder}", "--DEVICE=cpu", f"--OUTPUT={output}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_tiles(QgsVectorLayer(str(output), "tiles", "ogr"))
    assert "CLASSIFIED:\t7" in done.stdout
    assert "SKIPPED:\t1" in done.stdout
    assert "tiles/s" in done.stdout
    assert list((tmp_path / "data" / "journals").glob("*.gpkg"))


def test_error_in_plain_words_and_no_output(
    qgis_process, tmp_path: Path, s2_path: str, s1_path: str
) -> None:
    output = tmp_path / "tiles.gpkg"
    done = qgis_process(
        "run", "multimodal:classify", f"--S2={s2_path}", f"--S1={s1_path}",
        f"--MODEL={tmp_path}", f"--OUTPUT={output}",
    )  # fmt: skip
    assert done.returncode == 1
    assert "is not a model folder" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not output.exists()


def test_no_worker_outlives_a_killed_program_and_the_next_run_goes_on(
    qgis_process, tmp_path: Path, s2_path: str, s1_path: str, model_folder: str
) -> None:
    """Ctrl-C is a cancel to the program; the others end it at once, and the worker after it."""
    folders = {number: tmp_path / number.name for number in (SIGINT, SIGTERM, SIGKILL)}

    def command(folder: Path) -> list[str]:
        return [
            "run", "multimodal:classify", f"--S2={s2_path}", f"--S1={s1_path}",
            f"--MODEL={model_folder}", "--DEVICE=cpu", "--STRIDE=10", "--BATCH_SIZE=1",
            f"--JOURNAL={folder / 'journal.gpkg'}", f"--OUTPUT={folder / 'tiles.gpkg'}",
        ]  # fmt: skip

    programs = {}
    for number, folder in folders.items():
        folder.mkdir()
        programs[number] = subprocess.Popen(
            [str(PROGRAM), *command(folder)], env=qgis_process.environment,
            stdout=(folder / "said").open("w"), stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal(SIGINT, SIG_DFL),
        )  # fmt: skip
    for number, program in programs.items():
        journal = folders[number] / "journal.gpkg"
        wait_for(lambda journal=journal: tiles_in(journal, "&immutable=1") > 2, 120)
        workers = children_of(program.pid)
        assert workers
        program.send_signal(number)
        assert program.wait(20) == (0 if number == SIGINT else -number)
        wait_for(lambda workers=workers: not any(is_running(pid) for pid in workers), 5)
        assert 2 < tiles_in(journal) < TILES
    assert "STATE:\tpartial" in (folders[SIGINT] / "said").read_text()
    done = qgis_process(*command(folders[SIGKILL]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert tiles_in(folders[SIGKILL] / "journal.gpkg") == TILES
    assert "of them done before" in done.stdout


def test_a_worker_that_dies_fails_the_program_and_keeps_the_tiles(
    qgis_process, tmp_path: Path, s2_path: str, s1_path: str, model_folder: str
) -> None:
    journal, output, said = (tmp_path / name for name in ("journal.gpkg", "tiles.gpkg", "said"))
    program = subprocess.Popen(
        [
            str(PROGRAM), "run", "multimodal:classify", f"--S2={s2_path}", f"--S1={s1_path}",
            f"--MODEL={model_folder}", "--DEVICE=cpu", "--STRIDE=10", "--BATCH_SIZE=1",
            f"--JOURNAL={journal}", f"--OUTPUT={output}",
        ],
        env=qgis_process.environment, stdout=said.open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for(lambda: tiles_in(journal, "&immutable=1") > 2, 120)
    for worker in children_of(program.pid):
        os.kill(worker, SIGKILL)
    assert program.wait(30) == 1, said.read_text()
    assert "ended without a word" in said.read_text()
    assert str(journal) in said.read_text()
    part = QgsVectorLayer(str(output), "tiles", "ogr")
    assert 2 < part.featureCount() == tiles_in(journal) < TILES


def tiles_in(journal: Path, how: str = "") -> int:
    """Return how many tiles a file holds; ``how`` may pass over the lock of who writes it."""
    try:
        with closing(sqlite3.connect(f"file:{journal}?mode=rw{how}", uri=True)) as connection:
            return connection.execute("SELECT count(*) FROM tiles").fetchone()[0]
    except sqlite3.Error:
        if how:
            return 0  # not there yet, or half a commit
        raise


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def children_of(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def is_running(pid: int) -> bool:
    """Return whether a process is there and not just unburied."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
