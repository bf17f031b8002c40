"""Where this user keeps what can be made again: one folder, for both processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_FOLDER = "multimodal-sentinel"


def cache_folder() -> Path:
    """Return the folder, which may not be there yet."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / _FOLDER
