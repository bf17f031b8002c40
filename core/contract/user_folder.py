"""Where this user keeps what can be made again: one folder, for both processes."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_FOLDER = "multimodal-sentinel"


def cache_folder() -> Path:
    """Return the folder, which may not be there yet."""
    try:
        return _base() / _FOLDER
    except RuntimeError:  # a service's user may have no home
        return Path(tempfile.gettempdir()) / _FOLDER


def _base() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
