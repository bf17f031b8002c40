"""One error root. A code survives the pipe, a message says what happened and what to do."""

from __future__ import annotations

import math
from typing import Any, ClassVar

_DEEPEST = 20


class MultimodalError(Exception):
    """Root of every error that is meant to be read by a user."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def to_dict(self) -> dict[str, Any]:
        """Return the error as it travels: ``{code, message, details}``."""
        return {"code": self.code, "message": self.message, "details": _plain(self.details)}


def _plain(value: Any, depth: int = 0) -> Any:
    """Return what JSON can say of a value: an error must reach the user whatever it carries."""
    if depth > _DEEPEST and isinstance(value, (dict, list, tuple)):
        return "..."
    if isinstance(value, dict):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


class SpecError(MultimodalError):
    """A model's description is incomplete or contradicts itself."""

    code = "spec"


class ConfigError(MultimodalError):
    """A model configuration has an unknown key, a wrong type or an impossible value."""

    code = "config"


class ModelFolderError(MultimodalError):
    """A model folder is missing, damaged or not ours."""

    code = "model_folder"


class WeightsUnavailableError(MultimodalError):
    """Pretrained weights cannot be had: gated, offline or unknown."""

    code = "weights_unavailable"


class JobError(MultimodalError):
    """A job's parameters make no sense."""

    code = "job"


class SourceError(MultimodalError):
    """A raster cannot be opened or is not a raster."""

    code = "source"


class MissingChannelsError(MultimodalError):
    """A channel that the model needs was not found in the scene."""

    code = "missing_channels"


class CrsError(MultimodalError):
    """A raster has no coordinate reference system, or one that cannot hold the tile grid."""

    code = "crs"


class NoOverlapError(MultimodalError):
    """Sentinel-1, Sentinel-2 and the area of interest do not meet."""

    code = "no_overlap"


class RadiometryError(MultimodalError):
    """Pixel values are not in a unit that the model can be fed with."""

    code = "radiometry"


class DecisionError(MultimodalError):
    """The data leave something open that would spoil the result: the user must decide.

    ``details["decision"]`` names the option, ``details["choices"]`` its values.
    """

    code = "decision"


class OutputError(MultimodalError):
    """The result cannot be written where it was asked for."""

    code = "output"


class DeviceError(MultimodalError):
    """The device asked for is not there."""

    code = "device"


class RuntimeMissingError(MultimodalError):
    """No Python with the packages that the worker needs was found."""

    code = "runtime_missing"


class ProtocolError(MultimodalError):
    """A message on the pipe is not what the contract says."""

    code = "protocol"


class WorkerCrashedError(MultimodalError):
    """The worker process ended without a word."""

    code = "worker_crashed"


class WorkerSilentError(MultimodalError):
    """The worker process is alive but does not answer."""

    code = "worker_silent"


class CancelledError(MultimodalError):
    """The user stopped the run; what was finished is kept."""

    code = "cancelled"


class InternalError(MultimodalError):
    """A defect of ours: the traceback is in the details."""

    code = "internal"


def _by_code() -> dict[str, type[MultimodalError]]:
    classes: list[type[MultimodalError]] = [MultimodalError, *MultimodalError.__subclasses__()]
    return {cls.code: cls for cls in classes}


def error_from_dict(payload: dict[str, Any]) -> MultimodalError:
    """Rebuild an error from :meth:`MultimodalError.to_dict`; unknown codes give the root."""
    cls = _by_code().get(str(payload.get("code")), MultimodalError)
    details = payload.get("details")
    return cls(str(payload.get("message", "")), **(details if isinstance(details, dict) else {}))
