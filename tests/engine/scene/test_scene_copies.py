"""What a stacking script spoils: copied, constant, coarse and mixed bands; each is warned of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from rasterio.transform import Affine

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import MissingChannelsError
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import ModelSpec
from multimodal.scene import open_scene

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]
COARSE = Affine(120, 0, 500_000, 0, -120, 5_300_000)


def warned(spec: ModelSpec, s2: list[RasterSource], s1: list[RasterSource]) -> dict[str, str]:
    with open_scene(s2, s1, spec) as scene:
        return {w["code"]: w["message"] for w in scene.describe()["warnings"]}


@pytest.fixture
def clean(write_raster: Write, optical: Make, radar: Make) -> tuple[RasterSource, RasterSource]:
    return (
        write_raster("clean2.tif", optical(120, 120), S2_BANDS, nodata=0),
        write_raster("clean1.tif", radar(120, 120), ("VV", "VH"), nodata=np.nan),
    )


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda dn: dn[7] * 0 + 1234, "s2_constant", "B08 of Sentinel-2"),
        (lambda dn: dn[3], "s2_copied", "B04 and B08 of Sentinel-2"),
        (lambda dn: dn[7] + 1000, "s2_nir_apart", "B08 and B8A of Sentinel-2"),
    ],
    ids=["constant", "copied", "lifted alone"],
)
def test_an_optical_band_that_measures_nothing(
    change: Callable[[np.ndarray], np.ndarray], code: str, words: str, spec: ModelSpec,
    clean: tuple[RasterSource, RasterSource], write_raster: Write, optical: Make,
) -> None:  # fmt: skip
    dn = optical(120, 120)
    dn[7] = change(dn)
    found = warned(spec, [write_raster("s2.tif", dn, S2_BANDS, nodata=0)], [clean[1]])
    assert list(found) == [code]
    assert found[code].startswith(words)


def test_one_polarisation_in_the_place_of_both(
    spec: ModelSpec, clean: tuple[RasterSource, RasterSource], write_raster: Write, radar: Make
) -> None:
    db = np.repeat(radar(120, 120)[:1], 2, axis=0)
    assert list(warned(spec, [clean[0]], [write_raster("s1.tif", db, ("VV", "VH"))])) == [
        "s1_copied"
    ]


def test_radar_stretched_to_one_is_told(
    spec: ModelSpec, clean: tuple[RasterSource, RasterSource], write_raster: Write, radar: Make
) -> None:
    """Stretched decibels pass for the amplitude of a very bright scene."""
    stretched = np.clip((radar(120, 120) + 30) / 30, 0, 1)
    found = warned(spec, [clean[0]], [write_raster("s1.tif", stretched, ("VV", "VH"))])
    assert "s1_bright" in found


def test_bands_of_different_days_are_told(
    spec: ModelSpec, clean: tuple[RasterSource, RasterSource], write_raster: Write, optical: Make
) -> None:
    dn = optical(120, 120)
    days = {name: "20170618" if name == "B08" else "20170613" for name in S2_BANDS}
    files = [
        write_raster(f"T33UUP_{days[name]}T101031_{name}.tif", dn[n : n + 1], nodata=0)
        for n, name in enumerate(S2_BANDS)
    ]
    found = warned(spec, files, [clean[1]])
    assert list(found) == ["band_dates"]
    assert "2017-06-18: B08" in found["band_dates"]


def test_single_coarse_bands_are_told(
    spec: ModelSpec, clean: tuple[RasterSource, RasterSource], write_raster: Write, optical: Make,
    radar: Make,
) -> None:  # fmt: skip
    dn = optical(120, 120)
    sharp = write_raster("sharp.tif", dn[:10], S2_BANDS[:10], nodata=0)
    blurred = write_raster(
        "blurred.tif", dn[10:, ::12, ::12].copy(), S2_BANDS[10:], transform=COARSE, nodata=0
    )
    s1 = write_raster("s1.tif", radar(120, 120)[:, ::12, ::12], ("VV", "VH"), transform=COARSE)
    found = warned(spec, [sharp, blurred], [s1])
    assert list(found) == ["s2_coarse", "s1_coarse"]
    assert "B11 120 m, B12 120 m" in found["s2_coarse"]
    assert "B01" not in found["s2_coarse"]


def test_bands_that_lie_apart_are_not_said_to_be_missing(
    spec: ModelSpec, clean: tuple[RasterSource, RasterSource], write_raster: Write, radar: Make
) -> None:
    db = radar(120, 120)
    far = Affine(10, 0, 530_000, 0, -10, 5_300_000)
    vv, vh = write_raster("vv.tif", db[:1], ("VV",)), write_raster("vh.tif", db[1:], ("VH",), far)
    with pytest.raises(
        MissingChannelsError, match=r"lie at 2 places.*vh\.tif' VV; at .*vv\.tif' VH"
    ):
        open_scene([clean[0]], [vv, vh], spec)


def test_a_band_of_zeros_is_a_missing_one(
    spec: ModelSpec, clean: tuple[RasterSource, RasterSource], write_raster: Write, optical: Make,
    radar: Make,
) -> None:  # fmt: skip
    dn, power = optical(120, 120), 10 ** (radar(120, 120) / 10)
    dn[7], power[1] = 0, 0
    s2 = write_raster("s2.tif", dn, S2_BANDS)
    s1 = write_raster("s1.tif", power, ("Intensity_VV", "Intensity_VH"))
    for sources, missing in (((s2, clean[1]), "B08"), ((clean[0], s1), "VH")):
        with pytest.raises(MissingChannelsError, match=f"^{missing} in .* no valid pixel"):
            open_scene([sources[0]], [sources[1]], spec)


def test_tiles_of_one_polarisation_are_expected_as_they_are_read(
    spec: ModelSpec, clean: tuple[RasterSource, RasterSource], write_raster: Write, radar: Make
) -> None:
    db = radar(120, 120)
    db[1] = np.nan
    s1 = write_raster("s1.tif", db, ("VV", "VH"))
    options = SceneOptions(fill_missing=True)
    with open_scene([clean[0]], [s1], spec, options=options) as scene:
        described = scene.describe()
        (batch,) = scene.batches(scene.select(), 4, 0.75)
    assert described["s1"]["filled"] == ["VH"]
    assert [read.status for read in batch.reads] == ["ok"]
    assert described["grid"]["tiles_valid"] == 1
