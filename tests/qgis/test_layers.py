"""From layers to sources and areas."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsGeometry,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)

from mm_qgis_plugin import layers
from mm_qgis_plugin.core.contract.errors import CrsError, JobError, SourceError
from mm_qgis_plugin.layers import (
    crs_of_path,
    extent_wkt,
    guess_sensor,
    path_source,
    polygons_wkt,
    raster_source,
    scene_extent,
)

pytestmark = pytest.mark.usefixtures("qgis_app")

SCENE_EXTENT = QgsRectangle(344400, 5290800, 346800, 5295600)


@pytest.fixture
def utm(qgis_app) -> QgsCoordinateReferenceSystem:
    return QgsCoordinateReferenceSystem("EPSG:32633")


@pytest.fixture
def degrees(qgis_app) -> QgsCoordinateReferenceSystem:
    return QgsCoordinateReferenceSystem("EPSG:4326")


def feature(wkt: str) -> QgsFeature:
    made = QgsFeature()
    made.setGeometry(QgsGeometry.fromWkt(wkt))
    return made


def test_a_file_layer_gives_its_path_and_no_crs(s2_path: str) -> None:
    source = raster_source(QgsRasterLayer(s2_path, "s2"), {"B02": 2})
    assert (source.path, source.crs_wkt, source.bands) == (s2_path, None, {"B02": 2})


def test_a_crs_set_in_qgis_travels(s2_path: str) -> None:
    layer = QgsRasterLayer(s2_path, "s2")
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:32634"))
    wkt = raster_source(layer).crs_wkt
    assert QgsCoordinateReferenceSystem.fromWkt(wkt).authid() == "EPSG:32634"


def test_a_vector_layer_is_refused(qgis_app) -> None:
    layer = QgsVectorLayer("Polygon?crs=EPSG:32633", "fields", "memory")
    with pytest.raises(SourceError, match="'fields' is not a raster: choose"):
        raster_source(layer)


def test_a_broken_layer_is_refused() -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        raster_source(QgsRasterLayer("/nowhere/s2.tif", "gone"))


def test_another_provider_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "type=xyz&url=file:///{z}/{x}/{y}.png&zmax=3&zmin=0"
    layer = QgsRasterLayer(uri, "tiles of the web", "wms")
    assert layer.isValid()
    with pytest.raises(SourceError, match=r"from 'wms'.*export it to a GeoTIFF"):
        raster_source(layer)


def test_paths_must_exist_but_gdal_names_need_not(s2_path: str) -> None:
    assert path_source(s2_path).path == s2_path
    assert path_source("/vsizip//data/x.zip").path == "/vsizip//data/x.zip"
    with pytest.raises(SourceError, match="does not exist"):
        path_source("/nowhere/S2A.SAFE")


def test_extent_in_the_same_crs_keeps_its_corners(utm: QgsCoordinateReferenceSystem) -> None:
    wkt = extent_wkt(SCENE_EXTENT, utm, utm, QgsCoordinateTransformContext())
    geometry = QgsGeometry.fromWkt(wkt)
    assert geometry.boundingBox() == SCENE_EXTENT
    assert geometry.constGet().nCoordinates() == 5


def test_reprojected_extent_follows_its_curved_edges(
    utm: QgsCoordinateReferenceSystem, degrees: QgsCoordinateReferenceSystem
) -> None:
    wide = QgsRectangle(9, 46, 15, 50)
    wkt = extent_wkt(wide, degrees, utm, QgsCoordinateTransformContext())
    geometry = QgsGeometry.fromWkt(wkt)
    assert geometry.constGet().nCoordinates() > 80
    # 12 degrees east is 3 degrees from the central meridian: the parallel bends there by km.
    straight = QgsGeometry.fromWkt(
        "Polygon((" + ", ".join(
            f"{p.x()} {p.y()}" for i, p in enumerate(geometry.vertices()) if i % 21 == 0
        ) + "))"
    )  # fmt: skip
    assert geometry.symDifference(straight).area() > 1e9


def test_empty_extent_and_missing_crs_are_explained(utm: QgsCoordinateReferenceSystem) -> None:
    context = QgsCoordinateTransformContext()
    with pytest.raises(JobError, match="extent is empty"):
        extent_wkt(QgsRectangle(), utm, utm, context)
    nowhere = QgsCoordinateReferenceSystem()
    with pytest.raises(CrsError, match=r"The area has no coordinate .* those of the project"):
        extent_wkt(SCENE_EXTENT, nowhere, utm, context)
    with pytest.raises(CrsError, match="The Sentinel-2 raster has no coordinate"):
        extent_wkt(SCENE_EXTENT, utm, nowhere, context)


def test_polygons_become_one_flat_area(utm: QgsCoordinateReferenceSystem) -> None:
    features = [
        feature("PolygonZ((0 0 5, 10 0 5, 10 10 5, 0 10 5, 0 0 5))"),
        feature("Polygon((5 0, 20 0, 20 10, 5 10, 5 0))"),
        QgsFeature(),
    ]
    wkt = polygons_wkt(features, utm, utm, QgsCoordinateTransformContext())
    geometry = QgsGeometry.fromWkt(wkt)
    assert geometry.area() == pytest.approx(200)
    assert wkt.startswith("Polygon (")


def test_invalid_polygon_is_repaired(utm: QgsCoordinateReferenceSystem) -> None:
    bow_tie = feature("Polygon((0 0, 10 10, 10 0, 0 10, 0 0))")
    wkt = polygons_wkt([bow_tie], utm, utm, QgsCoordinateTransformContext())
    assert QgsGeometry.fromWkt(wkt).area() == pytest.approx(50)


WORLD = QgsRectangle(-180, -90, 180, 90)


@pytest.mark.parametrize("kind", ["extent", "polygons"])
@pytest.mark.parametrize(
    ("code", "world"),
    [("EPSG:4326", WORLD), ("EPSG:3857", QgsRectangle(-2e7, -2e7, 2e7, 2e7))],
)
def test_the_whole_world_holds_the_whole_scene(
    utm: QgsCoordinateReferenceSystem, kind: str, code: str, world: QgsRectangle
) -> None:
    crs, context = QgsCoordinateReferenceSystem(code), QgsCoordinateTransformContext()
    if kind == "extent":
        wkt = extent_wkt(world, crs, utm, context, SCENE_EXTENT)
    else:
        wkt = polygons_wkt([feature(world.asWktPolygon())], crs, utm, context, SCENE_EXTENT)
    placed = QgsGeometry.fromWkt(wkt)
    assert placed.contains(QgsGeometry.fromRect(SCENE_EXTENT))
    assert placed.boundingBox().width() < 2 * SCENE_EXTENT.height()


def test_an_area_at_the_antimeridian_is_left_whole(degrees: QgsCoordinateReferenceSystem) -> None:
    fiji = QgsCoordinateReferenceSystem("EPSG:32701")
    scene = QgsRectangle(150_000, 8_000_000, 250_000, 8_100_000)
    west = feature("Polygon((179.5 -17.9, 179.9 -17.9, 179.9 -17.5, 179.5 -17.5, 179.5 -17.9))")
    context = QgsCoordinateTransformContext()
    wkt = polygons_wkt([west], degrees, fiji, context, scene)
    assert QgsGeometry.fromWkt(wkt).area() > 1e9


def test_an_area_beside_the_scene_is_refused(
    utm: QgsCoordinateReferenceSystem, degrees: QgsCoordinateReferenceSystem
) -> None:
    context = QgsCoordinateTransformContext()
    far = feature("Polygon((1 1, 2 1, 2 2, 1 2, 1 1))")
    with pytest.raises(JobError, match="does not meet the scene"):
        polygons_wkt([far], degrees, utm, context, SCENE_EXTENT)


def test_the_extent_of_several_layers(s2_path: str, degrees: QgsCoordinateReferenceSystem) -> None:
    context = QgsCoordinateTransformContext()
    first, second = QgsRasterLayer(s2_path, "a"), QgsRasterLayer(s2_path, "b")
    assert scene_extent([first, second], first.crs(), context) == SCENE_EXTENT
    box = scene_extent([first], degrees, context)
    assert box is not None
    assert 12 < box.xMinimum() < box.xMaximum() < 14
    second.setCrs(QgsCoordinateReferenceSystem())
    assert scene_extent([first, second], first.crs(), context) is None


def test_the_same_polygons_are_united_once(
    utm: QgsCoordinateReferenceSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    united: list[int] = []
    whole = QgsGeometry.unaryUnion

    class Counted(QgsGeometry):
        @staticmethod
        def unaryUnion(parts: list) -> QgsGeometry:
            united.append(len(parts))
            return whole(parts)

    monkeypatch.setattr(layers, "QgsGeometry", Counted)
    context = QgsCoordinateTransformContext()
    one = feature("Polygon((7 7, 8 7, 8 8, 7 8, 7 7))")
    other = feature("Polygon((7 7, 9 7, 9 8, 7 8, 7 7))")
    for chosen in ([one], [one], [one, other], [one]):
        polygons_wkt(chosen, utm, utm, context)
    assert united == [1, 2, 1]


@pytest.mark.parametrize("features", [[], [feature("Point(1 1)")], [QgsFeature()]])
def test_nothing_selected_is_explained(utm: QgsCoordinateReferenceSystem, features: list) -> None:
    with pytest.raises(JobError, match="no polygon to use: check the layer and its selection"):
        polygons_wkt(features, utm, utm, QgsCoordinateTransformContext())


def test_crs_is_found_in_file_and_folder(tmp_path: Path, s2_path: str) -> None:
    shutil.copy(s2_path, tmp_path / "B04.tif")
    assert crs_of_path(s2_path).authid() == "EPSG:32633"
    assert crs_of_path(str(tmp_path)).authid() == "EPSG:32633"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CrsError, match="could not be found"):
        crs_of_path(str(empty))


def test_sensors_are_guessed_by_band_names(s2_path: str, s1_path: str) -> None:
    assert guess_sensor(QgsRasterLayer(s2_path, "a")) == "s2"
    assert guess_sensor(QgsRasterLayer(s1_path, "b")) == "s1"
