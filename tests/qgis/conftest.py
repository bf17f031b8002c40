"""The plugin as it is built, in a real QGIS without a screen, with the real worker."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN_PARENT = ROOT / "build" / "plugin"
SCENES = ROOT / "sample_data" / "scenes"
WORKER_PYTHON = ROOT / ".venv" / "bin" / "python"
HELD = "33UUP_37-38_87-90"


def _build_plugin() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_plugin", ROOT / "tools/build_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _link_when_incomplete() -> None:
    builder = _build_plugin()
    # `make demo` leaves a copy there, which would hide what was edited since.
    if not all((builder.PLUGIN / name).is_symlink() for _, name in builder.entries()):
        builder.link()


_link_when_incomplete()
# The source folder of the same name lies in the working directory, first on sys.path.
sys.path.insert(0, str(PLUGIN_PARENT))
os.environ.setdefault("MULTIMODAL_WORKER_PYTHON", str(WORKER_PYTHON))


@pytest.fixture(scope="session")
def s2_path() -> str:
    return str(SCENES / f"{HELD}_S2_12band_10m.tif")


@pytest.fixture(scope="session")
def s1_path() -> str:
    return str(SCENES / f"{HELD}_S1_VV_VH_dB.tif")


@pytest.fixture(scope="session")
def model_folder() -> str:
    return str(ROOT / "sample_data" / "model")


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep journals and environments of tests out of the user's folders."""
    folder = tmp_path / "user data"
    monkeypatch.setenv("MULTIMODAL_DATA_DIR", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def _worker_ends(qgis_app) -> Iterator[None]:
    yield
    from mm_qgis_plugin.worker import session_worker

    session_worker().close()


@pytest.fixture(autouse=True)
def _clean_settings() -> Iterator[None]:
    from qgis.core import QgsSettings

    QgsSettings().remove("multimodal")
    yield
    QgsSettings().remove("multimodal")


@pytest.fixture
def provider(qgis_app, qgis_processing) -> Iterator[object]:
    """The provider in the registry, so that ``multimodal:classify`` is known."""
    from qgis.core import QgsApplication

    from mm_qgis_plugin.processing.provider import MultimodalProvider

    added = MultimodalProvider()
    assert QgsApplication.processingRegistry().addProvider(added)
    yield added
    QgsApplication.processingRegistry().removeProvider(added)


@pytest.fixture(scope="session")
def probability_names(model_folder: str) -> list[str]:
    from mm_qgis_plugin.core.contract.spec import read_spec

    return [f"p_{item.slug}" for item in read_spec(model_folder).classes]


@pytest.fixture(scope="session")
def cli_tiles(
    tmp_path_factory: pytest.TempPathFactory, s2_path: str, s1_path: str, model_folder: str,
    probability_names: list[str],
) -> dict[int, tuple]:  # fmt: skip
    """{tile id: (status, probabilities)} of the held scene, as the command line finds them."""
    output = tmp_path_factory.mktemp("cli") / "cli.gpkg"
    subprocess.run(
        [
            str(WORKER_PYTHON), "-I", "-m", "multimodal.cli", "classify", "--quiet",
            "--s2", s2_path, "--s1", s1_path, "--model", model_folder, "--device", "cpu",
            "--output", str(output),
        ],
        check=True, capture_output=True, timeout=200,
    )  # fmt: skip
    columns = ", ".join(probability_names)
    with closing(sqlite3.connect(output)) as connection:
        rows = connection.execute(f"SELECT tile_id, status, {columns} FROM tiles").fetchall()
    return {row[0]: (row[1], row[2:]) for row in rows}


@pytest.fixture(scope="session")
def assert_same_tiles(cli_tiles: dict[int, tuple], probability_names: list[str]) -> Callable:
    """Compare the features of a layer with what the command line found."""

    def check(layer) -> None:
        seen = {f["tile_id"]: f for f in layer.getFeatures()}
        assert seen.keys() == cli_tiles.keys()
        for tile_id, (status, probabilities) in cli_tiles.items():
            assert seen[tile_id]["status"] == status
            if status == "ok":
                values = [seen[tile_id][name] for name in probability_names]
                assert values == pytest.approx(probabilities, abs=1e-5)

    return check


@pytest.fixture
def fake_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put a misbehaving worker in the place of the real one: ``fake_worker("crash")``."""
    from mm_qgis_plugin import task, worker
    from mm_qgis_plugin.processing import classify_algorithm

    script = ROOT / "tests" / "fake_workers" / "misbehave.py"
    session = worker.SessionWorker()

    def install(mode: str) -> None:
        command = [sys.executable, str(script), mode]
        monkeypatch.setattr(worker, "worker_command", lambda python, main: command)
        for module in (task, classify_algorithm):
            monkeypatch.setattr(module, "session_worker", lambda: session)

    yield install
    session.close()


def spin_until(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Let Qt live until ``condition`` holds."""
    from qgis.PyQt.QtCore import QCoreApplication

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        QCoreApplication.processEvents()
        time.sleep(0.005)


@pytest.fixture(name="spin_until")
def _spin_until() -> Callable:
    return spin_until
