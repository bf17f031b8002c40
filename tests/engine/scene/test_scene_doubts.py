"""Numbers that would pass for others: each is converted, asked about or refused, never taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import (
    DecisionError,
    JobError,
    MissingChannelsError,
    RadiometryError,
)
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import ModelSpec
from multimodal.scene import Scene, open_scene

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]
Pair = tuple[RasterSource, RasterSource]
Change = Callable[[np.ndarray], np.ndarray]
OFFSET_XML = """<a><BOA_ADD_OFFSET_VALUES_LIST><BOA_ADD_OFFSET>-1000</BOA_ADD_OFFSET>
</BOA_ADD_OFFSET_VALUES_LIST></a>"""


def tensors(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    batches = list(scene.batches(scene.select(), 64, 0.0))
    return np.concatenate([b.s2 for b in batches]), np.concatenate([b.s1 for b in batches])


@pytest.fixture
def whole(sample_scenes: list[Pair]) -> Pair:
    return sample_scenes[0]


@pytest.fixture
def rewrite(whole: Pair, write_raster: Write) -> Callable[..., RasterSource]:
    """Write one of the real rasters again with other numbers."""

    def make(sensor: int, change: Change, name: str = "changed.tif", **profile: object):
        with rasterio.open(whole[sensor].path) as dataset:
            values = change(dataset.read())
            profile.setdefault("nodata", dataset.nodata if values.dtype.kind == "f" else 0)
            return write_raster(
                name, values, dataset.descriptions, dataset.transform, dataset.crs, **profile
            )

    return make


def punched(values: np.ndarray, fill: float, share: float) -> np.ndarray:
    """Return values with a share of the pixels filled, in every band."""
    random = np.random.default_rng(0)
    values = values.copy()
    values[:, random.random(values.shape[1:]) < share] = fill
    return values


@pytest.mark.parametrize(
    "change",
    [
        lambda db: np.nan_to_num(db * 10).astype(np.int16),
        lambda db: np.nan_to_num(db * 1000).astype(np.int32),
        lambda db: db + 40,
        lambda db: np.stack([db[0], 10 ** (db[1] / 10)]),
        lambda db: np.stack([db[0], db[1] * 100]),
    ],
    ids=["dB x 10", "dB x 1000", "40 dB up", "VV dB, VH power", "VV dB, VH dB x 100"],
)
def test_radar_in_no_known_unit_is_refused(
    change: Change, rewrite: Callable[..., RasterSource], whole: Pair, spec: ModelSpec
) -> None:
    with pytest.raises(RadiometryError):
        open_scene([whole[0]], [rewrite(1, change)], spec)


@pytest.mark.parametrize("unit", ["power", "amplitude", "db*100"])
def test_a_unit_that_the_values_exclude_is_refused(unit: str, whole: Pair, spec: ModelSpec) -> None:
    with pytest.raises(RadiometryError, match="no scene looks like that"):
        open_scene([whole[0]], [whole[1]], spec, options=SceneOptions(s1_unit=unit))


@pytest.mark.parametrize(
    ("fill", "share"),
    [
        *((fill, share) for fill in (-999.0, -99.0, -100.0, -3.4e38) for share in (0.02, 0.6)),
        (999.0, 0.02),
        (1e20, 0.02),
    ],
)
def test_undeclared_fill_of_radar_is_no_measurement(
    fill: float, share: float, rewrite: Callable[..., RasterSource], whole: Pair, spec: ModelSpec
) -> None:
    source = rewrite(1, lambda db: punched(db, fill, share))
    with open_scene([whole[0]], [whole[1]], spec) as scene:
        expected = tensors(scene)[1]
    with open_scene([whole[0]], [source], spec) as scene:
        assert scene.describe()["s1"]["unit"] == "db"
        found = tensors(scene)[1]
    same = found == expected
    assert same.mean() > 0.9 * (1 - share)
    assert (found[~same] == 0).all()


@pytest.mark.parametrize("calibration", ["Sigma0", "Gamma0"])
def test_the_name_of_a_calibration_is_no_unit(
    calibration: str, rewrite: Callable[..., RasterSource], whole: Pair, spec: ModelSpec
) -> None:
    source = rewrite(1, lambda db: 10 ** (db / 20))
    with rasterio.open(source.path, "r+") as dataset:
        for number, name in enumerate(("VV", "VH"), start=1):
            dataset.set_band_description(number, f"{calibration}_{name}")
    with open_scene([whole[0]], [source], spec) as scene:
        described = scene.describe()["s1"]
    assert (described["unit"], described["calibration"]) == ("amplitude", f"{calibration.lower()}")


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda dn: punched(dn.astype(np.int16), -9999, 0.02), 0.02),
        (lambda dn: punched(dn.astype(np.int32), -32768, 0.3), 0.3),
        (lambda dn: punched(dn.astype(np.int16), 32767, 0.005), 0.005),
        (lambda dn: punched(dn.astype(np.float32) / 10_000, 255, 0.005), 0.005),
        (lambda dn: punched(dn.astype(np.float32) / 10_000, -9999, 0.1), 0.1),
        (lambda dn: punched(dn.astype(np.float32) / 10_000, -1, 0.1), 0.1),
    ],
    ids=[
        "int16 -9999",
        "int32 -32768",
        "int16 32767",
        "reflectance 255",
        "reflectance -9999",
        "reflectance -1",
    ],
)
def test_undeclared_fill_of_optical_is_no_measurement(
    change: Change, share: float, rewrite: Callable[..., RasterSource], whole: Pair,
    spec: ModelSpec,
) -> None:  # fmt: skip
    with open_scene([whole[0]], [whole[1]], spec) as scene:
        expected = tensors(scene)[0]
    with open_scene([rewrite(0, change)], [whole[1]], spec) as scene:
        found = tensors(scene)[0]
    same = np.isclose(found, expected, atol=1e-4)
    assert same.mean() > 0.9 * (1 - share)
    assert (found[~same] == 0).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda dn: punched(lifted(dn).astype(np.int16), -9999, 0.02),
        lambda dn: punched(lifted(dn).astype(np.float32) / 10_000, -9999, 0.02),
        lambda dn: punched(lifted(dn), 1, 0.01),
    ],
    ids=["int16 -9999", "reflectance -9999", "ones"],
)
def test_fill_does_not_hide_an_offset(
    change: Change, rewrite: Callable[..., RasterSource], whole: Pair, spec: ModelSpec
) -> None:
    with pytest.raises(DecisionError) as caught:
        open_scene([rewrite(0, change)], [whole[1]], spec)
    assert caught.value.details["decision"] == "s2_offset"


def lifted(dn: np.ndarray) -> np.ndarray:
    return np.where(dn > 0, dn + 1000, 0).astype(dn.dtype)


def parted(
    whole: Pair, write: Write, change: Change, first: tuple[str, ...]
) -> tuple[RasterSource, RasterSource]:
    """Return the bands ``first`` as they are, and the others changed, as two rasters."""
    with rasterio.open(whole[0].path) as dataset:
        values, place, crs = dataset.read(), dataset.transform, dataset.crs
    mine = [S2_BANDS.index(name) for name in first]
    others = [place for place in range(12) if place not in mine]
    names = tuple(S2_BANDS[place] for place in others)
    return (
        write("first.tif", values[mine], first, place, crs, nodata=0),
        write("others.tif", change(values[others]), names, place, crs, nodata=0),
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [(lambda dn: dn.astype(np.float32) / 10_000, RadiometryError), (lifted, DecisionError)],
    ids=["reflectance", "offset"],
)
def test_bands_that_were_not_looked_at_first_must_agree(
    change: Change, error: type[Exception], whole: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    sources = parted(whole, write_raster, change, ("B04", "B03", "B02", "B12"))
    with pytest.raises(error):
        open_scene(sources, [whole[1]], spec)


def test_metadata_of_one_file_do_not_speak_for_all(
    whole: Pair, write_raster: Write, spec: ModelSpec, tmp_path: Path
) -> None:
    plain, other = parted(whole, write_raster, lambda dn: dn, tuple(S2_BANDS[:9]))
    folder = tmp_path / "p.SAFE"
    folder.mkdir()
    Path(other.path).rename(folder / "others.tif")
    (folder / "MTD_MSIL2A.xml").write_text(OFFSET_XML)
    with pytest.raises(DecisionError, match="some files only"):
        open_scene([plain, RasterSource(str(folder))], [whole[1]], spec)


def test_an_empty_band_is_a_missing_one(
    rewrite: Callable[..., RasterSource], whole: Pair, spec: ModelSpec
) -> None:
    def blank(dn: np.ndarray) -> np.ndarray:
        dn[S2_BANDS.index("B08")] = 0
        return dn.astype(np.float32)

    def no_zeros(dn: np.ndarray) -> np.ndarray:
        return np.where(blank(dn) == 0, np.nan, dn)

    source = rewrite(0, no_zeros, nodata=np.nan)
    with pytest.raises(MissingChannelsError, match="no valid pixel") as caught:
        open_scene([source], [whole[1]], spec)
    assert caught.value.details["missing"] == ["B08"]
    options = SceneOptions(fill_missing=True)
    with open_scene([source], [whole[1]], spec, options=options) as scene:
        described = scene.describe()
        optical = tensors(scene)[0]
    assert described["s2"]["filled"] == ["B08", "NDVI", "NDWI"]
    for name in ("B08", "NDVI", "NDWI"):
        assert (optical[:, spec.s2_names.index(name)] == 0).all()


def test_a_band_that_covers_a_part_is_told(
    whole: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    most, few = parted(whole, write_raster, lambda dn: dn[:, :, :120], tuple(S2_BANDS[:11]))
    with open_scene([most, few], [whole[1]], spec) as scene:
        described = scene.describe()
    (warning,) = described["warnings"]
    assert warning["code"] == "partial_band"
    assert "B12 50 %" in warning["message"]


def test_dark_numbers_are_told(
    rewrite: Callable[..., RasterSource], whole: Pair, spec: ModelSpec
) -> None:
    source = rewrite(0, lambda dn: (dn // 10).astype(np.uint16))
    with open_scene([source], [whole[1]], spec) as scene:
        assert [w["code"] for w in scene.describe()["warnings"]] == ["s2_dark"]


def test_an_offset_that_was_removed_twice_is_refused(
    rewrite: Callable[..., RasterSource], whole: Pair, spec: ModelSpec
) -> None:
    source = rewrite(0, lambda dn: np.where(dn == 0, 0, np.clip(dn.astype(int) - 1000, 1, None)))
    with pytest.raises(RadiometryError, match=r"B02.* are 0 or 1: .*removed twice"):
        open_scene([source], [whole[1]], spec)


@pytest.mark.parametrize("offset", [1000.0, -0.1, float("nan"), float("inf"), -1e9])
def test_an_offset_that_no_product_has_is_refused(offset: float) -> None:
    with pytest.raises(JobError, match="0 or -1000"):
        SceneOptions(s2_offset=offset)


def test_an_offset_on_clean_numbers_is_told(whole: Pair, spec: ModelSpec) -> None:
    options = SceneOptions(s2_offset=-1000.0)
    with open_scene([whole[0]], [whole[1]], spec, options=options) as scene:
        assert [w["code"] for w in scene.describe()["warnings"]] == ["s2_negative"]


def test_a_cloud_limit_that_cannot_work_is_told(
    whole: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    far = write_raster("SCL.tif", np.full((1, 50, 50), 9, np.uint8))
    for mask in (None, far):
        with open_scene(
            [whole[0]], [whole[1]], spec, mask=mask, options=SceneOptions(max_cloud=0.5)
        ) as scene:
            assert [w["code"] for w in scene.describe()["warnings"]] == ["cloud_unknown"]


def test_values_given_for_bits_are_refused(
    whole: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    mask = write_raster("QA60.tif", np.zeros((1, 50, 50), np.uint16))
    with pytest.raises(JobError, match="bits"):
        open_scene(
            [whole[0]], [whole[1]], spec, mask=mask, options=SceneOptions(mask_classes=(1024,))
        )


def test_classes_of_a_finer_mask_are_never_averaged(
    pair: Pair, write_raster: Write, spec: ModelSpec
) -> None:
    classes = np.indices((480, 480)).sum(axis=0) % 2 * 4 + 7  # 7 and 11: no cloud
    fine = rasterio.Affine(5, 0, 500_000, 0, -5, 5_300_000)
    mask = write_raster("SCL.tif", classes[None].astype(np.uint8), transform=fine)
    with open_scene([pair[0]], [pair[1]], spec, mask=mask) as scene:
        reads = [read for batch in scene.batches(scene.select(), 8, 0.5) for read in batch.reads]
    assert {read.cloud for read in reads} == {0.0}


@pytest.mark.parametrize(
    ("change", "scale"),
    [(lambda dn: dn / 1e4, 1e-4), (lambda dn: dn / 1e6, 1.0)],
    ids=["scaled before", "a hundred times too small"],
)
def test_numbers_far_below_reflectance_are_refused(
    rewrite: Callable[..., RasterSource], whole: Pair, spec: ModelSpec, change: Change, scale: float
) -> None:
    source = rewrite(
        0, lambda dn: change(dn).astype(np.float32), nodata=0, scale_offset=(scale, 0.0)
    )
    with pytest.raises(RadiometryError, match="is no reflectance"):
        open_scene([source], [whole[1]], spec)


@pytest.mark.parametrize("fill", [255.0, 1e20])
def test_fill_does_not_make_dn_of_reflectance(
    rewrite: Callable[..., RasterSource], whole: Pair, spec: ModelSpec, fill: float
) -> None:
    source = rewrite(0, lambda dn: punched(dn / 1e4, fill, 0.05).astype(np.float32), nodata=0)
    with pytest.raises(RadiometryError, match="declare its nodata"):
        open_scene([source], [whole[1]], spec)
