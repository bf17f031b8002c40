"""From points, polygons and class rasters to labelled tiles."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform

from multimodal.contract.errors import (
    CrsError,
    JobError,
    NoOverlapError,
    SourceError,
    SpecError,
)
from multimodal.contract.train_order import LabelOptions
from multimodal.scene.geometry import Geometry
from multimodal.scene.grid import TileGrid
from multimodal.training.class_table import read_class_table
from multimodal.training.labels import joined_classes, label_scene, lon_lat, read_labels
from multimodal.training.placing import Frame, lay_tiles
from multimodal.training.raster_tiles import tiles_of_raster
from multimodal.training.sampling import sampling_report
from multimodal.training.tile_labels import TileLabels

from .conftest import LEFT, TOP, WriteLayer, point, square, utm_grid

ROOT = Path(__file__).resolve().parents[3]


def labelled(path: str, *fields: str, **options: Any) -> TileLabels:
    source = read_labels(LabelOptions((path,), fields or ("class",), **options))
    return label_scene(source, utm_grid())[0]


def test_a_tile_is_centred_on_its_point_and_not_on_the_grid(write_layer: WriteLayer) -> None:
    path = write_layer([(point(100, 131), {"class": "a"}), (point(300, 300), {"class": "b"})])
    labels = labelled(path)
    assert labels.places.tolist() == [[71, 40], [240, 240]]
    assert labels.says.tolist() == [[1, 0], [0, 1]]
    assert not labels.multi


def test_a_polygon_of_one_tile_is_that_tile(write_layer: WriteLayer) -> None:
    path = write_layer([(square(120, 0), {"class": "a"}), (square(13, 200), {"class": "b"})])
    labels = labelled(path)
    assert labels.places.tolist() == [[0, 120], [200, 13]]
    assert labels.mixed == labels.moved == 0


def test_a_larger_polygon_gives_tiles_edge_to_edge(write_layer: WriteLayer) -> None:
    labels = labelled(write_layer([(square(0, 0, 360), {"class": "a"})]))
    assert sorted(map(tuple, labels.places.tolist())) == [
        (row, col) for row in (0, 120, 240) for col in (0, 120, 240)
    ]


def test_at_the_edge_a_tile_is_moved_inside(write_layer: WriteLayer) -> None:
    labels = labelled(write_layer([(point(10, 470), {"class": "a"})]))
    assert labels.places.tolist() == [[360, 0]]
    assert labels.moved == 1


def test_every_part_of_a_collection_has_a_tile() -> None:
    squares = [shapely.box(x, 0, x + 120, 120) for x in (0, 200)]
    line = shapely.LineString([(0, 0), (9, 9)])
    collection = shapely.GeometryCollection([shapely.MultiPolygon(squares), line])
    shapes = np.array([collection, None], dtype=object)
    places = lay_tiles(shapes, Frame(480, 480, 120))
    assert places.tiles == {(0, 0): [0], (0, 200): [0]}
    assert places.outside == [1]


def test_labels_in_another_crs_come_to_the_same_pixels(write_layer: WriteLayer) -> None:
    shape = square(120, 120)

    def to_degrees(points: np.ndarray) -> np.ndarray:
        moved = transform(CRS.from_epsg(32633), CRS.from_epsg(4326), points[:, 0], points[:, 1])
        return np.column_stack(moved)

    path = write_layer([(shapely.transform(shape, to_degrees), {"class": "a"})], epsg=4326)
    assert labelled(path).places.tolist() == [[120, 120]]


def test_small_polygons_and_mixed_tiles_are_told_of(write_layer: WriteLayer) -> None:
    path = write_layer([
        (square(0, 0, 40), {"class": "a"}),  # a ninth of a tile
        (square(200, 200, 100), {"class": "a"}),
        (square(300, 200, 100), {"class": "b"}),  # its neighbour: a tenth of each other's tile
    ])  # fmt: skip
    labels = labelled(path)
    assert labels.small == (0,)
    assert labels.mixed == 2
    assert labels.says.tolist() == [[1, 0], [0, 1]]
    assert len(labelled(path, min_share=0.1)) == 3


def test_a_tile_of_two_classes_at_one_place_is_left_out(write_layer: WriteLayer) -> None:
    path = write_layer([
        (point(100, 100), {"class": "a"}), (point(100, 100), {"class": "b"}),
        (point(300, 300), {"class": "a"}), (square(250, 250, 110), {"class": "b"}),
    ])  # fmt: skip
    labels = labelled(path)
    # The polygon prevails in its own tile and in that of the point within it.
    assert labels.places.tolist() == [[245, 245]]
    assert labels.dropped == 2


def test_absence_is_known_only_where_it_is_said(write_layer: WriteLayer) -> None:
    path = write_layer([
        (square(0, 0), {"class": "a; b"}), (square(240, 240), {"class": "c"}),
    ])  # fmt: skip
    unsaid = labelled(path)
    assert unsaid.multi
    assert unsaid.says.tolist() == [[1, 1, -1], [-1, -1, 1]]
    assert labelled(path, full_lists=True).says.tolist() == [[1, 1, 0], [0, 0, 1]]
    complete = write_layer([(square(0, 0, 200), {})], "complete.geojson")
    assert labelled(path, complete=complete).says.tolist() == [[1, 1, 0], [-1, -1, 1]]


def test_a_full_list_speaks_only_for_what_its_polygon_covers(write_layer: WriteLayer) -> None:
    shapes = [(square(0, 0, 80), {"class": "a;"}), (square(240, 240), {"class": "b; c"})]
    labels = labelled(write_layer(shapes), full_lists=True)
    assert labels.says.tolist() == [[1, -1, -1], [0, 1, 1]]


def test_what_touches_a_tile_is_present_in_it(write_layer: WriteLayer) -> None:
    shapes = [(square(0, 0), {"class": "a;"}), (square(110, 110, 40), {"class": "b"})]
    labels = labelled(write_layer(shapes))
    assert labels.says[0].tolist() == [1, 1]


def test_several_fields_hold_names_or_yes_and_no(write_layer: WriteLayer) -> None:
    names = write_layer([(square(0, 0), {"one": "a", "two": "b"}),
                         (square(240, 240), {"one": "b", "two": None})])  # fmt: skip
    assert labelled(names, "one", "two").says.tolist() == [[1, 1], [-1, 1]]
    flags = write_layer([(square(0, 0), {"wood": 1, "water": 0}),
                         (square(240, 240), {"wood": None, "water": 1})])  # fmt: skip
    found = labelled(flags, "wood", "water")
    assert found.classes == ("wood", "water")
    assert found.says.tolist() == [[1, 0], [-1, 1]]


def test_a_table_names_values_and_gives_order_and_colours(
    write_layer: WriteLayer, tmp_path: Path
) -> None:
    table = tmp_path / "classes.csv"
    table.write_text("value,class,color\n2,water,#0000ff\n1,wood,#00ff00\n3,wood,\n")
    places = (60, 60, 1), (300, 60, 2), (60, 300, 3), (300, 300, 9)
    path = write_layer([(point(col, row), {"class": value}) for col, row, value in places])
    source = read_labels(LabelOptions((path,), ("class",), table=str(table)))
    assert source.claims is not None
    assert source.claims.unlisted == ("9",)
    labels, colors = label_scene(source, utm_grid())
    (labels,), classes = joined_classes([labels], source.table, colors)
    assert classes.names == ("water", "wood")
    assert classes.colors == ("#0000ff", "#00ff00")
    assert labels.says.argmax(axis=1).tolist() == [1, 0, 1]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".fgb"])
def test_every_kind_of_file_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    shapes = np.array([shapely.to_wkb(square(0, 0)), shapely.to_wkb(square(200, 13))])
    names = np.array(["wood", "Gebüsch"], dtype=object)
    pyogrio.raw.write(path, shapes, [names], ["class"], crs="EPSG:32633", geometry_type="Polygon")
    labels = labelled(str(path))
    assert set(labels.classes) == {"wood", "Gebüsch"}
    assert sorted(labels.places.tolist()) == [[0, 0], [13, 200]]


def bowtie() -> Any:
    return shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ([(None, {"class": "a"})], "1 features without a shape (number 1)"),
        ([(point(1, 1), {"class": "a"}), (bowtie(), {"class": "b"})], "(number 2)"),
        ([(shapely.LineString([(0, 0), (1, 1)]), {"class": "a"})], "LineString"),
        ([(point(1, 1), {"class": "Wood"}), (point(2, 2), {"class": "wood"})], "also written"),
        ([(point(1, 1), {"class": None})], "No feature has a class"),
        ([(point(1, 1), {"other": "a"})], "has no field 'class'; it has other"),
        ([], "no features"),
    ],
)  # fmt: skip
def test_bad_layers_are_refused_in_words(
    write_layer: WriteLayer, features: list[tuple[Any, dict[str, Any]]], words: str
) -> None:
    with pytest.raises(JobError) as refusal:
        labelled(write_layer(features))
    assert words in refusal.value.message


def test_no_file_no_crs_several_layers_no_field(tmp_path: Path, write_layer: WriteLayer) -> None:
    with pytest.raises(SourceError, match="is not a file"):
        labelled(str(tmp_path / "none.gpkg"))
    broken = tmp_path / "broken.gpkg"
    broken.write_bytes(b"nothing of the kind")
    with pytest.raises(SourceError, match="cannot be read as a vector layer"):
        labelled(str(broken))
    wkb, names = np.array([shapely.to_wkb(point(1, 1))]), [np.array(["a"], dtype=object)]
    bare = tmp_path / "bare.shp"
    pyogrio.raw.write(bare, wkb, names, ["class"], geometry_type="Point")
    with pytest.raises(CrsError, match="no coordinate system"):
        labelled(str(bare))
    several = tmp_path / "several.gpkg"
    for layer in ("one", "two"):
        pyogrio.raw.write(several, wkb, names, ["class"], crs="EPSG:32633", layer=layer,
                          geometry_type="Point", append=several.exists())  # fmt: skip
    with pytest.raises(JobError, match="several layers: choose one of one, two"):
        labelled(str(several))
    assert len(labelled(str(several), layer="two")) == 1
    with pytest.raises(JobError, match=r"name the field of the class, one of class\."):
        read_labels(LabelOptions((write_layer([(point(1, 1), {"class": "a"})]),)))


def joined(path: str, **options: Any) -> Any:
    source = read_labels(LabelOptions((path,), ("class",), **options))
    labels, colors = label_scene(source, utm_grid())
    return joined_classes([labels], source.table, colors)


def test_outside_one_class_and_bad_names_are_refused(write_layer: WriteLayer) -> None:
    far = write_layer([(point(-900, 0), {"class": "a"}), (point(0, -900), {"class": "b"})])
    with pytest.raises(NoOverlapError, match="All labels lie outside"):
        joined(far)
    one = write_layer([(point(60, 60), {"class": "a"}), (point(0, -900), {"class": "b"})])
    with pytest.raises(JobError, match="only of the class 'a'"):
        joined(one)
    small = write_layer([(square(0, 0, 9), {"class": "a"}), (square(99, 9, 9), {"class": "b"})])
    with pytest.raises(JobError, match="No tile is left"):
        joined(small)
    formula = write_layer([(point(60, 60), {"class": "=a"}), (point(300, 60), {"class": "b"})])
    with pytest.raises(SpecError, match="begins like a formula"):
        joined(formula)


def test_the_report_counts_and_warns(write_layer: WriteLayer) -> None:
    shapes = [(point(60 + n * 30, 60), {"class": "a"}) for n in range(11)]
    shapes += [(point(300, 300), {"class": "b"}), (point(-99, 0), {"class": "b"}),
               (square(0, 400, 9), {"class": "b"}), (point(5, 5), {"class": None})]  # fmt: skip
    source = read_labels(LabelOptions((write_layer(shapes),), ("class",)))
    labels, colors = label_scene(source, utm_grid())
    (labels,), classes = joined_classes([labels], source.table, colors)
    good = np.ones(len(labels), dtype=bool)
    good[0] = False
    assert source.claims is not None
    report = sampling_report([labels], classes.names, [good],
                             unlabelled=source.claims.unlabelled)  # fmt: skip
    assert report["tiles"] == 11
    assert report["classes"][0] == {"class": "a", "present": 10, "absent": 1, "unknown": 0}
    assert report["outside"] == 1
    assert report["too_small"] == [13]
    words = "\n".join(report["warnings"])
    for part in ("'b' has 1 tiles", "1 labels lie outside", "1 tiles have too few valid pixels",
                 "1 features have no class", "cover too little of a tile (number 14)"):  # fmt: skip
        assert part in words
    assert "'a' has" not in words


def class_raster(path: Path, values: np.ndarray, size: float = 10, **options: Any) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=values.shape[0], width=values.shape[1],
        dtype=values.dtype, crs=options.pop("crs", "EPSG:32633"),
        transform=rasterio.Affine(size, 0, LEFT, 0, -size, TOP), **options,
    ) as dataset:  # fmt: skip
        dataset.write(values, 1)
    return str(path)


def test_a_class_raster_labels_tiles_by_area_share(tmp_path: Path) -> None:
    values = np.full((480, 480), 5, dtype=np.uint8)
    values[:, 240:] = 7
    values[:60, :120] = 9  # half of the first tile
    values[120:240, :70] = 0  # nodata
    path = class_raster(tmp_path / "classes.tif", values, nodata=0)
    table = read_class_table(None)
    one, _ = tiles_of_raster(path, table, utm_grid(), multi=False, min_share=0.6)
    assert one.classes == ("5", "7", "9")
    assert len(one) == 14
    assert (one.mixed, one.dropped, one.outside) == (1, 2, 0)
    several, _ = tiles_of_raster(path, table, utm_grid(), multi=True)
    says = dict(zip(map(tuple, several.places.tolist()), several.says.tolist(), strict=True))
    assert says[0, 0] == [1, 0, 1]
    assert says[120, 0] == [1, -1, -1]  # what lies under the gap is not known
    assert says[360, 360] == [0, 1, 0]


def test_a_coarse_raster_with_a_palette_and_a_table(tmp_path: Path) -> None:
    values = np.kron(np.array([[1, 2], [3, 1]], dtype=np.uint8), np.ones((8, 8), dtype=np.uint8))
    path = class_raster(tmp_path / "coarse.tif", values, size=300)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (255, 0, 0, 255), 2: (0, 0, 255, 255)})
    table = tmp_path / "t.csv"
    table.write_text("value,class\n1,town\n2,lake\n")
    labels, colors = tiles_of_raster(path, read_class_table(str(table)), utm_grid(), multi=False)
    assert labels.classes == ("town", "lake")
    assert labels.says.sum(axis=0).tolist() == [8, 4]
    assert colors == {"town": "#ff0000", "lake": "#0000ff"}


def test_bad_rasters_are_refused(tmp_path: Path) -> None:
    table = read_class_table(None)
    real = class_raster(tmp_path / "real.tif", np.full((480, 480), 0.5, dtype=np.float32))
    bare = class_raster(tmp_path / "bare.tif", np.ones((480, 480), dtype=np.uint8), crs=None)
    for path, error, words in (
        (real, JobError, "not whole"), (bare, CrsError, "no coordinate system"),
        (str(tmp_path / "none.tif"), SourceError, "cannot be read as a class raster"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            tiles_of_raster(path, table, utm_grid(), multi=False)
    whole = class_raster(tmp_path / "whole.tif", np.ones((480, 480), dtype=np.uint8))
    with pytest.raises(JobError, match="'fields' belongs to vector labels"):
        read_labels(LabelOptions((whole,), ("class",)))


@pytest.mark.parametrize(
    "text", ["value,class\n1,\n", "class\na\n", "value,class\n1,a\n1,b\n", "value,class\n", "\0"]
)
def test_bad_tables_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(JobError, match="class table"):
        read_class_table(str(path))


def test_labels_of_the_sample_scenes_are_the_tiles_they_were_made_of() -> None:
    from multimodal.contract.job import RasterSource
    from multimodal.contract.spec import default_spec
    from multimodal.scene import open_scene

    scenes = ROOT / "sample_data" / "scenes"
    name = "33UUP_37-38_87-90"
    s2 = RasterSource(str(scenes / f"{name}_S2_12band_10m.tif"))
    s1 = RasterSource(str(scenes / f"{name}_S1_VV_VH_dB.tif"))
    path = str(scenes / f"{name}_labels.geojson")
    source = read_labels(LabelOptions((path,), ("labels19",), full_lists=True))
    with open_scene([s2], [s1], default_spec(), stride=1) as scene:
        labels, _ = label_scene(source, scene.grid)
        places = lon_lat(scene.grid, labels.places)
    assert len(labels) == 7
    assert (labels.places % 120 == 0).all()
    assert (labels.says >= 0).all()
    assert np.allclose(places, [12.93, 47.78], atol=0.03)
    assert labels.mixed == 7


def test_without_pyogrio_the_error_says_what_to_install(write_layer: WriteLayer) -> None:
    path = write_layer([(point(1, 1), {"class": "a"})])
    program = f"""
import sys
sys.modules["pyogrio"] = None
from multimodal.contract.errors import RuntimeMissingError
from multimodal.contract.train_order import LabelOptions
from multimodal.training.labels import read_labels
try:
    read_labels(LabelOptions(({path!r},), ("class",)))
except RuntimeMissingError as problem:
    print(problem.message)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip
    assert "pip install 'mm-sentinel-fusion[train]'" in done.stdout, done.stderr


@pytest.mark.parametrize("place", ["637U_59R_1_3", "282D_485L_3_3", "433D_629L_3_1"])
def test_a_real_land_cover_raster_labels_its_whole_tile(place: str) -> None:
    folder = Path(os.environ.get("MM_TEST_DATA") or ROOT / ".." / "shared" / "data")
    path = folder / "terramind" / place / "LULC.tif"
    if not path.is_file():
        pytest.skip("shared test data are not here (set MM_TEST_DATA to their folder)")
    with rasterio.open(path) as dataset:
        values = dataset.read(1)[:120, :120]
        geometry = Geometry(dataset.crs, dataset.transform, dataset.width, dataset.height)
    labels, _ = tiles_of_raster(
        str(path), read_class_table(None), TileGrid(geometry, 120, 1), multi=True
    )
    assert labels.places.tolist() == [[0, 0]]
    codes, pixels = np.unique(values, return_counts=True)
    expected = {str(code) for code, count in zip(codes, pixels, strict=True) if count >= 720}
    present = {n for n, say in zip(labels.classes, labels.says[0], strict=True) if say == 1}
    assert present == expected
