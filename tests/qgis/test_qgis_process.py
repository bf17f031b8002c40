"""The real ``qgis_process`` with a throw-away profile, beside the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from qgis.core import QgsVectorLayer

PLUGIN = Path(__file__).resolve().parents[2] / "build" / "plugin" / "mm_qgis_plugin"
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
