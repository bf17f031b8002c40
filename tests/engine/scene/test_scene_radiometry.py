"""Units: each mistake that makes a map of garbage is converted, warned of or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy as copy_raster

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import DecisionError, RadiometryError, SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import ModelSpec
from multimodal.scene import Scene, open_scene
from multimodal.scene.optical import judge_s2
from multimodal.scene.pixels import Band
from multimodal.scene.product import product_of
from multimodal.scene.radar import judge_s1
from multimodal.scene.sampling import CLOSE, GLANCE, sample_bands
from multimodal.scene.sources import find_bands

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]
Pair = tuple[RasterSource, RasterSource]
TERRAMIND_S2 = dict(zip(S2_BANDS, range(1, 13), strict=True))
TERRAMIND_S1 = {"VV": 1, "VH": 2}


def codes(scene: Scene) -> list[str]:
    return [warning["code"] for warning in scene.describe()["warnings"]]


def tensors(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    batches = list(scene.batches(scene.select(), 64, 0.0))
    return np.concatenate([b.s2 for b in batches]), np.concatenate([b.s1 for b in batches])


@pytest.fixture
def clean(sample_scenes: list[Pair], spec: ModelSpec) -> Iterator[Scene]:
    with open_scene([sample_scenes[0][0]], [sample_scenes[0][1]], spec) as scene:
        yield scene


@pytest.fixture
def sample(sample_scenes: list[Pair]) -> tuple[np.ndarray, np.ndarray, dict]:
    """Raw arrays of a real scene and how to write them again."""
    with (
        rasterio.open(sample_scenes[0][0].path) as s2,
        rasterio.open(sample_scenes[0][1].path) as s1,
    ):
        return s2.read(), s1.read(), {"crs": s2.crs, "transform": s2.transform}


def test_clean_real_scenes_pass_without_a_warning(
    sample_scenes: list[Pair], spec: ModelSpec
) -> None:
    for s2, s1 in sample_scenes:
        with open_scene([s2], [s1], spec) as scene:
            described = scene.describe()
        assert described["warnings"] == []
        assert (described["s2"]["offset"], described["s2"]["scale"]) == (0, 1e-4)
        assert described["s1"]["unit"] == "db"
        assert "median" in described["s2"]["evidence"]


def test_reflectance_is_multiplied_and_said(
    clean: Scene, sample: tuple, write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec
) -> None:
    s2, _, place = sample
    source = write_raster("r.tif", (s2 / 10_000).astype(np.float32), S2_BANDS, nodata=0, **place)
    with open_scene([source], [sample_scenes[0][1]], spec) as scene:
        assert codes(scene) == ["s2_reflectance"]
        assert scene.describe()["s2"]["scale"] == 1
        np.testing.assert_allclose(tensors(scene)[0], tensors(clean)[0], atol=2e-6)


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, -0.1), (1.0, -1000.0)])
def test_an_offset_in_the_metadata_is_removed(
    clean: Scene, sample: tuple, write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec,
    scale: float, offset: float,
) -> None:  # fmt: skip
    s2, _, place = sample
    shifted = np.where(s2 > 0, s2 + 1000, 0).astype(np.uint16)
    source = write_raster(
        "o.tif", shifted, S2_BANDS, nodata=0, scale_offset=(scale, offset), **place
    )
    with open_scene([source], [sample_scenes[0][1]], spec) as scene:
        assert codes(scene) == []
        assert scene.describe()["s2"]["offset"] == pytest.approx(-1000)
        assert scene.describe()["s2"]["scale"] == pytest.approx(1e-4)
        np.testing.assert_allclose(tensors(scene)[0], tensors(clean)[0], atol=2e-6)


def test_an_offset_that_nothing_states_stops_for_a_decision(
    clean: Scene, sample: tuple, write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec
) -> None:
    s2, _, place = sample
    shifted = np.where(s2 > 0, s2 + 1000, 0).astype(np.uint16)
    source = write_raster("o.tif", shifted, S2_BANDS, nodata=0, **place)
    with pytest.raises(DecisionError, match=r"baseline 04\.00") as caught:
        open_scene([source], [sample_scenes[0][1]], spec)
    assert caught.value.details["decision"] == "s2_offset"
    assert caught.value.details["choices"] == [0.0, -1000.0]
    for offset in (0.0, -1000.0):
        options = SceneOptions(s2_offset=offset)
        with open_scene([source], [sample_scenes[0][1]], spec, options=options) as scene:
            assert codes(scene) == []
            assert scene.describe()["s2"]["offset"] == offset
            assert "by the user" in scene.describe()["s2"]["evidence"]
            assert np.array_equal(tensors(scene)[0], tensors(clean)[0]) == (offset == -1000.0)


def test_snow_lifts_the_visible_bands_and_is_no_offset(
    write_raster: Write, sample: tuple, sample_scenes: list[Pair], spec: ModelSpec
) -> None:
    s2, _, place = sample
    snow = s2.copy()
    snow[:8][snow[:8] > 0] += 6000  # B01 to B08; short-wave infrared stays dark
    source = write_raster("snow.tif", snow, S2_BANDS, nodata=0, **place)
    with open_scene([source], [sample_scenes[0][1]], spec) as scene:
        assert scene.describe()["s2"]["offset"] == 0


def test_an_offset_that_was_removed_before_is_asked_about(
    sample: tuple, write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec
) -> None:
    s2, _, place = sample
    source = write_raster("n.tif", s2, S2_BANDS, nodata=0, scale_offset=(1e-4, -0.1), **place)
    with pytest.raises(DecisionError, match="removed already"):
        open_scene([source], [sample_scenes[0][1]], spec)


MTD = """<?xml version="1.0"?><n1:P xmlns:n1="x"><BOA_ADD_OFFSET_VALUES_LIST>
<BOA_ADD_OFFSET band_id="0">{}</BOA_ADD_OFFSET><BOA_ADD_OFFSET band_id="1">{}</BOA_ADD_OFFSET>
</BOA_ADD_OFFSET_VALUES_LIST></n1:P>"""


def test_the_product_metadata_of_a_safe_folder_decide(
    clean: Scene, sample: tuple, write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec,
    tmp_path: Path,
) -> None:  # fmt: skip
    s2, _, place = sample
    shifted = np.where(s2 > 0, s2 + 1000, 0).astype(np.uint16)
    for name, band in zip(S2_BANDS, shifted, strict=True):
        write_raster(f"p.SAFE/GRANULE/L/IMG_DATA/R10m/T33_{name}_10m.tif", band[None], **place)
    xml = tmp_path / "p.SAFE" / "MTD_MSIL2A.xml"
    xml.write_text(MTD.format(-1000, -1000))
    single = tmp_path / "p.SAFE/GRANULE/L/IMG_DATA/R10m/T33_B02_10m.jp2"
    for path, source in ((single, single), (single.with_suffix(".tif"), xml.parent)):
        product = product_of(str(path), str(source))
        assert product is not None
        assert (product.level, product.offset) == ("L2A", -1000)
    alone = str(single.with_suffix(".tif"))
    assert product_of(alone, alone) is None
    with open_scene([RasterSource(str(xml))], [sample_scenes[0][1]], spec) as scene:
        assert codes(scene) == []
        assert "MTD_MSIL2A.xml" in scene.describe()["s2"]["evidence"]
        np.testing.assert_array_equal(tensors(scene)[0], tensors(clean)[0])
    for text in (MTD.format(-1000, -900), MTD.format("much", 1), MTD.format("nan", "nan"), "<cut"):
        xml.write_text(text)
        with pytest.raises(SourceError, match="MTD_MSIL2A"):
            product_of(str(single), str(xml.parent))


@pytest.mark.parametrize(
    ("baseline", "offset"),
    [("02.05", 0), ("03.01", 0), ("04.00", None), ("05.09", None), ("nan", None), (None, None)],
)
def test_metadata_without_an_offset_speak_by_their_baseline(
    baseline: str | None, offset: float | None, tmp_path: Path
) -> None:
    """A product since 04.00 has an offset: where its metadata lost it nothing is said."""
    text = f"<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>" if baseline else ""
    (tmp_path / "MTD_MSIL2A.xml").write_text(f"<P>{text}</P>")
    product = product_of(str(tmp_path / "T33_B02.jp2"), str(tmp_path))
    assert product is not None
    assert product.offset == offset


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda dn: dn / 100, "neither"), (lambda dn: dn * 0 + 60_000, "neither")],
    ids=["percent", "stretched"],
)
def test_values_that_are_no_reflectance_are_refused(
    sample: tuple, write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec,
    change: Callable[[np.ndarray], np.ndarray], words: str,
) -> None:  # fmt: skip
    s2, _, place = sample
    source = write_raster("x.tif", change(s2).astype(np.float32), S2_BANDS, nodata=0, **place)
    with pytest.raises(RadiometryError, match=words):
        open_scene([source], [sample_scenes[0][1]], spec)


def test_bands_that_state_different_scales_are_refused(write_raster: Write, optical: Make) -> None:
    source = write_raster("m.tif", optical(8, 8), S2_BANDS)
    with rasterio.open(source.path, "r+") as dataset:
        dataset.scales = (1e-4,) + (1.0,) * 11
    bands = tuple(find_bands([source], "s2", S2_BANDS).bands.values())
    with pytest.raises(RadiometryError, match="different scale"):
        judge_s2({}, bands)


def test_linear_power_and_integers_are_converted(
    clean: Scene, sample: tuple, write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec
) -> None:
    _, s1, place = sample
    power = write_raster("p.tif", 10 ** (s1 / 10), ("VV", "VH"), nodata=np.nan, **place)
    hundred = np.where(np.isnan(s1), -32768, s1 * 100).round().astype(np.int16)
    times = write_raster("h.tif", hundred, ("VV", "VH"), nodata=-32768, **place)
    stated = write_raster(
        "s.tif", hundred, ("VV", "VH"), nodata=-32768, scale_offset=(0.01, 0), **place
    )
    for source, unit, expected in (
        (power, "power", ["s1_power"]), (times, "db*100", ["s1_db100"]), (stated, "db", []),
    ):  # fmt: skip
        with open_scene([sample_scenes[0][0]], [source], spec) as scene:
            assert codes(scene) == expected
            assert scene.describe()["s1"]["unit"] == unit
            np.testing.assert_allclose(tensors(scene)[1], tensors(clean)[1], atol=1.1e-3)


def test_raw_numbers_are_refused(
    sample: tuple, write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec
) -> None:
    _, s1, place = sample
    raw = np.nan_to_num(10 ** (s1 / 20) * 1000).astype(np.uint16)
    source = write_raster("raw.tif", raw, ("VV", "VH"), **place)
    with pytest.raises(RadiometryError, match="calibrate to sigma0 first"):
        open_scene([sample_scenes[0][0]], [source], spec)


def test_amplitude_is_told_from_power(
    clean: Scene, sample: tuple, write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec
) -> None:
    _, s1, place = sample
    source = write_raster("a.tif", 10 ** (s1 / 20), ("VV", "VH"), nodata=np.nan, **place)
    with open_scene([sample_scenes[0][0]], [source], spec) as scene:
        assert codes(scene) == ["s1_amplitude"]
        assert scene.describe()["s1"]["unit"] == "amplitude"
        np.testing.assert_allclose(tensors(scene)[1], tensors(clean)[1], atol=1e-4)


def test_a_unit_between_power_and_amplitude_is_asked_about(
    write_raster: Write, sample_scenes: list[Pair], spec: ModelSpec, sample: tuple
) -> None:
    _, s1, place = sample
    vague = np.stack([s1[0] * 0 - 8.0, s1[1] * 0 - 11.5])  # dB, if it is power
    source = write_raster("v.tif", 10 ** (vague / 10), ("VV", "VH"), nodata=np.nan, **place)
    with pytest.raises(DecisionError, match="power or amplitude") as caught:
        open_scene([sample_scenes[0][0]], [source], spec)
    assert caught.value.details["choices"] == ["power", "amplitude"]
    named = write_raster(
        "n.tif", 10 ** (vague / 10), ("Amplitude_VV", "Amplitude_VH"), nodata=np.nan, **place
    )
    for given, options, unit in (
        (source, SceneOptions(s1_unit="power"), "power"), (named, SceneOptions(), "amplitude"),
    ):  # fmt: skip
        with open_scene([sample_scenes[0][0]], [given], spec, options=options) as scene:
            assert scene.describe()["s1"]["unit"] == unit


def test_swapped_polarisations_are_noticed(sample_scenes: list[Pair], spec: ModelSpec) -> None:
    for s2, s1 in sample_scenes:
        swapped = RasterSource(s1.path, bands={"VV": 2, "VH": 1})
        with open_scene([s2], [swapped], spec) as scene:
            assert codes(scene) == ["s1_swapped"]


def test_an_empty_scene_is_said_to_be_empty(
    write_raster: Write, radar: Make, spec: ModelSpec
) -> None:
    s2 = write_raster("e.tif", np.zeros((12, 120, 120), np.uint16), S2_BANDS)
    s1 = write_raster("f.tif", np.full((2, 120, 120), np.nan, np.float32), ("VV", "VH"))
    with open_scene([s2], [s1], spec) as scene:
        assert codes(scene) == ["s2_empty", "s1_empty"]
        (batch,) = scene.batches(scene.select(), 4, 0.0)
    assert batch.reads[0].status == "skipped: too few valid Sentinel-2 pixels"


@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 256, "blockysize": 256}])
def test_a_large_raster_is_sampled_all_over(write_raster: Write, layout: dict) -> None:
    """A gradient: the sample's quantiles are those of the whole."""
    ramp = np.linspace(100, 4000, 2000).astype(np.uint16)
    values = np.stack([np.broadcast_to(ramp, (1600, 2000))] * 3)
    source = write_raster("big.tif", values, ("B04", "B03", "B02"), compress="deflate", **layout)
    bands = tuple(find_bands([source], "s2", ("B04", "B03", "B02")).bands.values())
    drawn = sample_bands(bands, "s2").values["B04"]
    assert 1000 < drawn.size < 1600 * 200
    assert np.percentile(drawn, [1, 50, 99]) == pytest.approx([343, 2050, 3757], abs=5)


def test_a_narrow_swath_between_the_windows_is_still_seen(write_raster: Write) -> None:
    values = np.zeros((3, 1600, 1600), np.uint16)
    values[:, :, 100:140] = 1500
    source = write_raster("swath.tif", values, ("B04", "B03", "B02"), compress="deflate")
    bands = tuple(find_bands([source], "s2", ("B04", "B03", "B02")).bands.values())
    assert sample_bands(bands, "s2").values["B02"].size > 1000


def test_one_polarisation_can_be_judged_alone(write_raster: Write, radar: Make) -> None:
    source = write_raster("vh.tif", radar()[1:], ("VH",))
    bands = tuple(find_bands([source], "s1", ("VH",)).bands.values())
    assert judge_s1(sample_bands(bands, "s1").values, bands).unit == "db"


@pytest.fixture
def jpeg_2000(write_raster: Write, tmp_path: Path) -> Callable[[np.ndarray], tuple[Band, ...]]:
    """Writes one band of 1,600 px a side in 12 x 12 whole blocks."""

    def make(values: np.ndarray) -> tuple[Band, ...]:
        source = write_raster("b.tif", values[None], ("B05",))
        path = tmp_path / "T33UUP_20220613T101031_B05.jp2"
        blocks = {"BLOCKXSIZE": 128, "BLOCKYSIZE": 128, "RESOLUTIONS": 5}
        copy_raster(
            source.path, path, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", **blocks
        )
        return tuple(find_bands([RasterSource(str(path))], "s2", ("B05",)).bands.values())

    return make


def test_a_glance_at_jpeg_2000_takes_few_blocks_spread_over_the_raster(jpeg_2000: Callable) -> None:
    ramp = np.linspace(100, 4000, 1600).astype(np.uint16)
    bands = jpeg_2000(np.broadcast_to(ramp, (1600, 1600)))
    close, glance = (sample_bands(bands, "s2", depth).values["B05"] for depth in (CLOSE, GLANCE))
    assert glance.size < close.size / 20
    assert np.percentile(glance, [0, 50, 100]) == pytest.approx([100, 2129, 3840], abs=20)


def test_a_glance_at_blocks_without_data_goes_on_to_all(jpeg_2000: Callable) -> None:
    values = np.zeros((1600, 1600), np.uint16)
    values[:, 300:600] = 1500
    assert sample_bands(jpeg_2000(values), "s2", GLANCE).values["B05"].size > 1000


def test_percentiles_are_taken_of_a_bounded_number_of_values(write_raster: Write) -> None:
    random = np.random.default_rng(3).integers(1, 9000, (1, 1500, 1500), dtype=np.uint16)
    source = write_raster("whole.tif", random, ("B04",))
    bands = tuple(find_bands([source], "s2", ("B04",)).bands.values())
    drawn = sample_bands(bands, "s2").values["B04"]
    assert 100_000 <= drawn.size < 110_000
    assert np.percentile(drawn, [1, 50, 99]) == pytest.approx([90, 4500, 8910], abs=60)
