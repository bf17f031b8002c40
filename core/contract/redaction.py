"""Text that may be shown to strangers: no home folder, no login, no token."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from .source_identity import without_credentials_in_text

_SEPARATOR = r"[\\/]+"  # also as repr and JSON write a backslash
_ANY_HOME = re.compile(rf"(?:(?<![\w.])/(?:home|Users)|\b[A-Za-z]:{_SEPARATOR}Users){_SEPARATOR}"
                       r"[^\\/\s'\",;:]+", re.I)  # fmt: skip
_TOKEN = re.compile(
    r"""((?:(?:token|secret|signature|credential|api_?key|access_?key)[\w.-]*|\bsig|\bse?sk)
        ["']?\s*[=:]\s*["']?)[^\s&'",;]+""",
    re.I | re.X,
)
_HEADER = re.compile(r"(authorization[\"']?\s*[=:]\s*[\"']?|\bbearer\s+|\bbasic\s+)[^'\"\n]+", re.I)
# The patterns take the square of a word's length in time; a login stands at its beginning.
_LONG_WORD = re.compile(r"(\S{1000})\S+")
# What without_credentials_in_text looks for: most lines are spared its patterns.
_SUSPECTS = re.compile(r"://|pass|pwd|secret|geor|oci:", re.I)
_HUGGING_FACE = re.compile(r"\bhf_[A-Za-z0-9]{8,}")


def redacted(text: str) -> str:
    """Return ``text`` without credentials, and with ``~`` for the home folder."""
    text = _HEADER.sub(r"\1***", _LONG_WORD.sub(r"\1...", text))
    if _SUSPECTS.search(text):
        text = without_credentials_in_text(text)
    text = _HUGGING_FACE.sub("hf_***", _TOKEN.sub(r"\1***", text))
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
