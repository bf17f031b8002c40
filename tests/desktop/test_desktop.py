"""QGIS desktop on a virtual screen: the dock, clicked through, with pictures to look at."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "build" / "desktop"
SCENE = ROOT / "sample_data" / "scenes" / "33UUP_37-38_87-90"
PLUGIN = ROOT / "build" / "plugin" / "mm_qgis_plugin"
MODEL = ROOT / "sample_data" / "model"
WORKER_PYTHON = ROOT / ".venv" / "bin" / "python"
CLASSES = 19
QGIS = Path("/usr/bin/qgis")
XVFB = shutil.which("Xvfb", path="/usr/bin:/bin")
TIMEOUT_SECONDS = 280

pytestmark = [
    pytest.mark.skipif(not QGIS.exists(), reason="QGIS desktop is not installed"),
    pytest.mark.skipif(XVFB is None, reason="Xvfb is not installed"),
]


@pytest.fixture
def display() -> Iterator[str]:
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [
            str(XVFB), "-displayfd", str(write_end), "-screen", "0", "1400x900x24",
            # Nor the abstract socket: it would be shared with another Xvfb of the same number
            # in a container or chroot beside this one.
            "-nolisten", "tcp", "-nolisten", "local",
        ],
        pass_fds=[write_end], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    yield f":{number}"
    process.terminate()
    process.wait(10)


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """A throw-away QGIS profile with the plugin switched on."""
    profile = tmp_path / "qgis" / "profiles" / "default"
    (profile / "python" / "plugins").mkdir(parents=True)
    (profile / "QGIS").mkdir()
    (profile / "python" / "plugins" / PLUGIN.name).symlink_to(PLUGIN)
    (profile / "QGIS" / "QGIS3.ini").write_text(
        "[PythonPlugins]\nmm_qgis_plugin=true\nprocessing=true\n"
        "[qgis]\nshowTips=false\ncheckVersion=false\n",
        encoding="utf-8",
    )
    return tmp_path / "qgis"


def test_dock_from_two_layers_to_a_styled_map(display: str, profiles: Path, tmp_path: Path) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    order = {
        "s2": f"{SCENE}_S2_12band_10m.tif",
        "s1": f"{SCENE}_S1_VV_VH_dB.tif",
        "output": str(tmp_path / "maps of the valley" / "land cover.gpkg"),
        "pictures": str(PICTURES),
        "result": str(tmp_path / "result.json"),
    }
    Path(order["output"]).parent.mkdir()
    run_qgis(display, profiles, order, tmp_path)
    outcome = json.loads(Path(order["result"]).read_text(encoding="utf-8"))
    assert "failure" not in outcome, outcome["failure"]
    check(outcome["seen"])
    assert_same_tiles(outcome["seen"]["tiles"], order, tmp_path / "cli.gpkg")


def check(seen: dict) -> None:
    assert seen["guessed"] == ["Sentinel-2", "Sentinel-1 VV VH"]
    assert seen["dock_width"] <= 420
    assert not seen["cut_off"]
    assert "8 tiles" in seen["understood"]
    assert "EPSG:32633" in seen["facts"]["Grid"]
    assert not seen["notes_cut_off"]
    (task,) = seen["tasks_while_running"]
    assert "tiles/s" in task
    assert "left" in task
    assert seen["on_the_bar"] == ["Multimodal"], "nothing of QGIS's own over it"
    assert 200 < seen["tip"][0] < 400
    assert 50 < seen["tip"][1] < 200
    assert len(seen["advanced"]) == 1, "the journal stands in the advanced group"
    assert not seen["skipped_outputs"]
    assert seen["cancel_seconds"] < 2.0
    assert seen["kept"] > 20
    assert "kept" in seen["cancel_message"]
    assert seen["features"] == 8
    assert len(seen["legend"]) == 21
    assert seen["map_tips"]
    assert seen["active"] == "land cover"
    assert "7 tiles classified, 1 skipped" in seen["message"]
    assert "is not a model folder" in seen["error"]
    for name in (
        "dock",
        "preflight",
        "preflight_unfolded",
        "running",
        "cancelled",
        "finished",
        "error",
        "small_error",
        "small_running",
        "drawn_100",
        "drawn_400",
        "tip_on_map",
        "task_bar",
        "toolbox",
    ):
        assert (PICTURES / f"{name}.png").stat().st_size > 10_000


def assert_same_tiles(seen: dict, order: dict, output: Path) -> None:
    """Compare {tile id: [status, probabilities ...]} with what the command line finds.

    It has the same home folder: the way of computing that a trial of the dock's runs found on
    this machine is remembered there and gone by both; another one may be 0.01 apart.
    """
    subprocess.run(
        [
            str(WORKER_PYTHON), "-I", "-m", "multimodal.cli", "classify", "--quiet",
            "--s2", order["s2"], "--s1", order["s1"], "--model", str(MODEL),
            "--output", str(output),
        ],
        check=True, capture_output=True, timeout=200,
        env={"PATH": "/usr/bin:/bin", "HOME": str(output.parent), "LANG": "C.UTF-8"},
    )  # fmt: skip
    with closing(sqlite3.connect(output)) as connection:
        connection.row_factory = sqlite3.Row
        tiles = {str(row["tile_id"]): row for row in connection.execute("SELECT * FROM tiles")}
    assert seen.keys() == tiles.keys()
    for tile_id, row in tiles.items():
        status, *probabilities = seen[tile_id]
        assert status == row["status"]
        expected = [row[name] for name in row.keys() if name.startswith("p_")]  # noqa: SIM118
        if status == "ok":
            assert len(expected) == CLASSES
            assert probabilities == pytest.approx(expected, abs=1e-5)
        else:
            assert probabilities == expected == [None] * CLASSES


def run_qgis(display: str, profiles: Path, order: dict, tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environment = {
        "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8", "DISPLAY": display,
        "XDG_RUNTIME_DIR": str(runtime), "QT_SCALE_FACTOR_ROUNDING_POLICY": "Round",
        "QT_QPA_PLATFORM": "xcb", "MULTIMODAL_DATA_DIR": str(tmp_path / "data"),
        "MULTIMODAL_WORKER_PYTHON": str(WORKER_PYTHON),
        "MULTIMODAL_DESKTOP_ORDER": json.dumps(order),
    }  # fmt: skip
    command = [
        str(QGIS), "--nologo", "--noversioncheck", "--profiles-path", str(profiles),
        "--code", str(Path(__file__).with_name("session.py")),
    ]  # fmt: skip
    log = (tmp_path / "qgis.log").open("wb")
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
        try:
            process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    if not Path(order["result"]).exists():
        pytest.fail(f"QGIS wrote no result; its log:\n{(tmp_path / 'qgis.log').read_text()}")
