"""Real sample scenes, real shared data, and a factory of small GeoTIFFs with any defect."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.job import RasterSource
from multimodal.contract.result import OK
from multimodal.contract.spec import ModelSpec, default_spec
from multimodal.scene import Scene

REPOSITORY = Path(__file__).parents[3]
UTM = Affine(10, 0, 500_000, 0, -10, 5_300_000)
WriteRaster = Callable[..., RasterSource]


@pytest.fixture(scope="session")
def spec() -> ModelSpec:
    return default_spec()


@pytest.fixture(scope="session")
def sample_scenes() -> list[tuple[RasterSource, RasterSource]]:
    """The (S2, S1) pairs of sample_data."""
    found = sorted((REPOSITORY / "sample_data" / "scenes").glob("*_S2_*.tif"))
    assert found, "sample_data/scenes has no scene"
    radar = (path.with_name(path.name.replace("S2_12band_10m", "S1_VV_VH_dB")) for path in found)
    return [(RasterSource(str(a)), RasterSource(str(b))) for a, b in zip(found, radar, strict=True)]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared test data, which is not part of the repository."""
    folder = Path(os.environ.get("MM_TEST_DATA") or REPOSITORY / ".." / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("shared test data are not here (set MM_TEST_DATA to their folder)")
    return folder.resolve()


@pytest.fixture(scope="session")
def in_order() -> Callable[[Path, tuple[str, ...]], RasterSource]:
    """Make a source of a file without band names: a band map in the order given."""

    def make(path: Path, names: tuple[str, ...]) -> RasterSource:
        return RasterSource(str(path), bands={name: n for n, name in enumerate(names, start=1)})

    return make


@pytest.fixture(scope="session")
def l1c_bands() -> tuple[str, ...]:
    """The 13 bands of a Level-1C product in their order."""
    return (*S2_BANDS[:10], "B10", *S2_BANDS[10:])


@pytest.fixture(scope="session")
def terramind(
    shared_data: Path, l1c_bands: tuple[str, ...],
    in_order: Callable[[Path, tuple[str, ...]], RasterSource],
) -> Callable[..., tuple[RasterSource, RasterSource]]:  # fmt: skip
    """Return the (S2, S1) pair of a place of the TerraMind examples, ``L2A`` or ``L1C``."""

    def make(place: str, level: str = "L2A") -> tuple[RasterSource, RasterSource]:
        folder = shared_data / "terramind" / place
        names = {"L2A": S2_BANDS, "L1C": l1c_bands}[level]
        s2 = in_order(folder / f"S2{level}.tif", names)
        return s2, in_order(folder / "S1RTC.tif", ("VV", "VH"))

    return make


@pytest.fixture(scope="session")
def picture() -> Callable[[Scene], np.ndarray]:
    """Read a scene whole: (S2 channels and S1 channels, H, W), normalised, NaN where no data."""

    def read(scene: Scene) -> np.ndarray:
        grid, size, optical = scene.grid, scene.grid.tile_size, len(scene.spec.s2)
        shape = (optical + len(scene.spec.s1), grid.rows * size, grid.columns * size)
        whole = np.full(shape, np.nan, dtype=np.float32)
        for batch in scene.batches(scene.select(), 16, 0.0):
            good = (read.tile for read in batch.reads if read.status == OK)
            for tile, *sensors in zip(good, batch.s2, batch.s1, strict=True):
                rows, cols = (slice(n * size, (n + 1) * size) for n in (tile.row, tile.col))
                whole[:, rows, cols] = np.concatenate(sensors)
        for sensor in (whole[:optical], whole[optical:]):
            sensor[:, (sensor == 0).all(axis=0)] = np.nan
        return whole[:, : grid.height, : grid.width]

    return read


def _write(
    folder: Path,
    name: str,
    values: np.ndarray,
    names: tuple[str | None, ...] = (),
    transform: Affine | None = UTM,
    crs: str | None = "EPSG:32633",
    scale_offset: tuple[float, float] | None = None,
    **profile: Any,
) -> RasterSource:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width,
        dtype=values.dtype, crs=crs, transform=transform, **profile,
    ) as dataset:  # fmt: skip
        dataset.write(values)
        for index, text in enumerate(names, start=1):
            dataset.set_band_description(index, text or "")
        if scale_offset:
            dataset.scales = (scale_offset[0],) * count
            dataset.offsets = (scale_offset[1],) * count
    return RasterSource(str(path))


@pytest.fixture
def write_raster(tmp_path: Path) -> WriteRaster:
    """Write bands (n, rows, cols) as a GeoTIFF and return it as a source."""
    return partial(_write, tmp_path)


@pytest.fixture(scope="module")
def write_shared(tmp_path_factory: pytest.TempPathFactory) -> WriteRaster:
    """Write a raster that several tests of a module read."""
    return partial(_write, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def optical() -> Callable[..., np.ndarray]:
    """Make plausible DN of 12 bands, uint16."""

    def make(height: int = 240, width: int = 240, low: int = 200) -> np.ndarray:
        random = np.random.default_rng(1)
        return random.integers(low, low + 3000, (len(S2_BANDS), height, width)).astype(np.uint16)

    return make


@pytest.fixture
def radar() -> Callable[..., np.ndarray]:
    """Make plausible VV, VH in dB, float32."""

    def make(height: int = 240, width: int = 240) -> np.ndarray:
        random = np.random.default_rng(2)
        levels = np.array([-12.0, -19.0])[:, None, None]
        return (levels + random.normal(0, 2, (2, height, width))).astype(np.float32)

    return make


@pytest.fixture
def pair(
    write_raster: WriteRaster, optical: Callable[..., np.ndarray], radar: Callable[..., np.ndarray]
) -> tuple[RasterSource, RasterSource]:
    """A clean pair of 240 x 240 pixels: 2 x 2 tiles."""
    return (
        write_raster("s2.tif", optical(), S2_BANDS, nodata=0),
        write_raster("s1.tif", radar(), ("VV", "VH"), nodata=np.nan),
    )
