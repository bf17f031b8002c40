"""Every folder of the shared real data, and each trap made from it, has its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from multimodal.contract.channels import RGB, S2_BANDS
from multimodal.contract.errors import (
    CrsError,
    DecisionError,
    MissingChannelsError,
    MultimodalError,
    RadiometryError,
)
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import ModelSpec, default_spec
from multimodal.scene import Scene, open_scene
from multimodal.scene.geometry import apply, project

Pair = tuple[RasterSource, RasterSource]
InOrder = Callable[[Path, tuple[str, ...]], RasterSource]
Terramind = Callable[..., Pair]
Picture = Callable[[Scene], np.ndarray]
Trap = Callable[..., AbstractContextManager[Scene]]

DENMARK, BRAZIL, CHILE = "637U_59R_1_3", "282D_485L_3_3", "433D_629L_3_1"
RADAR = ("VV", "VH")
REMOVED = SceneOptions(s2_offset=-1000.0)


def described(scene: Scene) -> tuple[list[str], dict[str, Any]]:
    """Return the codes of the warnings, and everything."""
    everything = scene.describe()
    return [warning["code"] for warning in everything["warnings"]], everything


# Plain folders.


@pytest.mark.parametrize(
    ("place", "level", "crs", "date", "warnings"),
    [
        (DENMARK, "L2A", "EPSG:32632", "2017-10-30", []),
        (DENMARK, "L1C", "EPSG:32632", "2017-10-30", ["s2_l1c"]),
        (BRAZIL, "L2A", "EPSG:32722", "2021-07-21", []),
    ],
)
def test_terramind_pairs_without_an_offset_are_read(
    terramind: Terramind, spec: ModelSpec, place: str, level: str, crs: str, date: str,
    warnings: list[str],
) -> None:  # fmt: skip
    s2, s1 = terramind(place, level)
    with open_scene([s2], [s1], spec) as scene:
        codes, verdict = described(scene)
    assert codes == warnings
    assert (verdict["s2"]["level"], verdict["s2"]["offset"]) == (level, 0)
    assert (verdict["s1"]["unit"], verdict["s1"]["dates"]) == ("db", [date])
    assert verdict["grid"]["crs"] == crs
    assert verdict["grid"]["tiles_valid"] == verdict["grid"]["tiles"] == 4
    assert verdict["overlap"] == 1


@pytest.mark.parametrize(("place", "level"), [(CHILE, "L2A"), (CHILE, "L1C"), (BRAZIL, "L1C")])
def test_terramind_pairs_with_the_offset_of_1000_stop_for_a_decision(
    terramind: Terramind, spec: ModelSpec, picture: Picture, place: str, level: str
) -> None:
    s2, s1 = terramind(place, level)
    with pytest.raises(DecisionError, match="baseline") as caught:
        open_scene([s2], [s1], spec)
    assert caught.value.details["decision"] == "s2_offset"
    with open_scene([s2], [s1], spec, options=REMOVED) as scene:
        codes, _ = described(scene)
        blue = picture(scene)[spec.s2_names.index("B02")]
    assert codes == (["s2_l1c"] if level == "L1C" else [])
    with rasterio.open(s2.path) as dataset:
        expected = dataset.read(s2.bands["B02"]).astype(np.float32) - 1000
    channel = spec.s2[spec.s2_names.index("B02")]
    np.testing.assert_array_equal(
        blue, (expected - np.float32(channel.mean)) / np.float32(channel.std)
    )


def test_every_bigearthnet_v2_patch_is_one_clean_tile(shared_data: Path, spec: ModelSpec) -> None:
    patches = sorted((shared_data / "ben_v2" / "patches").iterdir())
    assert len(patches) == 24
    for patch in patches:
        source = RasterSource(str(patch))
        with open_scene([source], [source], spec) as scene:
            codes, verdict = described(scene)
        assert codes == [], patch.name
        zone = "EPSG:32635" if "T35VNJ" in patch.name else "EPSG:32633"
        assert (verdict["grid"]["crs"], verdict["grid"]["tiles_valid"]) == (zone, 1)
        # Snow of November lifts minima and is no offset.
        assert (verdict["s2"]["offset"], verdict["s1"]["unit"]) == (0, "db")
        assert verdict["s2"]["dates"] == [f"{patch.name[11:15]}-{patch.name[15:17]}-"
                                          f"{patch.name[17:19]}"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tiles", "valid"),
    [("37-38_87-90", 8, 7), ("33-35_69-71", 9, 6), ("26-27_55-59", 10, 6)],
)
def test_the_mosaics_are_clean_and_their_empty_cells_are_foreseen(
    shared_data: Path, spec: ModelSpec, name: str, tiles: int, valid: int
) -> None:
    start = f"{shared_data / 'ben_v2' / 'scenes'}/33UUP_{name}"
    s2, s1 = (RasterSource(f"{start}_{end}.tif") for end in ("S2_12band_10m", "S1_VV_VH_dB"))
    with open_scene([s2], [s1], spec) as scene:
        codes, verdict = described(scene)
        reads = [read for batch in scene.batches(scene.select(), 16, 0.75) for read in batch.reads]
    assert codes == []
    assert (verdict["grid"]["tiles"], verdict["grid"]["tiles_valid"]) == (tiles, valid)
    assert sum(read.status == "ok" for read in reads) == valid


def test_the_untouched_bigearthnet_v1_pair_is_clean(shared_data: Path, spec: ModelSpec) -> None:
    folder = shared_data / "ben_v1_native"
    s2, s1 = (RasterSource(str(next(folder.glob(start)))) for start in ("S2A*", "S1A*"))
    with open_scene([s2], [s1], spec) as scene:
        codes, verdict = described(scene)
    assert codes == []
    assert verdict["s2"]["dates"] == verdict["s1"]["dates"] == ["2017-06-13"]
    assert {band["found_by"] for band in verdict["s2"]["bands"].values()} == {"file name"}
    assert verdict["grid"]["tiles_valid"] == 1


def test_a_reference_map_is_no_sentinel_2(
    shared_data: Path, terramind: Terramind, spec: ModelSpec
) -> None:
    (path,) = (shared_data / "ben_reference_map").glob("*.tif")
    with pytest.raises(MissingChannelsError, match="No band has a known name"):
        open_scene([RasterSource(str(path))], [terramind(DENMARK)[1]], spec)


def test_major_tom_lacks_radar_and_is_read_without(shared_data: Path, picture: Picture) -> None:
    folder = shared_data / "majortom_48QUE_S2L2A"
    sources = RasterSource(str(folder)), RasterSource(str(folder / "S2_12band_mixed_res.vrt"))
    pictures = []
    for source, found_by in zip(sources, ("file name", "file of the virtual band"), strict=True):
        with pytest.raises(MissingChannelsError, match="no Sentinel-1 raster was given"):
            open_scene([source], [], default_spec())
        with open_scene([source], [], default_spec(s1_names=())) as scene:
            codes, verdict = described(scene)
            pictures.append(picture(scene))
        assert codes == []
        assert {band["found_by"] for band in verdict["s2"]["bands"].values()} == {found_by}
        assert (verdict["grid"]["width"], verdict["grid"]["height"]) == (1068, 1068)
        assert verdict["s2"]["level"] == "L2A"
    # The virtual raster repeats pixels of 20 and 60 m, and so does "nearest".
    np.testing.assert_array_equal(*pictures)


def test_major_tom_has_its_cloud_mask_beside_it(shared_data: Path) -> None:
    folder = RasterSource(str(shared_data / "majortom_48QUE_S2L2A"))
    with open_scene([folder], [], default_spec(s1_names=())) as scene:
        _, verdict = described(scene)
    assert verdict["mask"]["kind"] == "CLOUD"
    assert Path(verdict["mask"]["path"]).name == "cloud_mask.tif"


def test_a_land_cover_map_as_mask_is_asked_about(terramind: Terramind, spec: ModelSpec) -> None:
    s2, s1 = terramind(CHILE)
    mask = RasterSource(str(Path(s2.path).with_name("LULC.tif")))
    with pytest.raises(DecisionError, match="which of them are cloud") as caught:
        open_scene([s2], [s1], spec, mask=mask, options=REMOVED)
    assert caught.value.details["choices"] == [1, 2, 3, 4, 5, 9]


def test_openeo_lists_the_bands_that_its_file_lacks(
    shared_data: Path, in_order: InOrder, terramind: Terramind, spec: ModelSpec
) -> None:
    path = shared_data / "openeo_s2_5band" / "S2_L2A_sample.tif"
    source = in_order(path, ("B04", "B03", "B02", "B08", "SCL"))
    with pytest.raises(MissingChannelsError, match=r"not found\. Found: B02") as caught:
        open_scene([source], [terramind(DENMARK)[1]], spec)
    lacking = set(S2_BANDS) - {"B02", "B03", "B04", "B08"}
    assert set(caught.value.details["missing"]) == lacking
    assert "SCL" in caught.value.details["found"]


@pytest.mark.parametrize(
    ("s2", "s1", "error", "words"),
    [
        ("ben_v2/scenes/33UUP_37-38_87-90_S2_12band_10m.tif", "s1_grd_raw_gcps",
         RadiometryError, "calibrate to sigma0 first"),
        ("s2_l1c_19UDP_preview_jp2", "ben_v2/scenes/33UUP_37-38_87-90_S1_VV_VH_dB.tif",
         CrsError, "no coordinate reference system"),
    ],
    ids=["raw-grd", "jp2-without-crs"],
)  # fmt: skip
def test_what_cannot_be_read_right_is_refused(
    shared_data: Path, spec: ModelSpec, s2: str, s1: str, error: type[MultimodalError], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_scene(
            [RasterSource(str(shared_data / s2))], [RasterSource(str(shared_data / s1))], spec
        )


@pytest.fixture
def spain(shared_data: Path, in_order: InOrder, l1c_bands: tuple[str, ...]) -> Pair:
    folder = shared_data / "sen1floods11_spain"
    s2 = in_order(folder / "Spain_7370579_S2Hand.tif", l1c_bands)
    return s2, in_order(folder / "Spain_7370579_S1Hand.tif", RADAR)


def test_sen1floods11_gets_a_metric_grid(spain: Pair, spec: ModelSpec) -> None:
    with open_scene([spain[0]], [spain[1]], spec) as scene:
        codes, verdict = described(scene)
        scale = scene.grid.geometry.pixel_size_m
    assert codes == ["s2_l1c", "metric_grid"]
    assert (verdict["grid"]["crs"], scale) == ("EPSG:32630", 10)
    assert verdict["s2"]["crs"] == "EPSG:4326"
    # 512 pixels of 0.0000898 degrees: 4.1 km from west to east here, 5.1 km from north to south.
    assert verdict["grid"]["width"] == pytest.approx(415, abs=5)
    assert verdict["grid"]["height"] == pytest.approx(520, abs=5)


# Traps made from 637U: the same tensor as the clean pair, or the refusal that is due.


@pytest.fixture(scope="module")
def clean(terramind: Terramind, spec: ModelSpec) -> Scene:
    s2, s1 = terramind(DENMARK)
    return open_scene([s2], [s1], spec)


@pytest.fixture
def trap(shared_data: Path, in_order: InOrder, terramind: Terramind, spec: ModelSpec) -> Trap:
    """Open 637U with one of its rasters replaced by a trap."""

    @contextmanager
    def opened(
        name: str, model: ModelSpec = spec, names: tuple[str, ...] = S2_BANDS
    ) -> Iterator[Scene]:
        s2, s1 = terramind(DENMARK)
        path = shared_data / "tricky_derived" / DENMARK / f"{name}.tif"
        if name.startswith("S2"):
            s2 = in_order(path, names)
        else:
            s1 = in_order(path, RADAR)
        with open_scene([s2], [s1], model) as scene:
            yield scene

    return opened


def _hole(rows: slice, cols: slice) -> np.ndarray:
    mask = np.zeros((224, 224), dtype=bool)
    mask[rows, cols] = True
    return mask


# What the traps lack on purpose; a triangle of 90 pixels is missing in the integers.
HOLES = {
    "S2_float_DN_NaN_hole": _hole(slice(60, 100), slice(120, 170)),
    "S1_int16_dBx100_nodata-9999": np.add.outer(np.arange(224), np.arange(224)) < 90,
    "S1_partial_overlap": _hole(slice(None), slice(0, 89)),
}


@pytest.mark.parametrize(
    ("name", "warnings", "tolerance"),
    [
        # The same numbers in another order of rows, or as float32, which holds every DN.
        ("S2_south_up", [], 0.0),
        ("S1_south_up", [], 0.0),
        ("S2_float_DN_NaN_hole", [], 0.0),
        # Half a unit in the last place of float32 at 20000 DN is 0.001 DN, 2e-6 of B01's std.
        ("S2_float_reflectance_0-1", ["s2_reflectance"], 4e-6),
        # Power and dB are both float32: each rounds by 6e-8 of up to 40 dB.
        ("S1_linear_power", ["s1_power"], 1e-6),
        # Rounded to whole hundredths: 0.005 dB, of VV's std of 5.13 dB.
        ("S1_int16_dBx100_nodata-9999", ["s1_db100"], 0.005 / 5.13),
        ("S1_partial_overlap", ["partial_overlap"], 0.0),
    ],
)
def test_a_trap_gives_the_tensor_of_the_clean_pair(
    trap: Trap, clean: Scene, picture: Picture, name: str, warnings: list[str], tolerance: float
) -> None:
    expected = picture(clean)
    with trap(name) as scene:
        codes, _ = described(scene)
        found = picture(scene)
        assert scene.grid == clean.grid
    assert codes == warnings
    holes = HOLES.get(name)
    sensor = slice(0, 14) if name.startswith("S2") else slice(14, 16)
    if holes is not None:
        expected[sensor][:, holes] = np.nan
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_ten_bands_in_another_order_give_the_same_tensor(
    trap: Trap, terramind: Terramind, picture: Picture
) -> None:
    ten = default_spec(s2_preset="s2-10")
    order = (*RGB, "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
    s2, s1 = terramind(DENMARK)
    with open_scene([s2], [s1], ten) as scene:
        expected = picture(scene)
    with trap("S2_band_order_RGBfirst_10band", ten, order) as scene:
        np.testing.assert_array_equal(picture(scene), expected)


def test_without_a_crs_sentinel_2_is_refused(trap: Trap) -> None:
    with pytest.raises(CrsError, match="no coordinate reference system"), trap("S2_no_crs"):
        pass


@pytest.mark.parametrize("name", ["S2_south_up", "S1_linear_power"])
def test_bands_without_names_are_never_taken_by_position(
    shared_data: Path, terramind: Terramind, spec: ModelSpec, name: str
) -> None:
    pair = terramind(DENMARK)
    nameless = RasterSource(str(shared_data / "tricky_derived" / DENMARK / f"{name}.tif"))
    s2, s1 = (nameless, pair[1]) if name.startswith("S2") else (pair[0], nameless)
    with pytest.raises(MissingChannelsError, match="band map"):
        open_scene([s2], [s1], spec)


def test_tiles_outside_of_a_partial_radar_are_skipped(trap: Trap, clean: Scene) -> None:
    with trap("S1_partial_overlap") as scene:
        (batch,) = scene.batches(scene.select(), 4, 0.75)
        _, verdict = described(scene)
    (whole,) = clean.batches(clean.select(), 4, 0.75)
    outside = "skipped: too few valid Sentinel-1 pixels"
    assert [read.status for read in batch.reads] == [outside, "ok", outside, "ok"]
    np.testing.assert_array_equal(batch.s1, whole.s1[1::2])
    np.testing.assert_array_equal(batch.s2, whole.s2[1::2])
    assert verdict["overlap"] == pytest.approx(135 / 224, abs=1e-3)
    assert verdict["expected_skipped"] == 2


# Resampled traps: compared on the ground.


def on_the_ground(
    first: np.ndarray, second: np.ndarray, grids: tuple[Scene, Scene], shift: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return values (channels, points) of both pictures at the pixel centres of the second.

    ``shift`` moves the first by (rows, columns) of pixels. Points without data are dropped.
    """
    one, other = (scene.grid.geometry for scene in grids)
    rows, cols = (axis.ravel() for axis in np.mgrid[0 : other.height, 0 : other.width])
    x, y = apply(other.transform, cols + 0.5, rows + 0.5)
    x, y = project(x, y, other.crs, one.crs)
    found = (np.floor(axis).astype(int) for axis in apply(~one.transform, x, y))
    left, top = (axis + by for axis, by in zip(found, shift[::-1], strict=True))
    inside = (left >= 0) & (top >= 0) & (left < one.width) & (top < one.height)
    a, b = first[:, top[inside], left[inside]], second[:, rows[inside], cols[inside]]
    known = np.isfinite(a).all(axis=0) & np.isfinite(b).all(axis=0)
    assert known.mean() > 0.4  # they do share most of their ground
    return a[:, known], b[:, known]


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])


SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def check_same_ground(
    scenes: tuple[Scene, Scene], picture: Picture, least: float, most: float
) -> None:
    """Demand the same picture in each channel, and that it lies where it belongs.

    Args:
        least: correlation of every channel.
        most: median difference of every channel, in units of its std.

    A picture that was shifted by half a pixel or more would fit better when it is shifted back;
    this shows only in bands of 10 m.
    """
    pictures = picture(scenes[0]), picture(scenes[1])
    a, b = on_the_ground(*pictures, scenes, (0, 0))
    fit = correlations(a, b)
    assert fit.min() > least
    assert np.median(np.abs(a - b), axis=1).max() < most
    names = [*scenes[0].spec.s2_names, *scenes[0].spec.s1_names]
    fine = [names.index(name) for name in (*RGB, "B08", "VH", "VV")]
    for shift in SHIFTS:
        moved = correlations(*on_the_ground(*pictures, scenes, shift))
        assert (moved[fine] < fit[fine]).all(), shift


@pytest.mark.parametrize(
    ("name", "warnings", "least", "most"),
    [
        # Nearest twice, at most one pixel of 10 m off; the radar is bilinear, which smooths its
        # speckle of some 1.5 dB: 0.1 std is 0.5 dB.
        ("S2_rotated_25deg", ["partial_overlap"], 0.96, 0.1),
        ("S2_EPSG3035_nodata0_edges", ["partial_overlap"], 0.96, 0.1),
        # Pixels of 8 x 15 m: rows are half again as coarse as the original's.
        ("S2_EPSG4326", ["partial_overlap", "metric_grid"], 0.93, 0.1),
        ("S1_rotated_25deg", ["partial_overlap"], 0.96, 0.1),
        # 20 m: a quarter of the pixels, so a good part of the speckle is averaged away.
        ("S1_20m_offgrid", ["partial_overlap"], 0.89, 0.2),
    ],
)
def test_a_resampled_trap_shows_the_same_ground(
    trap: Trap, clean: Scene, picture: Picture, name: str, warnings: list[str], least: float,
    most: float,
) -> None:  # fmt: skip
    with trap(name) as scene:
        assert described(scene)[0] == warnings
        check_same_ground((clean, scene), picture, least, most)


def test_spain_in_degrees_and_in_utm_show_the_same_ground(
    shared_data: Path, in_order: InOrder, l1c_bands: tuple[str, ...], spain: Pair,
    spec: ModelSpec, picture: Picture,
) -> None:  # fmt: skip
    folder = shared_data / "tricky_derived" / "spain_utm30"
    s2 = in_order(folder / "Spain_S2_EPSG32630_10m.tif", l1c_bands)
    s1 = in_order(folder / "Spain_S1_EPSG32630_10m.tif", RADAR)
    with (
        open_scene([spain[0]], [spain[1]], spec) as degrees,
        open_scene([s2], [s1], spec) as metres,
    ):
        assert described(metres)[0] == ["s2_l1c"]
        check_same_ground((degrees, metres), picture, 0.94, 0.12)


def test_nearest_takes_the_pixel_under_each_centre(trap: Trap, picture: Picture) -> None:
    """Checked against the file's own pixels, without GDAL's warper."""
    with trap("S2_EPSG4326") as scene:
        grid, band = scene.grid.geometry, scene.s2.bands["B08"]
        found = picture(scene)[scene.spec.s2_names.index("B08")]
        channel = next(channel for channel in scene.spec.s2 if channel.name == "B08")
    rows, cols = np.mgrid[0 : grid.height, 0 : grid.width]
    x, y = apply(grid.transform, cols.ravel() + 0.5, rows.ravel() + 0.5)
    lon, lat = project(x, y, grid.crs, band.geometry.crs)
    across, down = apply(~band.geometry.transform, lon, lat)
    # GDAL knows the place to an eighth of a pixel: near an edge it may take the neighbour.
    sure = np.isfinite(found.ravel())
    for axis in (across, down):
        sure &= np.abs(axis - np.round(axis)) > 0.125
    with rasterio.open(band.path) as dataset:
        raw = dataset.read(band.index)
    expected = raw[down[sure].astype(int), across[sure].astype(int)].astype(np.float32)
    expected = (expected - np.float32(channel.mean)) / np.float32(channel.std)
    assert sure.mean() > 0.4
    np.testing.assert_array_equal(found.ravel()[sure], expected)
