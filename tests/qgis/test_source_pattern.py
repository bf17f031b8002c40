"""Which rasters are of one kind, and the band maps kept for them."""

from __future__ import annotations

import pytest
from qgis.core import QgsSettings

from mm_qgis_plugin import band_memory
from mm_qgis_plugin.source_pattern import set_pattern, source_pattern

pytestmark = pytest.mark.usefixtures("qgis_app")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("S2_20170613_32UPU.tif", "S2_20230101_33TWN.tif"),
        ("/a/S2A_T33UUP_20170613T101031.tif", "C:\\b\\S2A_T31TCJ_20180102T105441.tif"),
        ("scene_2017-06-13_v2.tif", "scene_2022-12-31_v10.tif"),
        ("mosaic_1.tif", "mosaic_245.TIF"),
        ("33UUP_26_57_S1.tif", "35VNJ_9_81_S1.tif"),
    ],
)
def test_what_differs_from_scene_to_scene_is_left_out(one: str, other: str) -> None:
    assert source_pattern(one, 4) == source_pattern(other, 4)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("farm_20170613.tif", "forest_20170613.tif"),
        ("T33UUP_20170613_B02.tif", "T33UUP_20170613_B03.tif"),
        ("T33UUP_B08.jp2", "T33UUP_B8A.jp2"),
        ("scene.tif", "scene.vrt"),
    ],
)
def test_other_kinds_are_told_apart(one: str, other: str) -> None:
    assert source_pattern(one, 1) != source_pattern(other, 1)


def test_another_number_of_bands_is_another_kind() -> None:
    assert source_pattern("a.tif", 3) != source_pattern("a.tif", 4)


def test_the_pattern_is_readable() -> None:
    assert source_pattern("/x/S2B_T33UUP_20170613T101031_B8A_60m.tif", 1) == (
        "s#b_{tile}_{date}_b8a_#m.tif|1"
    )
    assert set_pattern(["b|1", "a|1", "b|1"]) == "a|1 + b|1"
    assert set_pattern([]) == ""


def test_maps_are_kept_by_sensor_and_kind() -> None:
    band_memory.keep("s1", "a|2", " VV=1,VH=2 ")
    assert band_memory.recall("s1", "a|2") == "VV=1,VH=2"
    assert band_memory.recall("s2", "a|2") == ""
    assert band_memory.recall("s1", "b|2") == ""
    band_memory.keep("s1", "a|2", "")
    assert band_memory.recall("s1", "a|2") == ""
    band_memory.keep("s1", "", "VV=1")
    assert band_memory.recall("s1", "") == ""


def test_what_is_kept_does_not_grow_for_ever() -> None:
    for number in range(250):
        band_memory.keep("s1", f"kind {number}|2", "VV=1")
    assert not band_memory.recall("s1", "kind 49|2")
    assert band_memory.recall("s1", "kind 50|2")


@pytest.mark.parametrize("broken", ["{", "[1]", '{"s1|a|2": 7}', "null"])
def test_damaged_settings_are_no_map(broken: str) -> None:
    QgsSettings().setValue(f"multimodal/{band_memory.BAND_MAPS}", broken)
    assert band_memory.recall("s1", "a|2") == ""
    band_memory.keep("s1", "a|2", "VV=1")
    assert band_memory.recall("s1", "a|2") == "VV=1"
