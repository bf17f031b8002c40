"""Which raster files a source path stands for: a file, a folder or an archive."""

from __future__ import annotations

import os
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..contract.errors import SourceError
from ..contract.source_identity import SCENE_METADATA, without_credentials
from .archives import tar_names, tar_text, within, zip_names, zip_text
from .special import is_special
from .stopping import go_on
from .xml_text import Element, root_of

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".nc")
MAX_FILES = 2000
_ARCHIVES = {".zip": "/vsizip/", ".tar": "/vsitar/", ".tgz": "/vsitar/", ".tar.gz": "/vsitar/"}
# A drive letter is one letter, a GDAL driver or a URL scheme has more.
_GDAL_NAME = re.compile(r"/vsi|[A-Za-z][\w+.-]+:")
# RuntimeError: encrypted, compressed in a way that Python does not know, or links in a circle.
_UNREADABLE = (
    OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, ValueError, RuntimeError,
    KeyError, struct.error, MemoryError,
)  # fmt: skip


def raster_files(path: str) -> tuple[str, ...]:
    """Return the GDAL names of the rasters behind ``path``, sorted.

    A folder is searched recursively, so is an archive; the xml and the manifest of a SAFE
    product stand for its folder. Raises SourceError where there is nothing.
    """
    path = _plain(path)
    if is_gdal_name(path):
        return (path,)
    local = Path(path)
    if not os.path.exists(path):  # unlike Path.exists no error for a name that cannot be
        raise SourceError(
            f"'{without_credentials(path)}' does not exist. Check the path; a file on a network "
            "drive or a removed disk must be connected first.",
            path=without_credentials(path),
        )
    if is_special(path):
        raise SourceError(
            f"'{path}' is a pipe or a device, and no file. Choose a raster, or the folder or "
            "archive of a scene.",
            path=path,
        )
    if SCENE_METADATA.fullmatch(local.name):
        local = local.parent
    if local.is_dir():
        return _checked(_in_folder(local), path)
    prefix = archive_prefix(local.name)
    if prefix:
        return _checked(
            (f"{prefix}{local.resolve()}/{name}" for name in archive_names(local)), path
        )
    return (path,)


def _plain(path: str) -> str:
    """Return the path on disk that a file URL or GDAL's name of a whole archive means."""
    if path.lower().startswith("file:///"):
        return url2pathname(urlsplit(path).path)
    prefix = next((fs for fs in set(_ARCHIVES.values()) if path.startswith(fs)), "")
    inner = path.removeprefix(prefix).rstrip("/")
    return inner if prefix and archive_prefix(inner) and os.path.isfile(inner) else path


def is_gdal_name(path: str) -> bool:
    """Return whether only GDAL can tell what the path is: ``/vsi...``, a URL, ``NETCDF:...``."""
    return _GDAL_NAME.match(path) is not None


def archive_prefix(name: str) -> str | None:
    """Return the GDAL file system that reads the archive, or None where it is none."""
    lowered = name.lower()
    return next((fs for suffix, fs in _ARCHIVES.items() if lowered.endswith(suffix)), None)


def archive_names(path: Path) -> list[str]:
    """Return the names of the files in a zip or tar archive; SourceError where it is damaged."""
    try:
        return list(_names_in(path, *_state(path)))
    except _UNREADABLE as problem:
        raise SourceError(
            f"The archive '{path}' cannot be read ({problem}): it is damaged or incomplete. "
            "Download it again, or unpack it and choose the folder.",
            path=str(path),
        ) from problem


@lru_cache(maxsize=4)
def _names_in(path: Path, _size: int, _modified: int) -> tuple[str, ...]:
    """Asked for every band, and a compressed tar must be unpacked for it."""
    return zip_names(path) if _is_zip(path) else tar_names(path)


def archive_member(path: str) -> tuple[Path, str] | None:
    """Return (archive, name in it) of a zip or tar name of GDAL whose archive is on this disk."""
    prefix = next((fs for fs in set(_ARCHIVES.values()) if path.startswith(fs)), None)
    if prefix is None:
        return None
    inner = path.removeprefix(prefix)
    if inner.startswith("{"):
        archive, _, member = inner[1:].partition("}/")
        return (Path(archive), member) if os.path.isfile(archive) else None
    # A folder may be called like an archive.
    ends = [match.end() - 1 for match in re.finditer(r"\.(?:zip|tar|tgz|gz)/", inner, re.I)]
    at = next((end for end in ends if os.path.isfile(inner[:end])), None)
    return None if at is None else (Path(inner[:at]), inner[at + 1 :])


def in_same_archive(path: str, member: str) -> str:
    """Return the GDAL name of another member of the archive that ``path`` lies in."""
    inside = archive_member(path)
    assert inside is not None
    return path.removesuffix(inside[1]) + member


def read_text(path: str, limit: int) -> bytes:
    """Return a small file on disk or in an archive.

    Raises SourceError where it cannot be read, is no file, or has more than ``limit`` bytes.
    """
    try:
        inside = archive_member(path)
        if inside is None:
            if is_special(path):
                raise ValueError("it is a pipe or a device")
            with open(path, "rb") as file:
                return within(file.read(limit + 1), limit)
        return _member_text(*inside, limit, *_state(inside[0]))
    except _UNREADABLE as problem:
        raise SourceError(
            f"'{without_credentials(path)}' cannot be read ({problem}). Download it again.",
            path=without_credentials(path),
        ) from problem


@lru_cache(maxsize=4)
def _member_text(archive: Path, member: str, limit: int, _size: int, _modified: int) -> bytes:
    return (zip_text if _is_zip(archive) else tar_text)(archive, member, limit)


def _is_zip(path: Path) -> bool:
    prefix = archive_prefix(path.name)
    return prefix == "/vsizip/" or (prefix is None and zipfile.is_zipfile(path))


def _state(path: Path) -> tuple[int, int]:
    """Return what changes when a file does, for what is remembered of it."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def content_state(path: str) -> tuple[int, int]:
    """Return what changes when a file, or the archive it lies in, is written again."""
    inside = archive_member(path)
    try:
        return _state(inside[0] if inside else Path(path))
    except OSError:
        return 0, 0  # gone: who reads it says so


def parse_xml(path: str, limit: int) -> Element:
    """Return the root of a small xml file; SourceError where it is damaged or unsafe."""
    text = read_text(path, limit)
    try:
        return root_of(text)
    except ValueError as problem:
        raise SourceError(
            f"The product metadata '{without_credentials(path)}' cannot be read ({problem}). "
            "Download the product again.",
            path=without_credentials(path),
        ) from problem


def stem(path: str) -> str:
    """Return the file name without folders, query string and suffix."""
    return PurePosixPath(without_credentials(path).replace("\\", "/")).stem


def _in_folder(folder: Path) -> Iterable[str]:
    for item in folder.rglob("*"):
        go_on()
        if item.is_file():
            yield str(item)


def _checked(names: Iterable[str], path: str) -> tuple[str, ...]:
    found = list(islice(filter(_is_image, names), MAX_FILES + 1))
    # A virtual raster beside its own files would give each band twice.
    own = [name for name in found if not name.lower().endswith(".vrt")]
    found = own or found
    if not found:
        raise SourceError(
            f"'{path}' holds no raster ({', '.join(RASTER_SUFFIXES)}). "
            "Choose the folder or archive of one Sentinel scene.",
            path=path,
        )
    if len(found) > MAX_FILES:
        raise SourceError(
            f"'{path}' holds more than {MAX_FILES} rasters. Choose the folder of one scene.",
            path=path,
        )
    return tuple(sorted(found))


def _is_image(name: str) -> bool:
    """Leave out the quality masks of a SAFE product: their names carry band names too."""
    path = PurePosixPath(name.replace("\\", "/"))
    return (
        path.suffix.lower() in RASTER_SUFFIXES
        and not path.name.startswith((".", "MSK_"))
        and "QI_DATA" not in path.parts
    )
