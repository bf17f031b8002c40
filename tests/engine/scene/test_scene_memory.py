"""Memory stays flat however large a raster is, and however much of it is read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import ModelSpec
from multimodal.scene import open_scene

SIDE, BLOCK = 36_000, 512
# Blocks under the middles of an 8 x 8 lattice, and under the cross of tiles that is read.
LATTICE = [int((n + 0.5) / 8 * SIDE) // BLOCK for n in range(8)]
CROSS = 150 * 120 // BLOCK
FILLED = [(n, n) for n in LATTICE] + [(CROSS, n) for n in LATTICE] + [(n, CROSS) for n in LATTICE]
PROBE = Path(__file__).with_name("memory_probe.py")
LIMIT_MB = 500
GROWTH_MB = 40

Make = Callable[..., np.ndarray]


def write_sparse(path: Path, names: tuple[str, ...], block: np.ndarray, nodata: float) -> str:
    """Write a raster of 36000 x 36000 pixels of which only FILLED blocks are on the disk."""
    with rasterio.open(
        path, "w", driver="GTiff", count=len(names), height=SIDE, width=SIDE, dtype=block.dtype,
        crs="EPSG:32633", transform=Affine(10, 0, 300_000, 0, -10, 5_400_000), nodata=nodata,
        tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", zlevel=1,
        SPARSE_OK=True,
    ) as dataset:  # fmt: skip
        for row, col in FILLED:
            dataset.write(block, window=Window(col * BLOCK, row * BLOCK, BLOCK, BLOCK))
        dataset.descriptions = names
    return str(path)


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("huge")
    random = np.random.default_rng(3)
    # Smooth, so that it is soon written.
    ramp = np.linspace(300, 3000, BLOCK, dtype=np.uint16)
    optical = np.broadcast_to(ramp, (len(S2_BANDS), BLOCK, BLOCK))
    speckle = random.normal(0, 2, (BLOCK, BLOCK))
    radar = np.stack([-12 + speckle, -19 + speckle]).astype(np.float32)
    return (
        write_sparse(folder / "s2.tif", S2_BANDS, optical, 0),
        write_sparse(folder / "s1.tif", ("VV", "VH"), radar, np.nan),
    )


def test_a_huge_raster_is_inspected_and_read_in_little_memory(huge: tuple[str, str]) -> None:
    """36000 x 36000 pixels: 31 GB of Sentinel-2, a row and a column of its tiles."""
    done = subprocess.run(
        [sys.executable, str(PROBE), *huge],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["warnings"] == ["s2_copied"], "one block stands for all bands"
    assert (facts["tiles"], facts["read"]) == (90_000, 599)
    assert facts["good"] > 30
    peaks = facts["peaks"]
    assert peaks[-1] < LIMIT_MB
    # The block cache fills in the first half.
    assert peaks[-1] - peaks[len(peaks) // 2] < GROWTH_MB, peaks


def test_billions_of_tiles_are_not_listed_to_describe_a_few(
    huge: tuple[str, str], spec: ModelSpec
) -> None:
    s2, s1 = map(RasterSource, huge)
    few = (
        "POLYGON ((480000 5220000, 480100 5220000, 480100 5219900, 480000 5219900, 480000 5220000))"
    )
    with open_scene([s2], [s1], spec, stride=1) as scene:
        verdict = scene.describe(few)
    assert verdict["grid"]["tiles"] > 10**9
    assert 0 < verdict["selected"] <= 121
