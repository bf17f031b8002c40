"""The door to the packages of the extra ``train``, loaded where they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..contract.errors import RuntimeMissingError


def load_extra(module: str, user: str = "Training needs") -> Any:
    """Return a module of the extra ``train``, like ``sklearn.linear_model``.

    Args:
        module: its full name.
        user: how the error begins, the verb included.

    Raises:
        RuntimeMissingError: it is not there; the message has the command that installs it.
    """
    package = {"sklearn": "scikit-learn"}.get(module.split(".")[0], module.split(".")[0])
    try:
        return import_module(module)
    except ImportError as problem:
        raise RuntimeMissingError(
            f"{user} {package}, which this Python does not have ({problem}). Install it: "
            f"pip install 'mm-sentinel-fusion[train]' (or pip install {package}).",
            package=package,
        ) from problem
