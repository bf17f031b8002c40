"""What a raster source is on disk: by it a run knows whether it may go on with old tiles."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from .sidecar import SUFFIX, deciding_part
from .source_parts import local_part, parts_of

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
# Signatures of a URL change with every login and say nothing about the raster.
_SECRET = re.compile(r"token|sig|secret|pass|key|auth|cred|expires|amz|^(s[a-z]|sk[a-z]+)$", re.I)


def source_identity(path: str) -> dict[str, Any]:
    """Return what tells one source from another: place, size, time, and that of its parts.

    Args:
        path: a file, a folder, or any name that GDAL opens. Credentials are left out.
    """
    local = local_part(path)
    if local is None:
        return {"path": without_credentials(path), "name": _digest([_without_secrets(path)])}
    shown = path if local != Path(path) else str(local.resolve())
    identity: dict[str, Any] = {"path": without_credentials(shown)}
    if os.path.isfile(local):
        stat = local.stat()
        identity.update(size=stat.st_size, modified=stat.st_mtime_ns)
    parts = sorted(filter(None, (_state(part) for part in parts_of(local))))
    if parts:
        identity["parts"] = _digest(parts)
    return identity


def local_files(name: str) -> tuple[Path, ...]:
    """Return the files on disk that decide the pixels of a GDAL name; none of what is remote.

    A virtual raster is itself and all that it is made of; a raster also has masks, world files
    and metadata beside it. What GDAL and QGIS note beside a raster
    (statistics in ``.aux.xml``) does not count: they write it whenever a layer is looked at.
    """
    local = local_part(name)
    if local is None:
        return ()
    files = (local, *parts_of(local)) if os.path.isfile(local) else tuple(parts_of(local))
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


def _state(path: Path) -> str:
    """Return what tells a file from what it was before; nothing where it decides nothing."""
    name = os.path.realpath(path)  # one for all ways that lead to the source
    try:
        if path.name.endswith(SUFFIX):
            said = deciding_part(path)
            return f"{name} {_digest([said])}" if said else ""
        stat = path.stat()
    except OSError:
        return f"{name} cannot be read"
    return f"{name} {stat.st_size} {stat.st_mtime_ns}"


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _without_secrets(name: str) -> str:
    head, mark, query = _without_login(name).partition("?")
    kept = [(key, value) for key, value in parse_qsl(query, True) if not _SECRET.search(key)]
    return head + mark + urlencode(kept)
