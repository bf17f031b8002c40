"""The installable zip is what the plugin repository and QGIS accept."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "build_plugin.py"
REQUIRED_METADATA = {
    "name", "description", "version", "qgisMinimumVersion", "author", "email", "about",
    "tracker", "repository",
}  # fmt: skip


@pytest.fixture(scope="module")
def archive() -> zipfile.ZipFile:
    command = [sys.executable, str(TOOL), "zip"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    with zipfile.ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def metadata(archive: zipfile.ZipFile) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(archive.read("mm_qgis_plugin/metadata.txt").decode())
    return parser["general"]


def test_one_top_folder_with_engine_licence_and_model(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"mm_qgis_plugin"}
    for wanted in (
        "__init__.py", "metadata.txt", "LICENSE", "worker_main.py", "core/pipeline.py",
        "core/contract/spec.py", "core/client/worker-requirements.txt",
        "sample_model/config.json", "sample_model/model.safetensors",
    ):  # fmt: skip
        assert f"mm_qgis_plugin/{wanted}" in names


def test_nothing_hidden_compiled_or_large(archive: zipfile.ZipFile) -> None:
    assert Path(archive.filename).stat().st_size < 25_000_000
    for name in archive.namelist():
        parts = name.split("/")
        assert not any(part.startswith(".") or part == "__pycache__" for part in parts), name
        assert Path(name).suffix not in {".pyc", ".so", ".dll", ".exe", ".pyd"}, name
        assert "\\" not in name


def test_metadata_is_complete(metadata: configparser.SectionProxy) -> None:
    assert {key for key in REQUIRED_METADATA if metadata.get(key, "").strip()} == REQUIRED_METADATA
    assert metadata["hasProcessingProvider"] == "yes"
    assert metadata["qgisMinimumVersion"] == "3.22"
    assert metadata["qgisMaximumVersion"] == "4.99"
    assert "plugin" not in metadata["name"].lower()


def test_the_icon_of_the_metadata_ships(
    archive: zipfile.ZipFile, metadata: configparser.SectionProxy
) -> None:
    assert f"mm_qgis_plugin/{metadata['icon']}" in archive.namelist()


def test_pip_installs_every_package_of_the_engine() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = (path.parent.relative_to(ROOT) for path in (ROOT / "core").rglob("__init__.py"))
    names = {".".join(("multimodal", *folder.parts[1:])) for folder in folders}
    assert set(settings["tool"]["setuptools"]["packages"]) == names
