"""What is in a zip or tar that anybody may have packed, without ever unpacking it whole."""

from __future__ import annotations

import gzip
import os
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from .stopping import go_on

# A product of ESA has some hundred files.
MAX_MEMBERS = 100_000
# The list of so many in a zip; Python would read one of any length into memory.
_MAX_DIRECTORY = 200 * MAX_MEMBERS
# Products are compressed already, so that nothing honest unpacks to so much more.
_MAX_RATIO, _ALWAYS_ALLOWED = 100, 2 * 10**9
# Python reads the long names of a tar in one go.
_MAX_READ = 30_000_000
_GZIP = b"\x1f\x8b"
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")


def zip_names(path: Path) -> tuple[str, ...]:
    """Return the names of the files in a zip; ValueError where it is made to do harm."""
    with _zip(path) as archive:
        return tuple(item.filename for item in archive.infolist() if _is_inside(item.filename))


def tar_names(path: Path) -> tuple[str, ...]:
    """Return the names of the files in a tar, as GDAL knows them: without a "./" before them."""
    with _tar(path) as members:
        names = (item.name.removeprefix("./") for _, item in members if item.isfile())
        return tuple(filter(_is_inside, names))


def zip_text(path: Path, name: str, limit: int) -> bytes:
    """Return the content of a member; ValueError where it has, or says it has, more bytes."""
    with _zip(path) as archive:
        _check_size(archive.getinfo(name).file_size, limit)
        with archive.open(name) as file:
            return within(file.read(limit + 1), limit)


def tar_text(path: Path, name: str, limit: int) -> bytes:
    """Return the content of a member; ValueError where there is none, or it has more bytes."""
    with _tar(path) as members:
        for packed, item in members:
            if item.isfile() and item.name.removeprefix("./") == name:
                _check_size(item.size, limit)
                file = packed.extractfile(item)
                return within(file.read(limit + 1), limit) if file else b""
    raise ValueError("there is no such file in it")


def within(data: bytes, limit: int) -> bytes:
    """Return the data; ValueError where they are longer than ``limit``."""
    _check_size(len(data), limit)
    return data


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"it has more than {limit / 1e6:g} MB")


def _is_inside(name: str) -> bool:
    """Leave out names that lead elsewhere, should anything ever unpack them."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not (path.is_absolute() or ".." in path.parts or name.endswith("/"))


@contextmanager
def _zip(path: Path) -> Iterator[zipfile.ZipFile]:
    if _directory_bytes(path) > _MAX_DIRECTORY:
        raise ValueError(f"it says that it holds more than {MAX_MEMBERS} files")
    with zipfile.ZipFile(path) as archive:
        yield archive


def _directory_bytes(path: Path) -> int:
    """Return the length of a zip's list of files, as its end says it, which is what Python reads.

    0 without an end: Python says that it is no zip.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        start = max(0, size - _END.size - _END64.size - 20 - 65_535)
        stream.seek(start)
        tail = stream.read()
    at, at64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    found = 0
    if 0 <= at <= len(tail) - _END.size:
        found = int(_END.unpack_from(tail, at)[5])
    if 0 <= at64 <= len(tail) - _END64.size:
        found = max(found % 0xFFFFFFFF, int(_END64.unpack_from(tail, at64)[8]))
    return found


@contextmanager
def _tar(path: Path) -> Iterator[Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]]:
    with path.open("rb") as raw:
        is_packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream: Any = gzip.GzipFile(fileobj=raw) if is_packed else raw
        limit = max(_ALWAYS_ALLOWED, _MAX_RATIO * path.stat().st_size) if is_packed else 0
        with tarfile.TarFile(fileobj=cast(IO[bytes], _Bounded(stream))) as packed:
            yield _members(packed, limit)


def _members(
    packed: tarfile.TarFile, limit: int
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Yield the members; each says where it ends before anything of it is unpacked."""
    for number, item in enumerate(packed):
        go_on()
        if number == MAX_MEMBERS:
            raise ValueError(f"it holds more than {MAX_MEMBERS} files")
        if limit and item.offset_data + item.size > limit:
            raise ValueError(f"it would unpack to more than {limit / 1e9:g} GB")
        yield packed, item


class _Bounded:
    """A stream of which nothing long is read at once."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise ValueError("a name in it has more than 30 MB")
        return self._stream.read(size)
