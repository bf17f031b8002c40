"""The door to scikit-learn and SciPy, which are an extra; loaded when a head is fitted."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..contract.errors import RuntimeMissingError


def load_extra(module: str) -> Any:
    """Return a module of the extra ``train``, like ``sklearn.linear_model``.

    Raises:
        RuntimeMissingError: it is not there; the message has the command that installs it.
    """
    package = {"sklearn": "scikit-learn"}.get(module.split(".")[0], module.split(".")[0])
    try:
        return import_module(module)
    except ImportError as problem:
        raise RuntimeMissingError(
            f"Training needs {package}, which this Python does not have ({problem}). Install it: "
            f"pip install 'mm-sentinel-fusion[train]' (or pip install {package}).",
            package=package,
        ) from problem
