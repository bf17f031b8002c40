"""Text that may be shown to strangers: no home folder, no login, no token."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from .source_identity import without_credentials_in_text

_SEPARATOR = r"[\\/]+"  # also as repr and JSON write a backslash
# Of Linux, macOS, Windows, and of these as others see them: WSL, Cygwin, servers.
_HOMES = (
    rf"(?<![\w.])(?:/(?:mnt|cygdrive)/[a-z]|/(?:var|usr|export|srv|nfs))?/(?:home|Users){_SEPARATOR}"
    rf"|\b[A-Za-z]:{_SEPARATOR}Users{_SEPARATOR}"
    rf"|(?<![\w\\])\\{{2,4}}[\w.$-]+\\+(?:home|Users){_SEPARATOR}"
)
_WORD = r"[^\\/\s'\",;:]+"
# A name has spaces only where a path goes on behind it.
_ANY_HOME = re.compile(rf"(?:{_HOMES})(?:{_WORD}(?: {_WORD}){{1,2}}(?=[\\/])|{_WORD})", re.I)
_TOKEN = re.compile(
    r"""((?:(?:token|secret|signature|credential|passw(?:or)?d|passphrase|jsessionid|session_?id
        |(?:api|access|account|subscription|shared|private)[-_]?key)[\w.-]*|\bpwd|\bsig|\bse?sk)
        ["']?\s*[=:]\s*["']?)[^\s&'",;]+""",
    re.I | re.X,
)
_HEADER = re.compile(r"(authorization[\"']?\s*[=:]\s*[\"']?|\bbearer\s+|\bbasic\s+)[^'\"\n]+", re.I)
_COOKIE = re.compile(r"(cookie[\"']?\s*[=:]\s*)(?:'[^'\n]*'|\"[^\"\n]*\"|[^\n]+)", re.I)
# What shows by its form that it is a key: of the hub, AWS, GitHub, GitLab, Google; JSON web tokens.
_KEYS = re.compile(
    r"\b(hf_|AKIA|ASIA|gh[opsur]_|github_pat_|glpat-|AIza)[\w-]{8,}"
    r"|\b(eyJ)[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"
)
# The patterns take the square of a word's length in time; a login stands at its beginning.
_LONG_WORD = re.compile(r"(\S{1000})\S+")
# What without_credentials_in_text looks for: most lines are spared its patterns.
_SUSPECTS = re.compile(r"://|pass|pwd|secret|geor|oci:", re.I)


def redacted(text: str) -> str:
    """Return ``text`` without credentials, and with ``~`` for the home folder."""
    text = _HEADER.sub(r"\1***", _LONG_WORD.sub(r"\1...", text))
    text = _COOKIE.sub(r"\1***", text)
    if _SUSPECTS.search(text):
        text = without_credentials_in_text(text)
    text = _KEYS.sub(r"\1\2***", _TOKEN.sub(r"\1***", text))
    for home in _homes():
        text = home.sub("~", text)
    return _ANY_HOME.sub("~", text)


@lru_cache(maxsize=1)
def _homes() -> tuple[re.Pattern[str], ...]:
    try:
        home = Path.home()
    except RuntimeError:  # a user without one
        return ()
    shapes = {home, home.resolve()}
    return tuple(_pattern(shape) for shape in shapes if len(shape.parts) > 1)


def _pattern(folder: Path) -> re.Pattern[str]:
    parts = [part.strip("\\/") for part in folder.parts]
    name = _SEPARATOR.join(map(re.escape, parts))
    # Not the beginning of another name: /root is no part of /rootfs.
    return re.compile(rf"(?<![\w.]){name}(?![\w.-])", re.I)
