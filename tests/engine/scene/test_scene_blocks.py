"""Rasters in one huge block or in wide strips take the memory of a block, and are told about."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import Affine
from rasterio.windows import Window

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import ModelSpec
from multimodal.scene import blocks, open_scene
from multimodal.scene.geometry import Geometry
from multimodal.scene.pixels import BLOCK_CACHE, Band, open_raster, read_bands

PROBE = Path(__file__).with_name("memory_probe.py")
USUAL_MB = 450


def write_strips(
    path: Path, names: tuple[str, ...], size: tuple[int, int], rows: int, ends: tuple[float, float]
) -> str:
    """Write a raster in strips of so many rows, its bands interleaved by pixel."""
    height, width = size
    dtype = "uint16" if names == S2_BANDS else "float32"
    with rasterio.open(
        path, "w", driver="GTiff", count=len(names), height=height, width=width, dtype=dtype,
        crs="EPSG:32633", transform=Affine(10, 0, 300_000, 0, -10, 5_400_000), nodata=0,
        tiled=False, blockysize=rows, interleave="pixel", compress="deflate", zlevel=1,
    ) as dataset:  # fmt: skip
        dataset.descriptions = names
        ramp = np.linspace(*ends, width)
        levels = np.arange(len(names))[:, None, None] * (5 if dtype == "uint16" else -7)
        strip = np.broadcast_to(ramp + levels, (len(names), rows, width)).astype(dtype)
        for top in range(0, height, rows):
            window = Window(0, top, width, min(rows, height - top))
            dataset.write(strip[:, : window.height], window=window)
    return str(path)


def pair(folder: Path, size: tuple[int, int], rows: int) -> list[str]:
    return [
        write_strips(folder / "s2.tif", S2_BANDS, size, rows, (300, 3000)),
        write_strips(folder / "s1.tif", ("VV", "VH"), size, rows, (-14, -10)),
    ]


@pytest.fixture(scope="module")
def one_block(tmp_path_factory: pytest.TempPathFactory) -> list[RasterSource]:
    """A pair in one block each; only that of Sentinel-2 is a huge one."""
    return list(map(RasterSource, pair(tmp_path_factory.mktemp("block"), (2_000, 1_800), 2_000)))


def probed(sources: list[str]) -> dict:
    done = subprocess.run(
        [sys.executable, str(PROBE), *sources, "1"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_strips_as_wide_as_a_huge_raster_take_the_usual_memory(tmp_path: Path) -> None:
    """36000 pixels wide and interleaved: a row of tiles is 120 MB of Sentinel-2 alone."""
    facts = probed(pair(tmp_path, (240, 36_000), 16))
    assert facts["good"] == 301
    assert facts["warnings"] == []
    assert facts["peaks"][-1] < USUAL_MB


def test_one_huge_block_takes_twice_its_size_and_is_told(tmp_path: Path) -> None:
    """GDAL keeps what it decodes, and each band taken from it; not once for each thread."""
    facts = probed(pair(tmp_path, (2_160, 3_600), 2_160))
    block = 2_160 * 3_600 * (len(S2_BANDS) * 2 + 2 * 4) / 2**20
    assert facts["good"] == 47
    assert facts["warnings"] == ["huge_blocks"]
    assert facts["peaks"][-1] < USUAL_MB + 2 * block


def test_a_block_larger_than_memory_is_refused_at_once(
    one_block: list[RasterSource], spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    s2, s1 = one_block
    monkeypatch.setattr(blocks, "free_memory", lambda with_swap=False: 5 * 10**7)
    with pytest.raises(SourceError, match=r"s2\.tif' is stored in blocks of 0\.1 GB.*TILED=YES"):
        open_scene([s2], [s1], spec)


def test_the_cache_keeps_huge_blocks_only_where_memory_allows_it(
    one_block: list[RasterSource], spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    s2, s1 = one_block
    usual = {"GDAL_CACHEMAX": BLOCK_CACHE}
    with open_scene([s2], [s1], spec) as scene:
        bands = (*scene.s2.all_bands, *scene.s1.all_bands)
    block = 2_000 * 1_800 * len(S2_BANDS) * 2
    assert blocks.huge_blocks(bands) == {s2.path: block}  # Sentinel-1 has 29 MB
    for free, more in ((None, block), (10**10, block), (3 * 10**8, 0)):
        monkeypatch.setattr(blocks, "free_memory", lambda with_swap=False, free=free: free)
        assert blocks.with_room_for(bands, usual) == {"GDAL_CACHEMAX": BLOCK_CACHE + more}


LITTLE = """
import resource, sys, warnings
import numpy as np
from multimodal.contract.errors import SourceError
from multimodal.scene.pixels import Band, open_raster, read_bands
from rasterio.windows import Window

warnings.simplefilter("ignore")
path = sys.argv[1]
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**28,) * 2)
with open_raster(path) as dataset:
    try:
        read_bands(dataset, [Band("B02", path, 1, None, "uint16", 0)], Window(0, 0, 9, 9))
    except SourceError as problem:
        print(problem.message)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of addresses as on Linux")
def test_a_block_that_finds_no_memory_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=16_000, width=16_000, dtype="uint16",
        tiled=True, blockxsize=16_000, blockysize=16_000, compress="deflate", sparse_ok=True,
        transform=Affine(10, 0, 300_000, 0, -10, 5_400_000),
    ):  # fmt: skip
        pass
    done = subprocess.run(
        [sys.executable, "-c", LITTLE, str(path)], capture_output=True, text=True, check=False
    )
    assert "not enough memory to read" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("is_inside", [False, True])
def test_a_name_that_speaks_of_memory_is_no_want_of_it(
    write_raster: Callable[..., RasterSource], tmp_path: Path, is_inside: bool
) -> None:
    """The driver quotes the file, or the one within a virtual raster."""
    folder = tmp_path / "out of memory"
    folder.mkdir()
    values = np.linspace(300, 3000, 2000 * 240).reshape(1, 2000, 240).astype(np.uint16)
    layout = {"compress": "lzw", "blockysize": 16}
    name = write_raster("out of memory/cannot allocate.tif", values, ("B02",), **layout).path
    content = bytearray(Path(name).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = b"\xff" * 400
    Path(name).write_bytes(content)
    if is_inside:
        outer = str(tmp_path / "plain.vrt")
        rasterio.shutil.copy(name, outer, driver="VRT")
        name = outer
    with open_raster(name) as dataset:
        place = Geometry(dataset.crs, dataset.transform, dataset.width, dataset.height)
        band = Band("B02", name, 1, place, "uint16", None)
        with pytest.raises(SourceError, match="is damaged or incomplete"):
            read_bands(dataset, [band])
