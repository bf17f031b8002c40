"""The plugin as it is built, in a real QGIS without a screen, with the real worker."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN_PARENT = ROOT / "build" / "plugin"
SCENES = ROOT / "sample_data" / "scenes"
WORKER_PYTHON = ROOT / ".venv" / "bin" / "python"
HELD = "33UUP_37-38_87-90"

_status = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_status] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End without taking Python down: QGIS 3.22 can crash while its objects are collected there.

    By then every test has been told; the crash would turn a passed run into a failed one.
    """
    if _status not in config.stash:
        return
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(config.stash[_status])


def _bands(path: str, names: str) -> dict:
    return {
        name: {"path": path, "band": number, "pixel_size_m": 10.0, "found_by": "description"}
        for number, name in enumerate(names.split(), 1)
    }


# What the worker tells of the held scene when it knows everything.
REPORT = {
    "s2": {
        "bands": _bands("/data/s2.tif", "B01 B02 B03 B04 B05 B06 B07 B08 B8A B09 B11 B12"),
        "missing": [], "filled": [], "crs": "EPSG:32633", "dates": ["2017-06-13T10:10:31"],
        "level": "L2A", "offset": 0.0, "scale": 0.0001,
        "evidence": "processing baseline 02.05 in the file name",
    },
    "s1": {
        "bands": _bands("/data/s1.tif", "VV VH"), "missing": [], "crs": "EPSG:32633",
        "dates": ["2017-06-12"], "unit": "db", "calibration": "gamma0",
        "evidence": "medians VV -9.9, VH -15.8",
    },
    "mask": None,
    "grid": {
        "crs": "EPSG:32633", "crs_wkt": "EPSG:32633",
        "transform": [10.0, 0.0, 344400.0, 0.0, -10.0, 5295600.0],
        "width": 240, "height": 480, "tiles": 8, "tiles_valid": 7, "tile_size": 120,
        "stride": 120, "columns": 2, "rows": 4,
    },
    "overlap": 1.0, "selected": 8, "expected_skipped": 1,
    "estimate": {"seconds": 3.2, "output_bytes": 130_000},
    "warnings": [
        {"code": "level", "message": "Sentinel-2 is L1C; the model was trained on L2A."},
        {"code": "days", "message": "Sentinel-1 and Sentinel-2 are 12 days apart."},
    ],
}  # fmt: skip


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
# What the user's own runs have learned would decide how tests are computed.
_CACHE = tempfile.TemporaryDirectory(prefix="mm_cache_")
os.environ["XDG_CACHE_HOME"] = _CACHE.name


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
    # A long run learns a faster way of computing, whose last digits are others.
    for learned in Path(_CACHE.name).rglob("speed.json"):
        learned.unlink()
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
    from mm_qgis_plugin.core.contract.model_folder import read_spec

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
            "--output", str(output), "--precision", "exact",  # whatever runs before have learned
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
    script = ROOT / "tests" / "fake_workers" / "misbehave.py"
    with fake_session(monkeypatch) as install:
        yield lambda mode: install([sys.executable, str(script), mode])


@contextmanager
def fake_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[str]], None]]:
    """Yield what puts a command in the place of the worker."""
    from mm_qgis_plugin import task, worker
    from mm_qgis_plugin.processing import classify_algorithm, inspect_algorithm

    session = worker.SessionWorker()

    def install(command: list[str]) -> None:
        monkeypatch.setattr(worker, "worker_command", lambda python, main: command)
        for module in (task, classify_algorithm, inspect_algorithm):
            monkeypatch.setattr(module, "session_worker", lambda: session)

    yield install
    session.close()


class InspectingWorker:
    """A worker that answers inspections as it is told; see tests/fake_workers/inspecting.py."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "script.json"
        self._orders = folder / "orders.jsonl"
        self.full = REPORT
        self.answer(report=REPORT)

    def answer(self, **script: object) -> None:
        """Say what the next answer is."""
        text = json.dumps({"orders": str(self._orders), **script})
        # In one step: the worker may be reading.
        new = self.path.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.path)

    @property
    def orders(self) -> list[dict]:
        """Return the jobs that came, in order."""
        if not self._orders.exists():
            return []
        return [json.loads(line) for line in self._orders.read_text("utf-8").splitlines()]


@pytest.fixture
def inspecting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[InspectingWorker]:
    """Put a worker that answers as told in the place of the real one."""
    folder = tmp_path / "inspecting"
    folder.mkdir()
    told = InspectingWorker(folder)
    script = ROOT / "tests" / "fake_workers" / "inspecting.py"
    with fake_session(monkeypatch) as install:
        install([sys.executable, str(script), str(told.path)])
        yield told


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


@pytest.fixture
def project(qgis_new_project, s2_path: str, s1_path: str):
    """A project with the two rasters, Sentinel-1 first so that order alone guesses wrong."""
    from qgis.core import QgsProject, QgsRasterLayer

    rasters = [QgsRasterLayer(s1_path, "radar"), QgsRasterLayer(s2_path, "optical")]
    QgsProject.instance().addMapLayers(rasters)
    return QgsProject.instance()


@pytest.fixture
def dock(project, qgis_iface, model_folder: str) -> Iterator:
    """The dock over that project, with a model, on the CPU."""
    from mm_qgis_plugin.gui.dock import ClassifyDock

    qgis_iface.messageBar().clear_messages()
    made = ClassifyDock(qgis_iface)
    made.model.folder.setFilePath(model_folder)
    made.device.setCurrentIndex(made.device.findData("cpu"))
    yield made
    made.shut_down()
    made.deleteLater()


@pytest.fixture
def finish(spin_until) -> Callable:
    """Wait for the dock's run to end."""
    return lambda dock: spin_until(lambda: dock.active_run is None)
