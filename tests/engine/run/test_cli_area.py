"""Areas of interest as a shell gives them, and in which CRS they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform_geom

from multimodal.cli_area import aoi_wkt
from multimodal.contract.errors import JobError
from multimodal.scene.areas import parse_area

UTM = CRS.from_epsg(32633)
SQUARE = shapely.box(344400, 5290800, 345600, 5293200)
BOWTIE = shapely.Polygon(
    [(344400, 5290800), (345600, 5293200), (345600, 5290800), (344400, 5293200)]
)


def write(path: Path, *shapes: Any, **members: Any) -> str:
    features = [
        {"type": "Feature", "properties": {}, "geometry": None if s is None else s} for s in shapes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **members}))
    return str(path)


def mapping(shape: Any, code: int = 32633) -> dict[str, Any]:
    return dict(transform_geom(UTM, CRS.from_epsg(code), shapely.geometry.mapping(shape)))


def same_area(text: str) -> float:
    """Return the share of both that is in only one of them."""
    area = parse_area(text, "area", UTM)
    got = shapely.geometry.shape(
        transform_geom(area.crs, UTM, shapely.geometry.mapping(area.shape), precision=9)
    )
    return got.symmetric_difference(SQUARE).area / SQUARE.area


def named(name: str) -> dict[str, Any]:
    return {"type": "name", "properties": {"name": name}}


def test_geojson_is_in_wgs84_as_its_standard_says(tmp_path: Path) -> None:
    text = aoi_wkt(write(tmp_path / "a.geojson", mapping(SQUARE, 4326)))
    assert text.startswith("SRID=4326;")
    assert same_area(text) < 0.001


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (32632, "urn:ogc:def:crs:EPSG::32632"),
        (3857, "EPSG:3857"),
        (4326, "urn:ogc:def:crs:OGC:1.3:CRS84"),
    ],
)
def test_geojson_that_names_its_crs(tmp_path: Path, code: int, name: str) -> None:
    path = write(tmp_path / "a.geojson", mapping(SQUARE, code), crs=named(name))
    assert same_area(aoi_wkt(path)) < 0.001


def test_numbers_that_cannot_be_degrees_are_in_the_crs_of_the_scene(tmp_path: Path) -> None:
    assert same_area(aoi_wkt(write(tmp_path / "a.geojson", mapping(SQUARE)))) == 0


def test_a_crs_without_a_code_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", mapping(SQUARE), crs=named("my grid"))
    with pytest.raises(JobError, match="no EPSG code"):
        aoi_wkt(path)


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(JobError, match="EPSG:999999, which is unknown"):
        parse_area(f"SRID=999999;{SQUARE.wkt}", "area of interest", UTM)


def test_self_crossing_and_empty_features_do_no_harm(tmp_path: Path) -> None:
    bowtie = shapely.geometry.mapping(BOWTIE)
    path = write(tmp_path / "a.geojson", bowtie, None, mapping(SQUARE))
    assert same_area(aoi_wkt(path)) == 0


@pytest.mark.parametrize(
    "text",
    [
        "{}", "[]", "3", '{"type": "FeatureCollection"}', "not json", "[" * 100_000,
        '{"type": "FeatureCollection", "features": [null, 1]}',
        '{"type": "Polygon", "coordinates": [[[0, 0], [1, "x"]]]}',
    ],
)  # fmt: skip
def test_other_files_are_explained(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(text)
    with pytest.raises(JobError, match=r"no GeoJSON with polygons\. Expected is a") as caught:
        aoi_wkt(str(path))
    for word in ("KeyError", "object", "indices", "Expecting", "NoneType", "'type'"):
        assert word not in caught.value.message


@pytest.mark.parametrize("crs", [5, [], {"properties": 3}, {"properties": {}}, {"type": "name"}])
def test_a_crs_of_another_shape_is_explained(tmp_path: Path, crs: Any) -> None:
    path = write(tmp_path / "a.geojson", mapping(SQUARE), crs=crs)
    with pytest.raises(JobError, match="no EPSG code"):
        aoi_wkt(path)


@pytest.mark.parametrize(
    "shapes",
    [
        [], [None], [{"type": "Point", "coordinates": [1, 2]}],
        [{"type": "LineString", "coordinates": [[1, 2], [3, 4]]}],
        [{"type": "Polygon", "coordinates": []}],
    ],
)  # fmt: skip
def test_a_file_without_polygons_says_so(tmp_path: Path, shapes: list) -> None:
    with pytest.raises(JobError, match="has no polygons"):
        aoi_wkt(write(tmp_path / "a.geojson", *shapes))


def test_wkt_goes_through_unchanged() -> None:
    for text in (SQUARE.wkt, f"SRID=4326;{SQUARE.wkt}", "POLYGON EMPTY", None):
        assert aoi_wkt(text) == text


def test_an_area_beyond_the_projection_still_holds_what_is_in_it() -> None:
    """Half the world has no image in a UTM zone; a place in it has one in the area's CRS."""
    half = "SRID=4326;POLYGON ((-75 -10, 105 -10, 105 95, -75 95, -75 -10))"
    x, y = np.array([344_400.0, 1e30]), np.array([5_290_800.0, 0])
    assert parse_area(half, "area", UTM).holds(x, y, UTM).tolist() == [True, False]


def test_an_area_without_numbers_is_refused() -> None:
    with pytest.raises(JobError, match="no numbers"):
        parse_area("POLYGON ((0 0, inf 0, 1 1, 0 0))", "area", UTM)


def test_an_area_of_one_point_holds_nothing() -> None:
    assert parse_area("SRID=4326;POLYGON ((1 1, 1 1, 1 1, 1 1))", "area", UTM).shape.area == 0
