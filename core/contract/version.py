"""The version, read from metadata.txt: the only place where it stands."""

from __future__ import annotations

from configparser import ConfigParser
from functools import lru_cache
from pathlib import Path

DISTRIBUTION = "mm-sentinel-fusion"


@lru_cache(maxsize=1)
def version() -> str:
    """Return the version from metadata.txt beside core/, or of the installed distribution."""
    parser = ConfigParser(interpolation=None)
    if parser.read(Path(__file__).parents[2] / "metadata.txt", encoding="utf-8"):
        return parser["general"]["version"]
    from importlib import metadata  # 30 ms, seldom needed

    return metadata.version(DISTRIBUTION)
