"""Scenes made to do harm: each is refused with a code, soon, and nothing in it is run."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.source_identity import source_identity
from multimodal.contract.spec import ModelSpec
from multimodal.scene import archives, open_scene
from multimodal.scene.calibration import read_calibration
from multimodal.scene.files import archive_names, parse_xml, raster_files, read_text
from multimodal.scene.pixels import GDAL_OPTIONS, open_raster
from multimodal.scene.product import product_of
from multimodal.scene.special import check_openable
from multimodal.scene.stac import stac_asset
from multimodal.scene.xml_text import root_of

Write = Callable[..., RasterSource]
Pair = tuple[RasterSource, RasterSource]
SECONDS = 20.0  # a refusal takes none of it; what waits for a pipe takes all of it
needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are POSIX's")

LAUGHS = "".join(f'<!ENTITY {n} "{f"&{m};" * 10}">' for m, n in zip("abcdefgh", "bcdefghi"))
BOMBS = {
    "billion laughs": f'<!DOCTYPE l [<!ENTITY a "ha">{LAUGHS}]><r>&i;</r>',
    "quadratic": f'<!DOCTYPE l [<!ENTITY a "{"x" * 50_000}">]><r>{"&a;" * 20_000}</r>',
    "file": '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><r>&a;</r>',
    "address": '<!DOCTYPE l [<!ENTITY a SYSTEM "http://127.0.0.1:9/">]><r>&a;</r>',
    "external dtd": '<!DOCTYPE l SYSTEM "http://127.0.0.1:9/x.dtd"><r/>',
    "parameter": '<!DOCTYPE l [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]><r/>',
}
VRT = """<VRTDataset rasterXSize="20" rasterYSize="20"><SRS>EPSG:32633</SRS>
<GeoTransform>500000,10,0,5300000,0,-10</GeoTransform>
<VRTRasterBand dataType="{kind}" band="1"{sub}><Description>B04</Description>{body}</VRTRasterBand>
</VRTDataset>"""
SIMPLE = (
    '<SimpleSource><SourceFilename relativeToVRT="{rel}">{name}</SourceFilename>'
    "<SourceBand>1</SourceBand></SimpleSource>"
)


def vrt(path: Path, body: str, sub: str = "", kind: str = "Byte") -> Path:
    path.write_text(VRT.format(kind=kind, sub=sub, body=body))
    return path


def refused(call: Callable[[], object], words: str = "") -> SourceError:
    start = time.perf_counter()
    with pytest.raises(SourceError, match=words or None) as caught:
        call()
    assert time.perf_counter() - start < SECONDS
    return caught.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("kind", BOMBS)
def test_entities_in_metadata_are_refused_in_any_encoding(
    tmp_path: Path, kind: str, encoding: str
) -> None:
    path = tmp_path / "MTD_MSIL2A.xml"
    path.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{BOMBS[kind]}'.encode(encoding))
    refused(lambda: parse_xml(str(path), 10**7), "DOCTYPE|encoding")
    refused(lambda: read_calibration(str(path)), "DOCTYPE|encoding")
    refused(lambda: product_of(str(tmp_path / "B04.jp2"), str(tmp_path)), "DOCTYPE|encoding")


def test_an_entity_that_nobody_declared_is_no_xml() -> None:
    for text in ("<r>&a;</r>", "", "<r>", b"\xff\xfe", "<r/><r/>"):
        with pytest.raises(ValueError):  # noqa: PT011  # expat's words differ by version
            root_of(text)
    assert root_of("<a>&lt;&#65;<b/></a>").text == "<A"


def test_xml_of_any_depth_ends(tmp_path: Path) -> None:
    path = tmp_path / "MTD_MSIL2A.xml"
    path.write_text("<a>" * 200_000 + "</a>" * 200_000)
    parse_xml(str(path), 10**7)
    product_of(str(tmp_path / "B04.jp2"), str(tmp_path))


def test_metadata_of_any_length_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("p.SAFE/MTD_MSIL2A.xml", "<a>" + " " * 30_000_000 + "</a>")
    name = f"/vsizip/{tmp_path}/p.zip/p.SAFE/MTD_MSIL2A.xml"
    refused(lambda: parse_xml(name, 10_000_000), "more than 10 MB")
    (tmp_path / "long.xml").write_text("x" * 101)
    refused(lambda: read_text(str(tmp_path / "long.xml"), 100), "more than")


def lying(path: Path, size: int) -> None:
    """Let a zip say of its member that it has ``size`` bytes."""
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = struct.pack("<L", size)
    path.write_bytes(data)


def test_a_member_that_lies_about_its_size_is_bounded_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("MTD_MSIL2A.xml", " " * 5_000_000)
    lying(path, 10)
    name = f"/vsizip/{path}/MTD_MSIL2A.xml"
    assert len(refused(lambda: read_text(name, 1000)).message) < 1000


def test_a_zip_of_countless_files_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MAX_DIRECTORY", 2000)
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for number in range(40):
            packed.writestr(f"{number}.tif", b"")
    refused(lambda: archive_names(path), "more than 100000 files")
    # Its comment, and an end of the 64-bit form, change nothing.
    data = path.read_bytes()
    path.write_bytes(data[:-2] + struct.pack("<H", 30_000) + b"x" * 30_000)
    refused(lambda: archive_names(path), "more than 100000 files")
    with zipfile.ZipFile(tmp_path / "few.zip", "w") as packed:
        packed.writestr("a.tif", b"")
    assert archive_names(tmp_path / "few.zip") == ["a.tif"]


def packed_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as packed:
        for info, data in members:
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


def test_a_tar_of_countless_files_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    path = packed_tar(tmp_path / "p.tar", [(tarfile.TarInfo(f"{n}.tif"), b"") for n in range(11)])
    refused(lambda: archive_names(path), "more than 10 files")


def test_a_packed_tar_is_not_unpacked_beyond_all_measure(tmp_path: Path) -> None:
    info = tarfile.TarInfo("B04.tif")
    info.size = 10**13
    (tmp_path / "p.tgz").write_bytes(gzip.compress(info.tobuf() + bytes(10_000_000)))
    refused(lambda: archive_names(tmp_path / "p.tgz"), "unpack to more than 2 GB")


def test_a_name_in_a_tar_is_not_read_at_any_length(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 10**10
    (tmp_path / "p.tgz").write_bytes(gzip.compress(header.tobuf(tarfile.PAX_FORMAT)))
    refused(lambda: archive_names(tmp_path / "p.tgz"))


def test_links_and_names_that_lead_out_of_an_archive_are_no_files(tmp_path: Path) -> None:
    link = tarfile.TarInfo("MTD_MSIL2A.xml")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    circle = tarfile.TarInfo("circle.tif")
    circle.type, circle.linkname = tarfile.LNKTYPE, "circle.tif"
    pipe = tarfile.TarInfo("pipe.tif")
    pipe.type = tarfile.FIFOTYPE
    odd = ["../B04.tif", "/etc/B04.tif", "a/../../B04.tif", "..\\B04.tif", "./good.tif"]
    members = [(info, b"") for info in (link, circle, pipe, *map(tarfile.TarInfo, odd))]
    path = packed_tar(tmp_path / "p.tar", members)
    assert archive_names(path) == ["good.tif"]
    refused(lambda: read_text(f"/vsitar/{path}/MTD_MSIL2A.xml", 100), "no such file")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as packed:
        for name in odd:
            packed.writestr(name, b"")
    assert archive_names(tmp_path / "p.zip") == ["./good.tif"]


def test_an_encrypted_or_broken_member_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("MTD_MSIL2A.xml", "<a/>")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused(lambda: read_text(f"/vsizip/{path}/MTD_MSIL2A.xml", 100), "encrypted")
    refused(lambda: read_text(f"/vsizip/{path}/other.xml", 100))


@needs_fifo
def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    for name in ("a.tif", "a.zip", "a.tar", "MTD_MSIL2A.xml", "item.json", "a.vrt"):
        os.mkfifo(tmp_path / name)
        refused(lambda: raster_files(str(tmp_path / name)))  # noqa: B023
        refused(lambda: open_raster(str(tmp_path / name)))  # noqa: B023
    refused(lambda: read_text(str(tmp_path / "MTD_MSIL2A.xml"), 100), "pipe")
    refused(lambda: product_of(str(tmp_path / "B04.jp2"), str(tmp_path)), "pipe")
    assert stac_asset(str(tmp_path / "a.tif")) is None
    for text in (SIMPLE.format(rel=1, name="a.tif"), SIMPLE.format(rel=0, name=tmp_path / "a.tif")):
        outer = vrt(tmp_path / "outer.vrt", text)
        refused(lambda: open_raster(str(outer)), "which .* is made of, is no file")  # noqa: B023
        deeper = vrt(tmp_path / "deeper.vrt", SIMPLE.format(rel=1, name="outer.vrt"))
        refused(lambda: open_raster(str(deeper)), "is no file")  # noqa: B023


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices are files on POSIX")
def test_a_device_is_no_raster() -> None:
    refused(lambda: raster_files("/dev/zero"), "pipe or a device")
    refused(lambda: open_raster("/dev/zero"), "never end")


@pytest.mark.parametrize("name", ["/vsistdin/", "/vsistdin?buffer_limit=-1", "/vsigzip//vsistdin/"])
def test_standard_input_belongs_to_the_worker(tmp_path: Path, name: str) -> None:
    refused(lambda: open_raster(name), "never end")
    refused(lambda: open_raster(str(vrt(tmp_path / "a.vrt", SIMPLE.format(rel=0, name=name)))))


def test_a_virtual_raster_that_holds_itself_ends(tmp_path: Path) -> None:
    path = vrt(tmp_path / "self.vrt", SIMPLE.format(rel=1, name="self.vrt"))
    with open_raster(str(path)) as dataset, pytest.raises(Exception, match="Read failed"):
        dataset.read(1)


def test_a_virtual_raster_that_names_itself_countless_times_ends(tmp_path: Path) -> None:
    path = tmp_path / "self.vrt"
    named = '<SourceFilename relativeToVRT="1">self.vrt</SourceFilename>' * 2000
    path.write_text(f"<VRTDataset><VRTRasterBand>{named}</VRTRasterBand></VRTDataset>")
    start = time.monotonic()
    check_openable(str(path))
    assert time.monotonic() - start < 10


def test_a_virtual_raster_met_too_deep_is_looked_into_where_it_is_met_again(
    tmp_path: Path,
) -> None:
    inner = "/vsistdin/"
    for name in ("evil", "middle", "first"):
        inner = str(vrt(tmp_path / f"{name}.vrt", SIMPLE.format(rel=0, name=inner)))
    both = "".join(
        f"<SourceFilename>{tmp_path / n}.vrt</SourceFilename>" for n in ("first", "evil")
    )
    outer = tmp_path / "outer.vrt"
    outer.write_text(f"<VRTDataset><VRTRasterBand>{both}</VRTRasterBand></VRTDataset>")
    refused(lambda: check_openable(str(outer)), "never end")


def test_a_virtual_raster_that_cannot_be_looked_into_is_refused(tmp_path: Path) -> None:
    inner = vrt(tmp_path / "in.vrt", SIMPLE.format(rel=0, name="/vsistdin/"))
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(inner, "in.vrt")
    for name in (f"/vsizip/{archive}/in.vrt", inner.read_text()):
        refused(lambda: open_raster(name), "cannot be looked into")  # noqa: B023


def test_raw_bytes_come_from_beside_a_virtual_raster_alone(tmp_path: Path) -> None:
    raw = (
        '<SourceFilename relativetoVRT="{}">{}</SourceFilename><ImageOffset>0</ImageOffset>'
        "<PixelOffset>1</PixelOffset><LineOffset>20</LineOffset>"
    )
    sub = ' subClass="VRTRawRasterBand"'
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(b"s" * 400)
    for where in ((0, tmp_path / "secret"), (1, "../secret"), (0, "/etc/passwd")):
        path = vrt(tmp_path / "in" / "a.vrt", raw.format(*where), sub)
        refused(lambda: open_raster(str(path)), "byte by byte")  # noqa: B023
    (tmp_path / "in" / "own").write_bytes(b"s" * 400)
    path = vrt(tmp_path / "in" / "a.vrt", raw.format(1, "own"), sub)
    with open_raster(str(path)) as dataset:
        assert (dataset.read(1) == ord("s")).all()


@pytest.mark.parametrize(
    "text",
    ['<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${z}/${x}/${y}.png</ServerUrl>'
     "</Service></GDAL_WMS>",
     "<GDAL_WMTS><GetCapabilitiesUrl>http://127.0.0.1:9/</GetCapabilitiesUrl></GDAL_WMTS>",
     "<WCS_GDAL><ServiceURL>http://127.0.0.1:9/?</ServiceURL></WCS_GDAL>"],
)  # fmt: skip
def test_a_file_that_asks_a_server_is_no_raster(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.tif").write_text(text)
    refused(lambda: open_raster(str(tmp_path / "a.tif")), "web server")
    outer = vrt(tmp_path / "a.vrt", SIMPLE.format(rel=1, name="a.tif"))
    refused(lambda: open_raster(str(outer)), "web server")


PYTHON = """<PixelFunctionType>run</PixelFunctionType>
<PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionCode><![CDATA[
def run(in_ar, out_ar, *args, **kwargs):
    open({!r}, 'w')
    out_ar[:] = 1
]]></PixelFunctionCode>"""
RUN = """
import sys
from multimodal.contract.errors import MultimodalError
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import default_spec
from multimodal.scene import open_scene
spec = default_spec()
try:
    with open_scene([RasterSource(sys.argv[1])], [RasterSource(sys.argv[2])], spec) as scene:
        list(scene.batches(scene.select(), 4, 0.0))
except MultimodalError as problem:
    print(problem.code)
"""


def test_code_in_a_virtual_raster_is_not_run_whatever_the_environment_says(
    tmp_path: Path, pair: Pair
) -> None:
    marker = tmp_path / "ran"
    body = PYTHON.format(str(marker))
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{n}" subClass="VRTDerivedRasterBand">'
        f"<Description>{name}</Description>{body}</VRTRasterBand>"
        for n, name in enumerate(S2_BANDS, start=1)
    )
    path = tmp_path / "code.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="240" rasterYSize="240"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000,10,0,5300000,0,-10</GeoTransform>{bands}</VRTDataset>"
    )
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path), pair[1].path], capture_output=True, text=True,
        timeout=120, check=False,
        env={**os.environ, "GDAL_VRT_ENABLE_PYTHON": "YES", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "source"
    assert not marker.exists()
    assert GDAL_OPTIONS["GDAL_VRT_ENABLE_PYTHON"] == "NO"


ODD = ["with space", "quo'te\"s", "Übergröße", "🛰️ emoji", "new\nline", "perc%20ent & <b>",
       "x" * 200, "semi;colon,comma", "tab\there", "$(touch x) `x`"]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_a_file_of_any_name_is_read(pair: Pair, tmp_path: Path, spec: ModelSpec, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    s2, s1 = (
        RasterSource(str(Path(item.path).rename(folder / f"{name[:100]}{Path(item.path).name}")))
        for item in pair
    )
    assert source_identity(s2.path)["size"]
    with open_scene([s2], [s1], spec) as scene:
        batch = next(iter(scene.batches(scene.select(), 4, 0.5)))
    assert np.isfinite(batch.s2).all()
    with zipfile.ZipFile(folder / "p.zip", "w") as packed:
        packed.write(s2.path, "s2.tif")
    with open_scene([RasterSource(str(folder / "p.zip"))], [s1], spec) as scene:
        assert len(scene.select()) == 4


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "\ud800", "", ".", "~nobody/x", "con:x"])
def test_a_name_that_no_file_can_have_is_told(pair: Pair, spec: ModelSpec, path: str) -> None:
    from multimodal.contract.errors import MultimodalError

    with pytest.raises(MultimodalError):
        open_scene([RasterSource(path)], [pair[1]], spec)
