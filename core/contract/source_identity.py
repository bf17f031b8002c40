"""What a raster source is on disk: by it a run knows whether it may go on with old tiles."""

from __future__ import annotations

import hashlib
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from .sidecar import SUFFIX, deciding_part

# After a colon a password may hold anything, so it ends at the last @: better a place that is cut
# short (of a name with a port and an @) than half a password.
_USER = re.compile(r"((?<!\w)\w+://)(?:[^/?:\s]*:.*@|[^/?@\s]*@)", re.S)
_USER_IN_TEXT = re.compile(r"((?<!\w)\w+://)(?:[^/?:\s]*:\S*@|[^/?@\s]*@)")
_QUERY_IN_TEXT = re.compile(r"((?<!\w)\w+://[^\s?'\"]*)\?[^\s'\"]*")
# Of databases: PG:dbname=x password='it''s', and Oracle's georaster:user/password@place.
_PASSWORD = re.compile(
    r"""((?<!\w)\w*(?:passw(?:or)?d|passphrase|pwd|secret)\w*\s*=\s*)
        (?:'(?:[^'\\]|\\.|'')*'?|"[^"]*"?|(?:\\.|[^\s'"\\])+)""",
    re.I | re.S | re.X,
)
_LOGIN = re.compile(r"(?<!\w)((?:georaster|geor|oci):)[^@\s]*@", re.I)
_FILE_SYSTEM = re.compile(r"/vsi\w+/")
_DRIVER = re.compile(r"[A-Za-z]\w+:")
SCENE_METADATA = re.compile(r"MTD_\w+\.xml|manifest\.safe", re.I)
"""The files of a SAFE product that stand for its folder."""
# A mosaic has names of files, a warped raster that of its dataset.
_VRT_SOURCE = re.compile(r"<(?:SourceFilename|SourceDataset)\b([^<>]*)>([^<]+)<", re.I)
_RELATIVE = re.compile(r"relativetovrt\s*=\s*[\"']1", re.I)
_MAX_VRT = 20_000_000
# Signatures of a URL change with every login and say nothing about the raster.
_SECRET = re.compile(r"token|sig|secret|pass|key|auth|cred|expires|amz|^(s[a-z]|sk[a-z]+)$", re.I)


def source_identity(path: str) -> dict[str, Any]:
    """Return what tells one source from another: place, size, time, and that of its parts.

    Args:
        path: a file, a folder, or any name that GDAL opens. Credentials are left out.
    """
    local = _local_part(path)
    if local is None:
        return {"path": without_credentials(path), "name": _digest([_without_secrets(path)])}
    shown = path if local != Path(path) else str(local.resolve())
    identity: dict[str, Any] = {"path": without_credentials(shown)}
    if os.path.isfile(local):
        stat = local.stat()
        identity.update(size=stat.st_size, modified=stat.st_mtime_ns)
    parts = sorted(filter(None, (_state(part) for part in _parts(local))))
    if parts:
        identity["parts"] = _digest(parts)
    return identity


def local_files(name: str) -> tuple[Path, ...]:
    """Return the files on disk that hold the pixels of a GDAL name; none of what is remote.

    A virtual raster is itself and all that it is made of. What GDAL and QGIS note beside a raster
    (statistics in ``.aux.xml``) does not count: they write it whenever a layer is looked at.
    """
    local = _local_part(name)
    if local is None:
        return ()
    files = (local, *_parts(local)) if os.path.isfile(local) else tuple(_parts(local))
    return tuple(file for file in files if not file.name.endswith(SUFFIX))


def without_credentials(path: str) -> str:
    """Return a GDAL name without user names, passwords, tokens and query strings."""
    hidden = _without_login(path)
    return hidden.split("?", 1)[0] if "://" in hidden or "/vsi" in hidden else hidden


def without_credentials_in_text(text: str) -> str:
    """Return a sentence without user names, passwords and query strings of addresses in it."""
    hidden = _QUERY_IN_TEXT.sub(r"\1", _USER_IN_TEXT.sub(r"\1", text))
    return _without_password(hidden)


def _without_login(name: str) -> str:
    return _without_password(_USER.sub(r"\1", name))


def _without_password(text: str) -> str:
    return _PASSWORD.sub(r"\1***", _LOGIN.sub(r"\1", text))


def _local_part(name: str) -> Path | None:
    """Return the file or folder on disk that a GDAL name speaks of, None for what is remote."""
    if os.path.exists(name):
        return Path(name)
    rest = name
    while found := _FILE_SYSTEM.match(rest):
        rest = rest[found.end() :]
    rest = _DRIVER.sub("", rest, count=1) if _DRIVER.match(rest) else rest
    rest = rest.strip('"')
    while rest and not os.path.exists(rest):
        rest = rest[: max(rest.rfind(mark) for mark in '/:"')] if re.search('[/:"]', rest) else ""
    return Path(rest) if os.path.isfile(rest) else None


def _parts(local: Path) -> Iterator[Path]:
    """Yield the files beside or behind a source that change what is read from it."""
    if SCENE_METADATA.fullmatch(local.name):
        local = local.parent
    if os.path.isdir(local):
        yield from (path for path in local.rglob("*") if os.path.isfile(path))
        return
    sidecar = local.with_name(f"{local.name}{SUFFIX}")
    if os.path.isfile(sidecar):  # unlike Path.is_file no error for a name that is too long
        yield sidecar
    if local.suffix.lower() == ".vrt":
        yield from _vrt_sources(local)


def _vrt_sources(vrt: Path) -> Iterator[Path]:
    """Yield the files of a virtual raster, and of those within it, each once."""
    seen, waiting = {vrt}, [vrt]
    while waiting:
        outer = waiting.pop()
        for path in _named_in(outer):
            if path not in seen and os.path.isfile(path):
                seen.add(path)
                yield path
                if path.suffix.lower() == ".vrt":
                    waiting.append(path)


def _named_in(vrt: Path) -> Iterator[Path]:
    try:
        with vrt.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_MAX_VRT)
    except OSError:
        return  # who opens it says so
    for attributes, name in _VRT_SOURCE.findall(text):
        inner = html.unescape(name)
        yield vrt.parent / inner if _RELATIVE.search(attributes) else Path(inner)


def _state(path: Path) -> str:
    """Return what tells a file from what it was before; nothing where it decides nothing."""
    try:
        if path.name.endswith(SUFFIX):
            said = deciding_part(path)
            return f"{path} {_digest([said])}" if said else ""
        stat = path.stat()
    except OSError:
        return f"{path} cannot be read"
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _without_secrets(name: str) -> str:
    head, mark, query = _without_login(name).partition("?")
    kept = [(key, value) for key, value in parse_qsl(query, True) if not _SECRET.search(key)]
    return head + mark + urlencode(kept)
