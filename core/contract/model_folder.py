"""A model folder as far as the standard library can read it: config.json and the spec in it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ._codec import as_object
from .errors import ConfigError, ModelFolderError, SpecError
from .json_file import read_json_file
from .spec import ModelSpec, spec_from_dict
from .weights import WEIGHTS_FILE, find_weights, weights_state

CONFIG_FILE = "config.json"


def read_spec(folder: str | Path) -> ModelSpec:
    """Read the spec of a model folder, and see that its weights are there, unread.

    Raises:
        ModelFolderError: a file is missing or damaged, the spec incomplete or contradictory.
    """
    config = read_config(folder)
    with blamed_on(folder):
        spec = spec_from_dict(config["spec"])
    find_weights(folder, spec.weights_sha256)
    return spec


@contextmanager
def blamed_on(folder: str | Path) -> Iterator[None]:
    """Say of what is wrong with a description in which folder it stands, and what to do."""
    try:
        yield
    except (ConfigError, SpecError) as problem:
        raise ModelFolderError(
            f"{CONFIG_FILE} in '{folder}' does not describe a model: {problem.message} Copy the "
            "folder again from its origin, or save the model again with this version.",
            path=str(folder),
        ) from problem


def config_digest(folder: str | Path) -> str:
    """Return a SHA-256 of config.json; it holds that of the weights, so it names the model.

    Where it holds none, sizes and times of the weights stand for them, as they do for rasters.
    """
    config = read_config(folder)
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    if not as_object(config["spec"], ModelFolderError, "The spec").get("weights_sha256"):
        text += weights_state(folder)
    return hashlib.sha256(text.encode()).hexdigest()


def read_config(folder: str | Path) -> Mapping[str, Any]:
    """Read config.json of a model folder; every defect is a :class:`ModelFolderError`."""
    path = Path(folder) / CONFIG_FILE
    if not os.path.isfile(path):  # unlike Path.is_file no error for a name that cannot be
        raise ModelFolderError(
            f"'{folder}' is not a model folder: it has no {CONFIG_FILE}. "
            f"Choose a folder with {CONFIG_FILE} and {WEIGHTS_FILE} or its parts.",
            path=str(folder),
        )
    try:
        payload = read_json_file(path)
    except (OSError, ValueError) as problem:
        raise ModelFolderError(
            f"{CONFIG_FILE} in '{folder}' cannot be read ({problem}): "
            "copy the model folder again from its origin.",
            path=str(path),
        ) from problem
    config = as_object(payload, ModelFolderError, f"{CONFIG_FILE} in '{folder}'")
    if "spec" not in config:
        raise ModelFolderError(
            f"{CONFIG_FILE} in '{folder}' has no 'spec': it is a model of another program. "
            "Save it with save_pretrained of this package.",
            path=str(path),
        )
    return config


def check_trained(spec: ModelSpec, folder: str) -> None:
    """Raise a ModelFolderError for a model that says nothing about its training."""
    if not spec.provenance:
        raise ModelFolderError(
            f"The model in '{folder}' says nothing about its training ('provenance' is empty): "
            "an untrained head would give numbers without meaning. Train it, and save it with a "
            "spec that names its origin.",
            path=folder,
        )
