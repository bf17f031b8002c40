"""Clouds: found beside Sentinel-2 or named by the user, at any resolution, counted by tile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import Affine

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import DecisionError, JobError, SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import ModelSpec
from multimodal.scene import open_scene

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]
Pair = tuple[RasterSource, RasterSource]
COARSE = Affine(20, 0, 500_000, 0, -20, 5_300_000)
COARSEST = Affine(60, 0, 500_000, 0, -60, 5_300_000)


def clouds(
    pair: Pair, spec: ModelSpec, mask: RasterSource | None = None, **options: object
) -> tuple[list[float | None], list[str], dict]:
    with open_scene(
        [pair[0]], [pair[1]], spec, mask=mask, options=SceneOptions(**options)
    ) as scene:
        reads = [read for batch in scene.batches(scene.select(), 8, 0.5) for read in batch.reads]
        return [read.cloud for read in reads], [read.status for read in reads], scene.describe()


@pytest.fixture
def scl() -> np.ndarray:
    """Scene classes at 20 m, 2 x 2 tiles of 60 x 60: clear, half cloud, all shadow, nodata."""
    values = np.full((1, 120, 120), 4, np.uint8)
    values[0, :30, 60:] = 9
    values[0, 60:, :60] = 3
    values[0, 60:, 60:] = 0
    return values


def test_scene_classes_beside_the_bands(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec, scl: np.ndarray, tmp_path: Path
) -> None:
    for name, layer in zip(S2_BANDS, optical(), strict=True):
        write_raster(f"p/T33_{name}_10m.tif", layer[None], nodata=0)
    write_raster("p/T33_SCL_20m.tif", scl, transform=COARSE, nodata=0)
    write_raster(
        "p/T33_SCL_60m.tif", scl[:, ::3, ::3], transform=Affine(60, 0, 500_000, 0, -60, 5_300_000)
    )
    found = clouds((RasterSource(str(tmp_path / "p")), pair[1]), spec)
    assert found[0] == [0, 0.5, 1, None]
    assert set(found[1]) == {"ok"}
    mask = found[2]["mask"]
    assert (mask["kind"], mask["classes"]) == ("SCL", [3, 8, 9, 10])
    assert mask["path"].endswith("SCL_20m.tif")


def test_a_band_of_the_same_file_and_the_classes_to_reject(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec, scl: np.ndarray
) -> None:
    classes = scl.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint16)
    values = np.concatenate([optical(), classes])
    source = write_raster("s2.tif", values, (*S2_BANDS, "SCL"))
    assert clouds((source, pair[1]), spec, mask_classes=(9,))[0] == [0, 0.5, 0, 0]
    cloud, status, described = clouds((source, pair[1]), spec, max_cloud=0.4)
    assert cloud[:3] == [0, 0.5, 1]
    assert status == ["ok", "skipped: too cloudy", "skipped: too cloudy", "ok"]
    assert described["s2"]["other"] == ["SCL"]
    assert described["expected_skipped"] == 2
    assert described["grid"]["tiles_valid"] == 4


def test_bits_of_earth_engine(
    write_raster: Write, pair: Pair, spec: ModelSpec, scl: np.ndarray
) -> None:
    bits = np.select([scl == 9, scl == 3], [1 << 10, 1 << 11], 0).astype(np.uint16)
    mask = write_raster("QA60.tif", bits, transform=COARSE)
    assert clouds(pair, spec, mask)[0] == [0, 0.5, 1, 0]
    assert clouds(pair, spec, mask, mask_classes=(10,))[0] == [0, 0.5, 0, 0]


def test_any_other_mask(write_raster: Write, pair: Pair, spec: ModelSpec, scl: np.ndarray) -> None:
    binary = write_raster("m.tif", (scl == 9).astype(np.uint8), transform=COARSE)
    assert clouds(pair, spec, binary)[0] == [0, 0.5, 0, 0]
    several = write_raster("n.tif", scl, transform=COARSE)
    with pytest.raises(DecisionError, match="--mask-classes") as caught:
        clouds(pair, spec, several)
    assert caught.value.details["choices"] == [0, 3, 4, 9]
    assert clouds(pair, spec, several, mask_classes=(9, 0))[0] == [0, 0.5, 0, 1]
    measured = write_raster("p.tif", scl.astype(np.float32) / 7, transform=COARSE)
    with pytest.raises(SourceError, match=r"holds measured values, such as 0\.4286"):
        clouds(pair, spec, measured)
    two = write_raster("two.tif", np.concatenate([scl, scl]), transform=COARSE)
    with pytest.raises(SourceError, match="mask-band"):
        clouds(pair, spec, two)
    chosen = RasterSource(two.path, bands={"CLOUD": 2})
    assert clouds(pair, spec, chosen, mask_classes=(9,))[0] == [0, 0.5, 0, 0]


def test_a_mask_elsewhere_says_nothing(
    write_raster: Write, pair: Pair, spec: ModelSpec, scl: np.ndarray
) -> None:
    far = write_raster("SCL.tif", scl, transform=Affine(20, 0, 700_000, 0, -20, 5_300_000))
    assert clouds(pair, spec, far)[0] == [None] * 4


def test_without_a_mask_the_share_is_unknown(pair: Pair, spec: ModelSpec) -> None:
    cloud, _, described = clouds(pair, spec)
    assert cloud == [None] * 4
    assert described["mask"] is None


@pytest.mark.parametrize(
    "options", [{"mask_classes": (-1,)}, {"max_cloud": 1.5}, {"max_days": -1}, {"s1_unit": "dB"},
                {"s2_offset": 1e9}]
)  # fmt: skip
def test_impossible_decisions_are_refused(options: dict) -> None:
    with pytest.raises(JobError):
        SceneOptions(**options)
