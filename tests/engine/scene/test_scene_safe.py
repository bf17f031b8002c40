"""SAFE products as ESA delivers them: folder, zip, xml, one band; and rasters over HTTP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rasterio.shutil import copy as copy_raster
from rasterio.transform import Affine

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import ModelSpec
from multimodal.scene import Scene, open_scene
from multimodal.scene.files import read_text
from multimodal.scene.product import product_of

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]
Pair = tuple[RasterSource, RasterSource]

NAME = "S2A_MSIL{}_20230613T101031_N0509_R022_T33UUP_20230613T143000.SAFE"
NATIVE = {10: ("B02", "B03", "B04", "B08"), 20: ("B05", "B06", "B07", "B8A", "B11", "B12"),
          60: ("B01", "B09")}  # fmt: skip
MTD = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User.xsd">
<n1:General_Info><Product_Info><PRODUCT_START_TIME>2023-06-13T10:10:31.024Z</PRODUCT_START_TIME>
<PROCESSING_BASELINE>05.09</PROCESSING_BASELINE></Product_Info><Product_Image_Characteristics>
<{tag}_VALUES_LIST><{tag} band_id="0">-1000</{tag}><{tag} band_id="1">-1000</{tag}>
</{tag}_VALUES_LIST></Product_Image_Characteristics></n1:General_Info>
</n1:Level-{level}_User_Product>"""


def band(write: Write, path: Path, values: np.ndarray, size: int) -> None:
    """Write a lossless JPEG 2000 of 2.4 km at ``size`` metres."""
    place = Affine(size, 0, 500_000, 0, -size, 5_300_000)
    source = write(f"tmp/{path.stem}.tif", values[None], transform=place)
    path.parent.mkdir(parents=True, exist_ok=True)
    copy_raster(source.path, path, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    path.with_suffix(".jp2.aux.xml").unlink(missing_ok=True)


@pytest.fixture
def make_product(write_raster: Write, optical: Make, tmp_path: Path) -> Callable[[str], Path]:
    """Make a product of level 2A or 1C with the offset in its numbers."""

    def make(level: str) -> Path:
        safe = tmp_path / NAME.format(level)
        data = safe / "GRANULE" / f"L{level}_T33UUP_A01_20230613T101031" / "IMG_DATA"
        values = optical() + 1000
        values[:, :20, :20] = 0
        for size, names in NATIVE.items():
            for name in names:
                coarse = values[S2_BANDS.index(name)][:: size // 10, :: size // 10]
                stem = f"T33UUP_20230613T101031_{name}"
                place = data / f"R{size}m" / f"{stem}_{size}m" if level == "2A" else data / stem
                band(write_raster, place.with_suffix(".jp2"), coarse, size)
        if level == "2A":
            # Level-2A holds finer bands at the coarser sizes too, and its scene classes.
            again = values[1][::2, ::2]
            place = data / "R20m" / "T33UUP_20230613T101031_B02_20m.jp2"
            band(write_raster, place, again, 20)
            classes = np.full((120, 120), 4, np.uint8)
            classes[:60, :60] = 9
            place = data / "R20m" / "T33UUP_20230613T101031_SCL_20m.jp2"
            band(write_raster, place, classes, 20)
            quality = safe / "GRANULE" / data.parent.name / "QI_DATA" / "MSK_CLASSI_B00.jp2"
            band(write_raster, quality, classes, 20)
        tag = "BOA_ADD_OFFSET" if level == "2A" else "RADIO_ADD_OFFSET"
        (safe / f"MTD_MSIL{level}.xml").write_text(MTD.format(level=level, tag=tag))
        return safe

    return make


def tensors(scene: Scene) -> np.ndarray:
    return np.concatenate([batch.s2 for batch in scene.batches(scene.select(), 8, 0.5)])


def test_a_level_2a_product_in_every_form(
    make_product: Callable[[str], Path], write_raster: Write, optical: Make, pair: Pair,
    spec: ModelSpec, tmp_path: Path,
) -> None:  # fmt: skip
    safe = make_product("2A")
    archive = shutil.make_archive(str(tmp_path / "product"), "zip", tmp_path, safe.name)
    dn = optical()
    for size, names in NATIVE.items():
        for name in names:
            layer = dn[S2_BANDS.index(name)]
            factor = size // 10
            coarse = layer[::factor, ::factor]
            layer[:] = coarse.repeat(factor, axis=0).repeat(factor, axis=1)
    dn[:, :20, :20] = 0
    for name in NATIVE[60]:  # what a coarse pixel of the empty corner covers
        dn[S2_BANDS.index(name)][:24, :24] = 0
    plain = write_raster("plain.tif", dn, S2_BANDS, nodata=0)
    with open_scene([plain], [pair[1]], spec) as scene:
        expected = tensors(scene)
    (safe / "manifest.safe").write_text("<xfdu/>")
    for place in (
        safe,
        safe / "MTD_MSIL2A.xml",
        safe / "manifest.safe",
        Path(archive),
        *safe.glob("GRANULE/*"),
    ):
        with open_scene([RasterSource(str(place))], [pair[1]], spec) as scene:
            described = scene.describe()
            found = tensors(scene)
        assert described["s2"]["offset"] == -1000
        assert described["s2"]["level"] == "L2A"
        assert described["s2"]["dates"] == ["2023-06-13"]
        sizes = {name: b["pixel_size_m"] for name, b in described["s2"]["bands"].items()}
        assert sizes == {name: size for size, names in NATIVE.items() for name in names}
        assert described["mask"]["kind"] == "SCL"
        assert "MTD_MSIL2A.xml" in described["s2"]["evidence"]
        assert [w["code"] for w in described["warnings"]] == []
        same = (found == 0) == (expected == 0)
        assert same.mean() > 0.999
        np.testing.assert_allclose(found[:, :, 30:], expected[:, :, 30:], atol=1e-5)


@pytest.mark.parametrize("kind", ["tar", "tgz", "tar.gz"])
@pytest.mark.parametrize("root", ["", "./"])
def test_the_metadata_of_a_product_in_a_tar(
    kind: str, root: str, make_product: Callable[[str], Path], pair: Pair, spec: ModelSpec,
    tmp_path: Path,
) -> None:  # fmt: skip
    safe = make_product("2A")
    archive = tmp_path / f"p.{kind}"
    with tarfile.open(archive, "w" if kind == "tar" else "w:gz", format=tarfile.GNU_FORMAT) as file:
        file.add(safe, root + safe.name)
    shutil.rmtree(safe)
    with open_scene([RasterSource(str(archive))], [pair[1]], spec) as scene:
        described = scene.describe()["s2"]
    assert (described["offset"], described["level"]) == (-1000, "L2A")
    assert described["dates"] == ["2023-06-13"]


def test_a_zip_in_a_folder_that_is_called_like_one(
    make_product: Callable[[str], Path], pair: Pair, spec: ModelSpec, tmp_path: Path
) -> None:
    safe = make_product("2A")
    (tmp_path / "unpacked.zip").mkdir()
    archive = shutil.make_archive(str(tmp_path / "unpacked.zip" / "a"), "zip", tmp_path, safe.name)
    shutil.rmtree(safe)
    with open_scene([RasterSource(archive)], [pair[1]], spec) as scene:
        assert scene.describe()["s2"]["offset"] == -1000


def test_an_archive_that_changed_is_read_again(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    for text in ("one", "another"):
        (tmp_path / "x.xml").write_text(text)
        with tarfile.open(archive, "w") as file:
            file.add(tmp_path / "x.xml", "x.xml")
        os.utime(archive, ns=(0, len(text)))
        assert read_text(f"/vsitar/{archive}/x.xml", 100) == text.encode()
    with pytest.raises(SourceError, match="no such file"):
        read_text(f"/vsitar/{archive}/y.xml", 100)


def test_a_level_1c_product_is_allowed_after_a_warning(
    make_product: Callable[[str], Path], pair: Pair, spec: ModelSpec
) -> None:
    with open_scene([RasterSource(str(make_product("1C")))], [pair[1]], spec) as scene:
        described = scene.describe()
    assert described["s2"]["offset"] == -1000
    assert described["s2"]["level"] == "L1C"
    assert [w["code"] for w in described["warnings"]] == ["s2_l1c"]


def test_bands_chosen_one_by_one_still_find_their_metadata(
    make_product: Callable[[str], Path], pair: Pair, spec: ModelSpec
) -> None:
    files = sorted(make_product("2A").glob("GRANULE/*/IMG_DATA/*/*_B*.jp2"))
    with open_scene([RasterSource(str(f)) for f in files], [pair[1]], spec) as scene:
        assert scene.describe()["s2"]["offset"] == -1000
        assert scene.s2.bands["B02"].geometry.pixel_size_m == 10


@pytest.mark.parametrize("is_renamed", [False, True])
def test_a_product_without_metadata_does_not_take_those_around_it(
    make_product: Callable[[str], Path], tmp_path: Path, is_renamed: bool
) -> None:
    """Neither where it has its name, nor where it was renamed."""
    safe = make_product("2A")
    place = safe.rename(tmp_path / "Innsbruck") if is_renamed else safe
    (place / "MTD_MSIL2A.xml").rename(tmp_path / "MTD_MSIL2A.xml")
    band = next(place.glob("GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2"))
    for source in (band, place, tmp_path):
        assert product_of(str(band), str(source)) is None


def test_a_loose_band_takes_metadata_beside_it_and_none_from_above(
    make_product: Callable[[str], Path], tmp_path: Path
) -> None:
    safe = make_product("2A")
    loose = tmp_path / "mine" / "deep" / "down"
    loose.mkdir(parents=True)
    band = loose / "T33UUP_20230613T101031_B02_10m.jp2"
    shutil.copy(next(safe.glob("GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2")), band)
    for level in (tmp_path, tmp_path / "mine", loose.parent):
        shutil.copy(safe / "MTD_MSIL2A.xml", level)
        assert product_of(str(band), str(band)) is None
    chosen = product_of(str(band), str(loose.parent))
    assert chosen is not None
    assert chosen.offset == -1000, "it lies in the folder that was chosen"
    shutil.copy(safe / "MTD_MSIL2A.xml", loose)
    beside = product_of(str(band), str(band))
    assert beside is not None
    assert beside.offset == -1000


def test_a_renamed_product_still_finds_its_metadata(
    make_product: Callable[[str], Path], tmp_path: Path
) -> None:
    for level in ("1C", "2A"):
        renamed = make_product(level).rename(tmp_path / f"renamed {level}")
        for band in renamed.glob("GRANULE/*/IMG_DATA/**/*_B02*.jp2"):
            found = product_of(str(band), str(band))
            assert found is not None
            assert (found.level, found.offset) == (f"L{level}", -1000)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Serve the folder from a process of its own: rasterio holds the GIL while it asks."""
    command = [sys.executable, str(Path(__file__).with_name("range_server.py")), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


@pytest.mark.parametrize("form", ["{}/{}", "/vsicurl/{}/{}", "/vsicurl?use_head=no&url={}/{}"])
def test_rasters_over_http(
    form: str, address: str, pair: Pair, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with open_scene([pair[0]], [pair[1]], spec) as scene:
        expected = tensors(scene)
    remote = [RasterSource(form.format(address, Path(p.path).name)) for p in pair]
    with open_scene([remote[0]], [remote[1]], spec) as scene:
        np.testing.assert_array_equal(tensors(scene), expected)
