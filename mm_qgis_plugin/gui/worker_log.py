"""The worker's log, brought before the user who wants to report something."""

from __future__ import annotations

from qgis.PyQt.QtCore import QUrl
from qgis.PyQt.QtGui import QDesktopServices

from ..about import tr
from ..core.contract.errors import (
    DeviceError,
    InternalError,
    MultimodalError,
    ProtocolError,
    WorkerCrashedError,
    WorkerSilentError,
)
from ..worker import session_worker

# What is no matter of the user's data.
_REPORTED = (DeviceError, InternalError, ProtocolError, WorkerCrashedError, WorkerSilentError)


def log_helps(problem: MultimodalError) -> bool:
    """Whether the log may say more about an error, and there is one."""
    return isinstance(problem, _REPORTED) and session_worker().log_path() is not None


def show_log() -> str:
    """Open the log, or its folder where no program opens logs; returns what to tell the user."""
    path = session_worker().log_path()
    if path is None:
        return tr("There is no log yet: no worker was started.")
    opened = any(
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(place))) for place in (path, path.parent)
    )
    text = tr("The worker's log, to be attached to a report: '{}'.").format(path)
    return text if opened else tr("{} No program opens it here.").format(text)
