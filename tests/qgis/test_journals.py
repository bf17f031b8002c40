"""Journals in the user's data folder, and what the plugin remembers."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mm_qgis_plugin import journals, settings
from mm_qgis_plugin.core.contract.job import ClassifyJob, RasterSource

pytestmark = pytest.mark.usefixtures("qgis_app")


@pytest.fixture
def job(s2_path: str, s1_path: str, model_folder: str) -> ClassifyJob:
    return ClassifyJob((RasterSource(s2_path),), (RasterSource(s1_path),), model_folder, "x.gpkg")


def make(path: Path, age_days: float, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    moment = time.time() - age_days * 86400
    os.utime(path, (moment, moment))
    return path


def test_same_job_same_journal_other_job_another(job: ClassifyJob, data_dir: Path) -> None:
    path = journals.journal_path(job)
    assert path.parent == data_dir / "journals"
    assert journals.journal_path(replace(job, device="cpu", output="y.gpkg")) == path
    assert journals.journal_path(replace(job, stride=60)) != path


def test_prune_keeps_young_and_small(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = data_dir / "journals"
    old = make(folder / "old.gpkg", journals.MAX_AGE_DAYS + 1)
    big = make(folder / "big.gpkg", 2, size=1000)
    young = make(folder / "young.gpkg", 1)
    running = make(folder / "running.gpkg", journals.MAX_AGE_DAYS + 1)
    make(folder / "running.gpkg-journal", 0)
    monkeypatch.setattr(journals, "MAX_BYTES", 500)
    assert journals.prune() == 2
    assert [path.exists() for path in (old, big, young, running)] == [False, False, True, True]


def test_clear_and_size(data_dir: Path) -> None:
    make(data_dir / "journals" / "a.gpkg", 0, size=7)
    make(data_dir / "journals" / "b.gpkg", 0, size=5)
    assert journals.total_bytes() == 12
    assert journals.clear() == 2
    assert journals.total_bytes() == 0


def test_settings_keep_their_types_and_the_variable_is_a_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.remember(settings.STRIDE, 60)
    assert settings.value(settings.STRIDE, 0) == 60
    monkeypatch.setenv("MULTIMODAL_WORKER_PYTHON", "/from/variable")
    assert settings.worker_python() == "/from/variable"
    settings.remember(settings.WORKER_PYTHON, "/from/setting")
    assert settings.worker_python() == "/from/setting"


def test_model_default_is_the_last_one_while_it_exists(tmp_path: Path) -> None:
    assert settings.default_model() == str(settings.sample_model())
    settings.remember(settings.MODEL, str(tmp_path))
    assert settings.default_model() == str(tmp_path)
    settings.remember(settings.MODEL, str(tmp_path / "gone"))
    assert settings.default_model() == str(settings.sample_model())


def test_no_data_of_ours_lies_in_the_plugin_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MULTIMODAL_DATA_DIR")
    plugin = Path(settings.__file__).parent
    assert plugin not in settings.managed_environment().parents
