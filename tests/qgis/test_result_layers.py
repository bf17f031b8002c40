"""Preview and result of a run, without a run: rows come in by slices, the result in steps."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from qgis.core import QgsProject, QgsVectorLayer
from qgis.PyQt.QtCore import QObject

from mm_qgis_plugin.core.contract.result import TileResult
from mm_qgis_plugin.core.contract.spec import default_spec
from mm_qgis_plugin.gui import result_layers
from mm_qgis_plugin.gui.result_layers import ResultLayers

SPEC = default_spec(["Water", "Wood"])
MANY = 2000


def rows(count: int) -> list[TileResult]:
    return [
        TileResult(n, 0, n, ((n, 0.0), (n + 1, 0.0), (n + 1, 1.0), (n, 1.0)), "ok",
                   (0.9, n / count), 1.0, 1.0)
        for n in range(count)
    ]  # fmt: skip


@pytest.fixture
def layers(qgis_new_project, qgis_app, spin_until) -> Iterator[ResultLayers]:
    made = ResultLayers(SPEC, "Result", QObject(qgis_app))
    made.begin("EPSG:32633")
    spin_until(QgsProject.instance().mapLayers)
    yield made
    made.remove_preview()


def preview() -> QgsVectorLayer:
    (layer,) = QgsProject.instance().mapLayers().values()
    return layer


def test_many_rows_at_once_come_in_by_slices(layers: ResultLayers, spin_until) -> None:
    shown = preview()
    layers.add(rows(MANY))
    assert shown.featureCount() == 0
    counts = [0]
    spin_until(lambda: counts.append(shown.featureCount()) or counts[-1] == MANY)
    # One turn of the event loop adds what fits into a slice of some milliseconds.
    assert max(b - a for a, b in zip(counts, counts[1:])) <= MANY / 4
    assert [f["tile_id"] for f in shown.getFeatures()] == list(range(MANY))
    assert shown.getFeature(MANY)["p_wood"] == (MANY - 1) / MANY
    spin_until(lambda: shown.extent().xMaximum() == MANY)


def test_the_preview_is_styled_and_marked_before_it_is_there(layers: ResultLayers) -> None:
    shown = preview()
    assert shown.name() == "Result (running)"
    assert shown.readOnly()
    assert len(shown.renderer().legendSymbolItems()) == 4
    assert shown.customProperty("multimodal/preview")


def test_rows_that_come_before_the_preview_are_shown(
    qgis_new_project, qgis_app, spin_until
) -> None:
    made = ResultLayers(SPEC, "Result", QObject(qgis_app))
    made.begin("EPSG:32633")
    made.add(rows(100))
    spin_until(lambda: QgsProject.instance().mapLayers() and preview().featureCount() == 100)
    made.remove_preview()


def test_a_run_that_ends_before_its_preview_is_there_shows_none(
    qgis_new_project, qgis_app, spin_until
) -> None:
    made = ResultLayers(SPEC, "Result", QObject(qgis_app))
    made.begin("EPSG:32633")
    made.remove_preview()
    made.add(rows(10))
    until = time.monotonic() + 0.1
    spin_until(lambda: time.monotonic() > until)
    assert not QgsProject.instance().mapLayers()
    assert not made._waiting


def test_rows_that_come_later_are_shown_too(layers: ResultLayers, spin_until) -> None:
    shown, given = preview(), rows(100)
    for first in (0, 50):
        layers.add(given[first : first + 50])
        spin_until(lambda first=first: shown.featureCount() == first + 50)


def test_the_map_is_drawn_again_at_most_twice_a_second(layers: ResultLayers, spin_until) -> None:
    shown, drawn = preview(), []
    shown.repaintRequested.connect(lambda: drawn.append(shown.featureCount()))
    for row in rows(200):
        layers.add([row])
        spin_until(lambda row=row: shown.featureCount() == row.tile_id + 1)
    spin_until(lambda: drawn and drawn[-1] == 200)
    assert len(drawn) < 10
    # Nothing new, nothing drawn.
    count = len(drawn)
    layers._repaint()
    assert len(drawn) == count


def test_rows_that_cannot_be_shown_are_told(
    layers: ResultLayers, spin_until, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ValueError("no feature")

    monkeypatch.setattr(result_layers, "tile_feature", break_down)
    told: list[Exception] = []
    layers.failed.connect(told.append)
    layers.add(rows(10))
    spin_until(lambda: told)
    assert isinstance(told[0], ValueError)


def test_a_preview_that_is_taken_away_leaves_nothing(layers: ResultLayers, spin_until) -> None:
    shown = preview()
    gone: list[bool] = []
    shown.destroyed.connect(lambda: gone.append(True))
    layers.add(rows(MANY))
    spin_until(shown.featureCount)
    layers.remove_preview()
    assert not QgsProject.instance().mapLayers()
    assert not layers._waiting
    assert gone


def steps_of(work: Generator[None, None, QgsVectorLayer]) -> tuple[int, QgsVectorLayer]:
    """Do the work at once, and return in how many steps."""
    count = 0
    try:
        while True:
            next(work)
            count += 1
    except StopIteration as end:
        return count, end.value


def test_a_file_that_is_none_is_told(layers: ResultLayers, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="cannot be opened"):
        steps_of(layers.show_file(tmp_path / "none.gpkg", True))
    assert preview().name() == "Result (running)"
