"""A worker that is killed in the middle of its work: what was finished is a layer, then a whole."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProject,
    QgsRuleBasedRenderer,
    QgsVectorLayer,
)

from mm_qgis_plugin.core.contract.errors import OutputError
from mm_qgis_plugin.core.contract.messages import Plan
from mm_qgis_plugin.gui.dock import ClassifyDock
from mm_qgis_plugin.processing.destination import Place, check_room_for
from mm_qgis_plugin.worker import session_worker

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills as on POSIX")

# Many overlapping tiles in small batches: the end does not come before the kill.
LONG = {"STRIDE": 24, "BATCH_SIZE": 2}
HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA locking_mode = EXCLUSIVE")
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


class Said(QgsProcessingFeedback):
    """Keeps what is said, and does something at the first progress."""

    def __init__(self, act=lambda: None) -> None:
        super().__init__(False)
        self.lines: list[str] = []
        self._is_done = False
        self.progressChanged.connect(lambda value: self._once(act) if value > 0 else None)

    def _once(self, act) -> None:
        if not self._is_done:
            self._is_done = True
            act()

    def pushWarning(self, warning: str) -> None:
        self.lines.append(warning)

    def reportError(self, error: str, fatalError: bool = False) -> None:
        self.lines.append(error)


def kill_the_worker() -> None:
    os.kill(session_worker()._client._process._popen.pid, signal.SIGKILL)


def run(parameters: dict, feedback: QgsProcessingFeedback, **changes) -> dict:
    import processing

    values = {"OUTPUT": "TEMPORARY_OUTPUT", **parameters, **changes}
    return processing.run("multimodal:classify", values, feedback=feedback)


def rows(path: Path) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT fid, tile_id, status FROM tiles").fetchall()


@pytest.fixture
def parameters(provider, s2_path: str, s1_path: str, model_folder: str) -> dict:
    return {"S2": [s2_path], "S1": [s1_path], "MODEL": model_folder, "DEVICE": "cpu"}


@contextmanager
def held(path: Path):
    """Hold a result as another QGIS, or the command line, does that writes it."""
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        yield
        other.stdin.close()


def test_processing_fails_and_keeps_what_a_killed_worker_had_finished(
    parameters: dict, tmp_path: Path
) -> None:
    journal, output = tmp_path / "journal.gpkg", tmp_path / "out.gpkg"
    files = {"JOURNAL": str(journal), "OUTPUT": str(output)}
    with pytest.raises(QgsProcessingException) as failed:
        run(parameters, Said(kill_the_worker), **files, **LONG)
    said = str(failed.value)
    assert "ended without a word" in said
    assert f"journal '{journal}'" in said
    assert "goes on from there" in said
    assert f"'{output}' has them too; it is not the whole map" in said
    part = QgsVectorLayer(str(output), "out", "ogr")
    assert part.featureCount() == len(rows(journal)) > 0
    assert isinstance(part.renderer(), QgsRuleBasedRenderer)
    own = QgsVectorLayer(f"{journal}|layername=tiles", "journal", "ogr")
    assert isinstance(own.renderer(), QgsRuleBasedRenderer), "the journal is a styled layer too"
    assert not own.extent().isEmpty()
    del part, own
    again = run(parameters, Said(), **files, STRIDE=LONG["STRIDE"], BATCH_SIZE=32)
    assert again["STATE"] == "complete"
    numbers = [tile for _, tile, _ in rows(journal)]
    assert numbers == sorted(set(numbers))


def test_tiles_that_a_killed_worker_could_not_tell_of_are_kept_too(
    parameters: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mm_qgis_plugin.processing.reporter import Reporter

    # As when it dies between a commit and the message about it.
    never = property(lambda _: False, lambda _, value: None)
    monkeypatch.setattr(Reporter, "has_new_tiles", never, raising=False)
    journal, output = tmp_path / "journal.gpkg", tmp_path / "out.gpkg"
    with pytest.raises(QgsProcessingException, match="ended without a word"):
        run(parameters, Said(kill_the_worker), JOURNAL=str(journal), OUTPUT=str(output), **LONG)
    part = QgsVectorLayer(str(output), "out", "ogr")
    assert part.featureCount() == len(rows(journal)) > 0


def test_a_failure_into_a_scratch_layer_names_the_journal_alone(
    parameters: dict, tmp_path: Path
) -> None:
    journal = tmp_path / "journal.gpkg"
    with pytest.raises(QgsProcessingException, match="goes on from there") as failed:
        run(parameters, Said(kill_the_worker), JOURNAL=str(journal), **LONG)
    assert str(journal) in str(failed.value)
    assert "The output" not in str(failed.value)


def test_a_failure_whose_output_cannot_be_written_tells_both(
    parameters: dict, tmp_path: Path
) -> None:
    folder = tmp_path / "goes"
    folder.mkdir()

    def act() -> None:
        kill_the_worker()
        folder.rmdir()

    with pytest.raises(QgsProcessingException) as failed:
        run(parameters, Said(act), OUTPUT=str(folder / "out.gpkg"), **LONG)
    said = str(failed.value)
    assert said.index("ended without a word") < said.index("The output cannot be written")


def test_a_model_does_not_go_on_with_half_a_map(parameters: dict, tmp_path: Path) -> None:
    model = QgsProcessingModelAlgorithm("model")
    child = QgsProcessingModelChildAlgorithm("multimodal:classify")
    child.setChildId("classify")
    values = {**parameters, "JOURNAL": str(tmp_path / "journal.gpkg"), **LONG}
    for name, value in values.items():
        source = QgsProcessingModelChildParameterSource.fromStaticValue(value)
        child.addParameterSources(name, [source])
    model.addChildAlgorithm(child)
    feedback = Said(kill_the_worker)
    _, is_good = model.run({}, QgsProcessingContext(), feedback)
    assert not is_good
    assert "goes on from there" in "\n".join(feedback.lines)


def test_a_cancel_names_the_journal(parameters: dict, tmp_path: Path) -> None:
    journal = tmp_path / "journal.gpkg"
    feedback = Said(lambda: feedback.cancel())
    result = run(parameters, feedback, JOURNAL=str(journal), **LONG)
    assert result["STATE"] == "partial"
    assert any(str(journal) in line and "goes on from there" in line for line in feedback.lines)


def test_dock_shows_what_a_killed_worker_had_finished(
    dock: ClassifyDock, tmp_path: Path, spin_until, finish
) -> None:
    path = tmp_path / "part.gpkg"
    dock.output.setFilePath(str(path))
    dock.advanced.stride.setValue(24)
    dock.advanced.batch_size.setValue(2)
    dock.run_button.click()
    spin_until(lambda: dock.panel.bar.value() > 2)
    kill_the_worker()
    finish(dock)
    assert "Finished tiles are kept and shown" in dock.panel.message.text()
    (part,) = QgsProject.instance().mapLayersByName("part (incomplete)")
    kept = part.featureCount()
    assert 0 < kept == len(rows(path))
    assert isinstance(part.renderer(), QgsRuleBasedRenderer)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT state FROM mm_run").fetchone() == ("partial",)
    del part
    dock.run_button.click()
    finish(dock)
    (whole,) = QgsProject.instance().mapLayersByName("part")
    assert whole.featureCount() > kept


def test_another_run_in_the_journal_is_told_with_both_ways_out(
    parameters: dict, tmp_path: Path
) -> None:
    journal = str(tmp_path / "journal.gpkg")
    run(parameters, Said(), JOURNAL=journal)
    words = r"different: stride \(nothing before, 240 now\).*another JOURNAL, or set OVERWRITE"
    with pytest.raises(QgsProcessingException, match=words):
        run(parameters, Said(), JOURNAL=journal, STRIDE=240)
    again = run(parameters, Said(), JOURNAL=journal, STRIDE=240, OVERWRITE=True)
    assert again["CLASSIFIED"] < 7


def test_a_file_that_another_run_writes_is_refused_by_both_doors(
    dock: ClassifyDock, parameters: dict, tmp_path: Path
) -> None:
    path = tmp_path / "held.gpkg"
    run(parameters, Said(), JOURNAL=str(path))
    with held(path):
        with pytest.raises(QgsProcessingException, match="Another run holds"):
            run(parameters, Said(), JOURNAL=str(path))
        dock.output.setFilePath(str(path))
        dock.run_button.click()
        assert dock.active_run is None
        assert "Another run holds" in dock.panel.message.text()


@contextmanager
def small_drive(place: Path, size: str):
    """Mount a small file system, where this user may."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_sink_on_a_drive_that_is_too_small(parameters: dict, tmp_path: Path) -> None:
    with small_drive(tmp_path / "tiny", "64k") as drive:
        with pytest.raises(QgsProcessingException, match=r"takes about .* MB free"):
            run(parameters, Said(), OUTPUT=str(drive / "out.gpkg"))
        assert list(drive.iterdir()) == []
        assert run(parameters, Said())["STATE"] == "complete", "the worker serves on"


def test_the_room_of_a_sink_counts_probabilities_and_the_journal_beside_it(
    parameters: dict, tmp_path: Path
) -> None:
    """2821 tiles, most of them with 19 probabilities."""
    with small_drive(tmp_path / "small", "800k") as drive:
        output = {"OUTPUT": str(drive / "out.gpkg"), "STRIDE": 4}
        with pytest.raises(QgsProcessingException, match=r"takes about 1\.\d MB, .* 0\.8 MB free"):
            run(parameters, Said(), **output)
    with small_drive(tmp_path / "larger", "2m") as drive:
        output = {"OUTPUT": str(drive / "out.gpkg"), "STRIDE": 4}
        journal = {"JOURNAL": str(drive / "journal.gpkg")}
        with pytest.raises(QgsProcessingException, match=r"takes about 2\.\d MB, .* 2\.\d MB free"):
            run(parameters, Said(), **output, **journal)
        # Where the journal lies elsewhere there is room: the run begins, and is cancelled.
        feedback = Said(lambda: feedback.cancel())
        assert run(parameters, feedback, **output)["STATE"] == "partial"


def test_what_a_sink_replaces_is_room(tmp_path: Path) -> None:
    plan = Plan(2821, 2821, "", "cpu", "fp32", 8, expected_skipped=300)
    journal = tmp_path / "journal.gpkg"
    with small_drive(tmp_path / "small", "1600k") as drive:
        path = drive / "out.gpkg"
        path.write_bytes(bytes(1_400_000))
        check_room_for(Place(path), journal, plan, 19)
        with pytest.raises(OutputError, match="takes about"):
            check_room_for(Place(path, "table"), journal, plan, 19)
        with pytest.raises(OutputError, match="takes about"):
            check_room_for(Place(drive / "other.gpkg"), journal, plan, 19)
