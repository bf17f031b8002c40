"""What must not be opened as a raster: it would never end, or read what it has no business with."""

from __future__ import annotations

import os
import re

from ..contract.errors import SourceError
from ..contract.source_identity import without_credentials
from .xml_text import Element, root_of

_STANDARD_STREAM = re.compile(r"/vsistd(in|out)", re.I)
# The text of a virtual raster as a name, and one in an archive.
_HIDDEN = re.compile(r"\s*<|/vsi(?:zip|tar|gzip|7z|rar)/.*\.vrt$", re.I | re.S)
_SHOWN = 200
_HEAD = 1024  # bytes by which GDAL tells what a file is
_MAX_BYTES = 20_000_000
# Virtual rasters of virtual rasters; GDAL itself stops at the ones that contain themselves.
_DEPTH = 3
# By what a file begins that makes GDAL ask a web server for pictures.
_SERVICE = re.compile(
    rb"<(GDAL_WMS|WMS_GDAL|WCS_GDAL|GDAL_WMTS|WMTS_GDAL|TileService|WMT_MS_Capabilities)\b"
)


def check_openable(path: str) -> None:
    """Refuse what no raster is: pipes, devices, standard input, also behind a virtual raster.

    Raises SourceError.
    """
    _check(path, path, _DEPTH, {})


def is_special(path: str) -> bool:
    """Tell whether a name on disk is neither a file nor a folder."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))


def _check(path: str, asked: str, depth: int, seen: dict[str, int]) -> None:
    # What was met at the last level was not looked into: met again further up, it is.
    if seen.get(path, -1) >= depth:
        return
    seen[path] = depth
    if _HIDDEN.match(path):
        raise _refused(asked, path[:_SHOWN], "is a virtual raster that cannot be looked into first")
    if _STANDARD_STREAM.search(path) or is_special(path):
        raise _refused(asked, path, "is no file: it may never end")
    if not depth or not os.path.isfile(path):
        return
    try:
        with open(path, "rb") as stream:
            head = stream.read(_HEAD)
            text = head + stream.read(_MAX_BYTES) if b"<VRTDataset" in head else b""
    except OSError:
        return  # who opens it says so
    if _SERVICE.search(head):
        raise _refused(asked, path, "only describes pictures of a web server")
    for name, is_raw in _sources(text, path):
        if is_raw and not _is_beside(name, path):
            raise _refused(asked, name, "is read byte by byte, and lies elsewhere")
        _check(name, asked, depth - 1, seen)


def _sources(text: bytes, vrt: str) -> list[tuple[str, bool]]:
    """Return the files that a virtual raster names, and whether they are read as raw bytes."""
    if not text:
        return []
    try:
        root = root_of(text)
    except ValueError:
        return []  # GDAL reads it more leniently, or not at all
    raw = {
        id(node)
        for band in root.iter("VRTRasterBand")
        if band.get("subClass") == "VRTRawRasterBand"
        for node in band
    }
    nodes = [*root.iter("SourceFilename"), *root.iter("SourceDataset")]
    return [(source_name(node, vrt), id(node) in raw) for node in nodes]


def source_name(node: Element, vrt: str) -> str:
    """Return the file that an element of a virtual raster names."""
    name = node.text or ""
    # GDAL writes relativeToVRT, and reads relativetoVRT as well.
    lowered = {key.lower(): value for key, value in node.attrib.items()}
    if lowered.get("relativetovrt") == "1":
        return os.path.join(os.path.dirname(vrt), name)
    return name


def _is_beside(name: str, vrt: str) -> bool:
    folder = os.path.realpath(os.path.dirname(vrt) or ".")
    return os.path.realpath(name).startswith(os.path.join(folder, ""))


def _refused(asked: str, found: str, why: str) -> SourceError:
    shown, what = without_credentials(asked), without_credentials(found)
    behind = "" if found == asked else f", which '{shown}' is made of,"
    return SourceError(
        f"'{what}'{behind} {why}. Choose a GeoTIFF, JPEG 2000 or VRT file, or a folder or zip of a "
        "Sentinel scene.",
        path=shown,
    )
