"""Each mistake that spoils a map is made in clean real scenes, and none goes by unseen.

Seen means: undone (the same tensor), warned of, or refused with a code that says which it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import DecisionError, MultimodalError
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import ModelSpec
from multimodal.scene import Scene, open_scene
from multimodal.scene.advice import scene_warnings

SIDE = 240  # two tiles: what a whole scene would show, they show in half the time
WriteRaster = Callable[..., RasterSource]
Sources = tuple[RasterSource, RasterSource]
Picture = Callable[[Scene], np.ndarray]
RADAR = ("VV", "VH")
MTD = (
    '<?xml version="1.0"?><P><BOA_ADD_OFFSET band_id="1">-1000</BOA_ADD_OFFSET>'
    "<PRODUCT_START_TIME>2022-06-13T10:10:31Z</PRODUCT_START_TIME></P>"
)


@dataclass(frozen=True)
class Layer:
    """One sensor's raster before it is written; ``product`` is an xml to be laid beside it."""

    values: np.ndarray
    names: tuple[str, ...]
    profile: dict[str, Any]
    file: str
    product: str = ""

    def changed(self, values: np.ndarray, **profile: Any) -> Layer:
        return replace(self, values=values, profile={**self.profile, **profile})


@dataclass(frozen=True)
class Pair:
    """A real pair: DN of uint16 with nodata 0, and dB of float32 with nodata NaN."""

    s2: Layer
    s1: Layer


Change = Callable[[Pair], Pair]


def _layer(source: RasterSource, names: tuple[str, ...], dtype: type, nodata: float) -> Layer:
    with rasterio.open(source.path) as dataset:
        place = {
            "crs": dataset.crs, "transform": dataset.transform, "nodata": nodata,
            "interleave": "band",  # read in half the time
        }  # fmt: skip
        values = dataset.read(window=Window(0, 0, SIDE, SIDE))
        return Layer(values.astype(dtype), names, place, f"{names[0]}.tif")


@pytest.fixture(scope="module", params=["26-27_55-59", "33-35_69-71", "37-38_87-90", "637U"])
def sources(request: pytest.FixtureRequest, sample_scenes: list[Sources]) -> Sources:
    """A clean pair: each sample scene, and one of the shared data where those are."""
    if request.param == "637U":
        pair: Sources
        pair = request.getfixturevalue("terramind")("637U_59R_1_3")
        return pair
    return next(pair for pair in sample_scenes if request.param in pair[0].path)


@pytest.fixture(scope="module")
def real(sources: Sources) -> Pair:
    """The corner of the clean pair that the mistakes are made in."""
    s2, s1 = sources
    return Pair(_layer(s2, S2_BANDS, np.uint16, 0), _layer(s1, RADAR, np.float32, np.nan))


@pytest.fixture(scope="module")
def clean(sources: Sources, spec: ModelSpec, picture: Picture) -> np.ndarray:
    """The tensor of the untouched pair, read whole, where ``real`` lies."""
    with open_scene([sources[0]], [sources[1]], spec) as scene:
        assert scene.warnings == ()
        return picture(scene)[:, :SIDE, :SIDE]


@pytest.fixture
def written(write_raster: WriteRaster) -> Callable[[Pair], Sources]:
    """Write a pair."""

    def source(layer: Layer) -> RasterSource:
        names = layer.names[: len(layer.values)]
        written = write_raster(layer.file, layer.values, names, **layer.profile)
        if not layer.product:
            return written
        folder = Path(written.path).parent
        (folder / "MTD_MSIL2A.xml").write_text(layer.product)
        return RasterSource(str(folder))

    return lambda pair: (source(pair.s2), source(pair.s1))


@pytest.fixture
def opened(written: Callable[[Pair], Sources], spec: ModelSpec) -> Callable[[Pair], Scene]:
    """Write a pair and open it."""

    def make(pair: Pair) -> Scene:
        s2, s1 = written(pair)
        return open_scene([s2], [s1], spec)

    return make


def on_s2(change: Callable[[np.ndarray], np.ndarray], **profile: Any) -> Change:
    return lambda pair: replace(pair, s2=pair.s2.changed(change(pair.s2.values), **profile))


def on_s1(change: Callable[[np.ndarray], np.ndarray], **profile: Any) -> Change:
    return lambda pair: replace(pair, s1=pair.s1.changed(change(pair.s1.values), **profile))


def same(values: np.ndarray) -> np.ndarray:
    return values


def named(s2: str = "", s1: str = "") -> Change:
    """Give the files other names."""
    return lambda pair: Pair(
        replace(pair.s2, file=s2 or pair.s2.file), replace(pair.s1, file=s1 or pair.s1.file)
    )


def described(s2: tuple[str, ...] = S2_BANDS, s1: tuple[str, ...] = RADAR) -> Change:
    """Give the bands other names."""
    return lambda pair: Pair(replace(pair.s2, names=s2), replace(pair.s1, names=s1))


def lifted(dn: np.ndarray) -> np.ndarray:
    return np.where(dn > 0, dn + 1000, 0).astype(dn.dtype)


def reflectance(dn: np.ndarray) -> np.ndarray:
    return (dn / 10_000).astype(np.float32)


def power(decibels: np.ndarray) -> np.ndarray:
    return np.power(10, decibels / 10)


def amplitude(decibels: np.ndarray) -> np.ndarray:
    return np.power(10, decibels / 20)


def hundredfold(decibels: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(decibels), -9999, np.round(decibels * 100)).astype(np.int16)


def raw_numbers(decibels: np.ndarray) -> np.ndarray:
    return np.nan_to_num(amplitude(decibels) * 500).astype(np.uint16)


def reversed_bands(pair: Pair) -> Pair:
    turned = (
        replace(layer, values=layer.values[::-1], names=layer.names[::-1])
        for layer in (pair.s2, pair.s1)
    )
    return Pair(*turned)


def thinned(values: np.ndarray) -> np.ndarray:
    return values[:, ::10, ::10]


def coarse(pair: Pair) -> Pair:
    t = pair.s2.profile["transform"]
    return on_s2(thinned, transform=Affine(10 * t.a, t.b, t.c, t.d, 10 * t.e, t.f))(pair)


def with_metadata_for(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Put Sentinel-2 into a product whose metadata ask for -1000."""

    def make(pair: Pair) -> Pair:
        s2 = pair.s2.changed(change(pair.s2.values))
        return replace(pair, s2=replace(s2, file="S2A_MSIL2A.SAFE/all.tif", product=MTD))

    return make


# Float32 holds 24 bits: of 20000 DN half a unit in the last place is 0.001, of 40 dB 2e-6.
ROUNDING = 4e-6
HUNDREDTH = 0.005 / 5.13 + ROUNDING  # of a std of VV


@pytest.mark.parametrize(
    ("change", "codes", "tolerance"),
    [
        pytest.param(on_s2(reflectance), ["s2_reflectance"], ROUNDING, id="reflectance"),
        pytest.param(on_s2(np.float32), [], 0, id="float-dn"),
        pytest.param(on_s2(lifted, scale_offset=(1.0, -1000.0)), [], 0, id="stated-offset"),
        pytest.param(with_metadata_for(lifted), [], 0, id="offset-of-the-product"),
        pytest.param(on_s1(power), ["s1_power"], ROUNDING, id="power"),
        pytest.param(on_s1(amplitude), ["s1_amplitude"], ROUNDING, id="amplitude"),
        pytest.param(on_s1(hundredfold, nodata=-9999), ["s1_db100"], HUNDREDTH, id="dB x 100"),
        pytest.param(
            on_s1(hundredfold, nodata=None), ["s1_db100"], HUNDREDTH, id="dB x 100, undeclared",
        ),
        pytest.param(
            on_s1(hundredfold, nodata=-9999, scale_offset=(0.01, 0.0)), [], HUNDREDTH,
            id="dB x 100, stated",
        ),
        pytest.param(reversed_bands, [], 0, id="bands-in-reverse"),
    ],
)  # fmt: skip
def test_what_can_be_undone_gives_the_same_tensor(
    real: Pair, clean: np.ndarray, opened: Callable[[Pair], Scene], picture: Picture,
    change: Change, codes: list[str], tolerance: float,
) -> None:  # fmt: skip
    with opened(change(real)) as scene:
        assert [warning.code for warning in scene_warnings(scene)] == codes
        np.testing.assert_allclose(picture(scene), clean, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("change", "decided"),
    [
        pytest.param(on_s2(lifted), -1000, id="offset"),
        pytest.param(on_s2(lambda dn: reflectance(lifted(dn))), -1000, id="offset-in-reflectance"),
        pytest.param(on_s2(same, scale_offset=(1.0, -1000.0)), 0, id="removed-twice-by-band"),
        pytest.param(with_metadata_for(same), 0, id="removed-twice-by-product"),
    ],
)
def test_an_offset_in_doubt_is_asked_about_and_the_answer_gives_the_same_tensor(
    real: Pair, clean: np.ndarray, written: Callable[[Pair], Sources], spec: ModelSpec,
    picture: Picture, change: Change, decided: float,
) -> None:  # fmt: skip
    s2, s1 = written(change(real))
    with pytest.raises(DecisionError) as caught:
        open_scene([s2], [s1], spec)
    assert caught.value.details["decision"] == "s2_offset"
    assert decided in caught.value.details["choices"]
    with open_scene([s2], [s1], spec, options=SceneOptions(s2_offset=decided)) as scene:
        np.testing.assert_allclose(picture(scene), clean, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        pytest.param(lambda p: Pair(p.s1, p.s2), "missing_channels", "swapped",
                     id="layers-swapped"),
        pytest.param(on_s2(lambda dn: (dn / 100).astype(np.float32)), "radiometry", "neither",
                     id="percent"),
        pytest.param(on_s2(lambda dn: (dn // 40).clip(0, 255).astype(np.uint8)), "radiometry",
                     "8 bits", id="picture"),
        pytest.param(on_s1(raw_numbers, nodata=0), "radiometry", "calibrate to sigma0 first",
                     id="raw-radar"),
        pytest.param(on_s1(np.complex64), "radiometry", "complex", id="single-look-complex"),
        pytest.param(on_s1(same, crs="EPSG:32634"), "no_overlap", "check the CRS",
                     id="wrong-zone-of-radar"),
        pytest.param(on_s2(same, crs="EPSG:32634"), "no_overlap", "check the CRS",
                     id="wrong-zone-of-optical"),
        pytest.param(on_s1(same, crs="EPSG:4326"), "no_overlap|crs", "CRS", id="metres-as-degrees"),
        pytest.param(on_s2(same, crs=None), "crs", "no coordinate reference", id="no-crs"),
        pytest.param(on_s1(same, crs=None), "crs", "no coordinate reference", id="radar-no-crs"),
        pytest.param(coarse, "source", "100 m", id="100-m-pixels"),
        pytest.param(described(s1=("HH", "HV")), "missing_channels", "polar", id="hh-hv"),
        pytest.param(described(s2=("",) * 12), "missing_channels", "band map", id="no-names"),
        pytest.param(described(s2=tuple(f"Band {n}" for n in range(1, 13))), "missing_channels",
                     "band map", id="only-counted"),
        pytest.param(described(s2=(*S2_BANDS[:11], "B11")), "source", "twice", id="band-twice"),
        pytest.param(on_s2(lambda dn: dn[:11]), "missing_channels", "B12", id="band-missing"),
        pytest.param(on_s1(lambda db: db[:1]), "missing_channels", "VH", id="one-polarisation"),
    ],
)  # fmt: skip
def test_what_spoils_the_tensor_is_refused(
    real: Pair, opened: Callable[[Pair], Scene], change: Change, code: str, words: str
) -> None:
    with pytest.raises(MultimodalError, match=words) as caught:
        opened(change(real))
    assert caught.value.code in code.split("|")


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        pytest.param(described(s1=RADAR[::-1]), ["s1_swapped"], id="polarisations-swapped"),
        pytest.param(named(s1="S1A_IW_GRDH_1SDV_20170713T165043.tif"), ["dates_apart"],
                     id="30-days-apart"),
        pytest.param(named(s1="S1A_IW_GRDH_1SDV_20170616T165043.tif"), [], id="3-days-apart"),
        pytest.param(described(s1=("Beta0_VV_db", "Beta0_VH_db")), ["s1_beta0"], id="beta0"),
        pytest.param(named(s2="S2A_MSIL1C_20170613T101031.tif"), ["s2_l1c"], id="level-1c"),
    ],
)  # fmt: skip
def test_what_may_be_wrong_is_warned_of(
    real: Pair, opened: Callable[[Pair], Scene], change: Change, codes: list[str]
) -> None:
    dated = named(s2="S2A_MSIL2A_20170613T101031.tif")
    with opened(change(dated(real))) as scene:
        assert [warning.code for warning in scene_warnings(scene)] == codes


HOLE = (slice(None), slice(40, 80), slice(100, 160))  # over the border of two tiles


def with_hole(
    value: float, convert: Callable[[np.ndarray], np.ndarray] = same
) -> Callable[[np.ndarray], np.ndarray]:
    def make(values: np.ndarray) -> np.ndarray:
        holed = convert(values).copy()
        holed[HOLE] = value
        return holed

    return make


@pytest.mark.parametrize(
    ("sensor", "change", "codes"),
    [
        pytest.param("s2", on_s2(with_hole(0)), [], id="declared-0"),
        pytest.param("s2", on_s2(with_hole(0), nodata=None), [], id="undeclared-0"),
        pytest.param("s2", on_s2(with_hole(np.nan, np.float32)), [], id="nan"),
        pytest.param("s2", on_s2(with_hole(np.nan, reflectance)), ["s2_reflectance"],
                     id="nan-in-reflectance"),
        pytest.param("s2", on_s2(with_hole(0, lifted), scale_offset=(1.0, -1000.0)), [],
                     id="0-under-an-offset"),
        pytest.param("s2", on_s2(with_hole(65_535)), ["s2_saturated"], id="saturated"),
        pytest.param("s1", on_s1(with_hole(np.nan)), [], id="radar-nan"),
        pytest.param("s1", on_s1(with_hole(-9999), nodata=None), [], id="radar-minus-9999"),
        pytest.param("s1", on_s1(with_hole(-32_768), nodata=None), [], id="radar-minus-32768"),
        pytest.param("s1", on_s1(with_hole(0), nodata=None), [], id="radar-0"),
        pytest.param("s1", on_s1(with_hole(-np.inf), nodata=None), [], id="radar-log-of-0"),
        pytest.param("s1", on_s1(with_hole(0, power), nodata=None), ["s1_power"],
                     id="radar-power-0"),
    ],
)  # fmt: skip
def test_a_hole_is_no_data_and_changes_nothing_around_it(
    real: Pair, clean: np.ndarray, opened: Callable[[Pair], Scene], picture: Picture, sensor: str,
    change: Change, codes: list[str],
) -> None:  # fmt: skip
    expected = clean.copy()
    optical = len(expected) - len(RADAR)
    part = expected[:optical] if sensor == "s2" else expected[optical:]
    part[HOLE] = np.nan
    with opened(change(real)) as scene:
        assert [warning.code for warning in scene_warnings(scene)] == codes
        np.testing.assert_allclose(picture(scene), expected, rtol=0, atol=ROUNDING)
