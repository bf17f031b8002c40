"""Journals in the user's data folder, and what the plugin remembers."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from qgis.core import (
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsGeometry,
    QgsRectangle,
    QgsVectorFileWriter,
    QgsVectorLayer,
)

from mm_qgis_plugin import journals, settings
from mm_qgis_plugin.core.contract.job import ClassifyJob, RasterSource, fingerprint
from mm_qgis_plugin.results import open_journal

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
    running = folder / "running.gpkg"
    monkeypatch.setattr(journals, "MAX_BYTES", 500)
    with closing(sqlite3.connect(running)) as connection:
        connection.execute("CREATE TABLE numbers (number)")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("INSERT INTO numbers VALUES (1)")
        assert running.with_name("running.gpkg-journal").exists()
        os.utime(running, (0, 0))
        assert journals.prune() == 2
    assert [path.exists() for path in (old, big, young, running)] == [False, False, True, True]


def test_clear_and_size(data_dir: Path) -> None:
    make(data_dir / "journals" / "a.gpkg", 0, size=7)
    make(data_dir / "journals" / "b.gpkg", 0, size=5)
    assert journals.total_bytes() == 12
    assert journals.clear() == 2
    assert journals.total_bytes() == 0


def finished(job: ClassifyJob) -> Path:
    """Leave a journal of the job as far as the plugin looks at it."""
    path = journals.journal_path(job)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE mm_run (identity)")
        connection.execute("INSERT INTO mm_run VALUES (?)", (json.dumps(fingerprint(job)),))
    return path


def cut_off(path: Path) -> None:
    os.truncate(path, 5000)


def overwritten(path: Path) -> None:
    path.write_text("something else")


def of_another_run(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE mm_run SET identity = '{}'")


@pytest.mark.parametrize("spoil", [cut_off, overwritten, of_another_run])
def test_a_damaged_journal_of_ours_is_put_aside(job: ClassifyJob, spoil: Callable) -> None:
    path = finished(job)
    job = replace(job, output=str(path))
    assert journals.set_damaged_aside(job) == ""
    assert path.exists()
    spoil(path)
    path.with_name(f"{path.name}-journal").write_bytes(b"")
    left = path.read_bytes()
    said = journals.set_damaged_aside(job)
    aside = path.with_name(f"{path.name}.damaged")
    assert f"'{aside}', and the run starts anew" in said
    assert aside.read_bytes() == left
    assert not list(path.parent.glob("*.gpkg")) + list(path.parent.glob("*.gpkg-journal"))
    assert journals.clear() == 2
    assert not list(path.parent.iterdir())


def test_a_journal_that_a_run_holds_stays(job: ClassifyJob) -> None:
    path = finished(job)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert journals.set_damaged_aside(replace(job, output=str(path))) == ""
    assert path.exists()


def test_a_damaged_file_of_the_user_stays(job: ClassifyJob, tmp_path: Path) -> None:
    path = tmp_path / "mine.gpkg"
    overwritten(path)
    assert journals.set_damaged_aside(replace(job, output=str(path))) == ""
    assert path.read_text() == "something else"


def kill_a_writer(path: Path, inside: bool) -> Path:
    """Leave a database as a worker leaves it that was killed between or inside commits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE numbers (number)")
    orders = (
        "import os, sqlite3, sys",
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)",
        "c.execute('PRAGMA locking_mode = EXCLUSIVE')",
        "c.execute('PRAGMA cache_size = 1')",
        "c.execute('INSERT INTO numbers VALUES (1)')",
        f"{inside} and c.execute('BEGIN')",
        f"{inside} and c.executemany('INSERT INTO numbers VALUES (?)', [('x' * 500,)] * 5000)",
        "os.kill(os.getpid(), 9)",
    )
    subprocess.run([sys.executable, "-c", "\n".join(orders), str(path)], check=False)
    assert path.with_name(f"{path.name}-journal").exists()
    return path


@pytest.mark.parametrize("inside", [False, True])
def test_journals_of_killed_workers_are_cleared_and_pruned(data_dir: Path, inside: bool) -> None:
    folder = data_dir / "journals"
    kill_a_writer(folder / "killed.gpkg", inside)
    assert journals.clear() == 1
    assert not list(folder.iterdir())
    old = kill_a_writer(folder / "old.gpkg", inside)
    os.utime(old, (0, 0))
    assert journals.prune() == 1
    assert not list(folder.iterdir())


def test_a_result_with_a_hot_journal_is_read(s2_path: str, tmp_path: Path) -> None:
    """The transaction that was under way is rolled back; what was committed is there."""
    path = tmp_path / "hot.gpkg"
    layer = QgsVectorLayer("Polygon?crs=EPSG:32633&field=status:string", "tiles", "memory")
    feature = QgsFeature(layer.fields())
    feature.setAttributes(["ok"])
    feature.setGeometry(QgsGeometry.fromRect(QgsRectangle(0, 0, 1, 1)))
    layer.dataProvider().addFeatures([feature])
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.layerName = "tiles"
    context = QgsCoordinateTransformContext()
    QgsVectorFileWriter.writeAsVectorFormatV3(layer, str(path), context, options)
    kill_a_writer(path, inside=True)
    journal = open_journal(path)
    assert (journal.count, journal.classified) == (1, 1)
    assert not path.with_name("hot.gpkg-journal").exists()


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
