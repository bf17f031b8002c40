"""Processes that live and die together, apart from QGIS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

_IS_WINDOWS = sys.platform == "win32"


def own_group() -> dict[str, Any]:
    """Return the arguments of Popen for a process group of its own: Ctrl-C must not reach it."""
    if _IS_WINDOWS:
        group = subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined]
        return {"creationflags": group | subprocess.CREATE_NO_WINDOW}  # type: ignore[attr-defined]
    return {"start_new_session": True}


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process of :func:`own_group`, and its children where the system can."""
    if _IS_WINDOWS:
        process.kill()
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS: not permitted, where it is dead
        process.poll()
