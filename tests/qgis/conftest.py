"""The plugin as it is built, in a real QGIS without a screen, with the real worker."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
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
    if not all((builder.PLUGIN / name).exists() for _, name in builder.entries()):
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
    from mm_qgis_plugin.processing.provider import MultimodalProvider
    from qgis.core import QgsApplication

    added = MultimodalProvider()
    assert QgsApplication.processingRegistry().addProvider(added)
    yield added
    QgsApplication.processingRegistry().removeProvider(added)
