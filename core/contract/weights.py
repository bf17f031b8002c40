"""The files that hold a model's weights: one, or several with an index as transformers has it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._codec import as_object
from .errors import ModelFolderError
from .json_file import read_json_file

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_DESCRIPTION = "config.json"
SHARD_PATTERN = "model-*-of-*.safetensors"
# A name that leads out of the folder, or to a pickle, is none of these.
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class WeightFiles:
    """The weights of one model folder.

    ``main`` is the file whose SHA-256 is ``spec.weights_sha256``: the weights themselves, or
    the index. ``shards`` are the names that the index gives, each with its SHA-256 or "".
    """

    main: Path
    shards: Mapping[str, str]

    @property
    def tensor_files(self) -> tuple[Path, ...]:
        """The safetensors files, in order."""
        if self.main.name == WEIGHTS_FILE:
            return (self.main,)
        return tuple(self.main.parent / name for name in sorted(self.shards))


def find_weights(folder: str | Path, sha256: str = "") -> WeightFiles:
    """Find the weights of a model folder, by name: nothing but the index is read.

    Where a save was interrupted both forms can stand there: ``sha256`` tells which one counts.

    Raises:
        ModelFolderError: a file is missing, or the index is damaged.
    """
    single, index = Path(folder) / WEIGHTS_FILE, Path(folder) / INDEX_FILE
    if index.is_file() and (not single.is_file() or file_sha256(index) == sha256.lower()):
        return WeightFiles(index, _read_index(index))
    if single.is_file():
        return WeightFiles(single, {})
    raise ModelFolderError(
        f"The model folder '{folder}' has no {WEIGHTS_FILE}: copy it there from its origin.",
        path=str(single),
    )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def check_weights(files: WeightFiles, sha256: str) -> None:
    """Compare every file of the weights with its SHA-256, where the folder has one of it.

    Without ``sha256`` nothing vouches for the index, but what it says of its shards must be so.

    Raises:
        ModelFolderError: names the first file that is another one.
    """
    if sha256:
        _check_file(files.main, sha256, _DESCRIPTION)
    for name, digest in files.shards.items():
        if sha256 or digest:
            _check_file(files.main.parent / name, digest, INDEX_FILE)


def _check_file(path: Path, sha256: str, described_in: str) -> None:
    try:
        found = file_sha256(path)
    except OSError as problem:
        raise ModelFolderError(
            f"'{path}' cannot be read ({problem.strerror}): check its rights, or copy the model "
            "folder again from its origin.",
            path=str(path),
        ) from problem
    if found != sha256.lower():
        raise ModelFolderError(
            f"'{path}' is not the file that {described_in} describes (its SHA-256 differs): it is "
            "damaged or was exchanged. Copy the whole model folder again from its origin.",
            path=str(path),
        )


def is_weights_name(name: str) -> bool:
    """Tell whether a file name is one of a model folder's weights, in either form."""
    return name in (WEIGHTS_FILE, INDEX_FILE) or _SHARD.fullmatch(name) is not None


def _read_index(path: Path) -> dict[str, str]:
    """Return the shards that an index names, each with its SHA-256 or ""."""
    try:
        payload = read_json_file(path)
    except (OSError, ValueError) as problem:
        raise _damaged(path, str(problem)) from problem
    index = as_object(payload, ModelFolderError, f"'{path}'")
    names = _strings(index.get("weight_map"), path, "weight_map").values()
    metadata = as_object(index.get("metadata", {}), ModelFolderError, f"'metadata' in '{path}'")
    digests = _strings(metadata.get("sha256", {}), path, "sha256")
    if not names or not all(_SHARD.fullmatch(name) for name in names):
        raise _damaged(path, "it names other files than model-00001-of-0000N.safetensors")
    missing = sorted(name for name in set(names) if not (path.parent / name).is_file())
    if missing:
        raise ModelFolderError(
            f"The model folder '{path.parent}' has no {', '.join(missing[:3])}, which {INDEX_FILE} "
            "names: copy the missing part of the weights there from its origin.",
            path=str(path.parent / missing[0]),
        )
    return {name: digests.get(name, "") for name in sorted(set(names))}


def weights_state(folder: str | Path) -> str:
    """Return what changes when a file of the weights is written again: names, sizes and times."""
    try:
        names = sorted(filter(is_weights_name, os.listdir(folder)))
    except OSError:  # a folder whose files may be read, and not be listed
        names = [WEIGHTS_FILE, INDEX_FILE]
    return "\n".join(_state(Path(folder) / name) for name in names)


def _state(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return f"{path.name} is not there"  # who loads it says so
    return f"{path.name} {stat.st_size} {stat.st_mtime_ns}"


def _strings(payload: Any, path: Path, key: str) -> dict[str, str]:
    found = as_object(payload, ModelFolderError, f"'{key}' in '{path}'")
    if not all(isinstance(value, str) for value in found.values()):
        raise _damaged(path, f"'{key}' holds more than texts")
    return dict(found)


def _damaged(path: Path, why: str) -> ModelFolderError:
    return ModelFolderError(
        f"'{path}' is damaged ({why}): copy the model folder again from its origin.",
        path=str(path),
    )
