"""Weights on disk: one safetensors file, or shards with an index that holds their checksums."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .contract.errors import ConfigError, ModelFolderError
from .contract.weights import INDEX_FILE, WEIGHTS_FILE, WeightFiles, file_sha256
from .shortage import is_out_of_memory

MAX_SHARD_SIZE = "5GB"
_METADATA = {"format": "pt"}
# Kinds of numbers that torch does not know, and sizes beyond all numbers, among the rest.
_DAMAGED = (
    SafetensorError, OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError,
    OverflowError,
)  # fmt: skip


def write_weights(
    folder: Path, tensors: Mapping[str, Tensor], max_shard_size: int | str = MAX_SHARD_SIZE
) -> tuple[str, ...]:
    """Write tensors into ``folder``; returns the names of the files, the main one last.

    The names, and how tensors are shared out, are those of the Hugging Face libraries; the
    index holds the SHA-256 of every shard, so that its own SHA-256 covers all weights.

    Raises:
        ConfigError: ``max_shard_size`` is no size.
    """
    shards = _shared_out(tensors, max_shard_size)
    for name, keys in shards.items():
        _save(folder / name, {key: tensors[key].contiguous() for key in keys})
    if list(shards) == [WEIGHTS_FILE]:
        return (WEIGHTS_FILE,)
    metadata = {
        "sha256": {name: file_sha256(folder / name) for name in sorted(shards)},
        "total_size": sum(value.nbytes for value in tensors.values()),
    }
    weight_map = {key: name for name in sorted(shards) for key in shards[name]}
    text = json.dumps({"metadata": metadata, "weight_map": weight_map}, indent=2)
    (folder / INDEX_FILE).write_text(text + "\n", encoding="utf-8")
    return (*sorted(shards), INDEX_FILE)


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write one file with the rights that any new file gets; safetensors' own are 0600."""
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, _METADATA)
    path.chmod(mode)


def _shared_out(
    tensors: Mapping[str, Tensor], max_shard_size: int | str
) -> Mapping[str, list[str]]:
    try:
        if isinstance(max_shard_size, int) and max_shard_size < 1:
            raise ValueError("it must be positive")
        split = split_torch_state_dict_into_shards(dict(tensors), max_shard_size=max_shard_size)
    except (TypeError, ValueError) as problem:
        raise ConfigError(
            f"max_shard_size must be a number of bytes, or like '5GB', not {max_shard_size!r} "
            f"({problem}).",
            key="max_shard_size",
        ) from problem
    return split.filename_to_tensors


def read_weights(files: WeightFiles) -> dict[str, Tensor]:
    """Read the tensors of all files.

    Raises:
        ModelFolderError: a file is damaged.
    """
    return _merged(files, load_file)


def read_shapes(files: WeightFiles) -> dict[str, Tensor]:
    """Return tensors without values, with the shapes and kinds that the files' headers tell.

    Raises:
        ModelFolderError: a file is damaged.
    """
    return _merged(files, _hollow)


def _hollow(path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118  # it is no mapping
            part = file.get_slice(name)
            is_real = part.get_dtype().startswith(("F", "BF"))
            kind = torch.float32 if is_real else torch.int64
            tensors[name] = torch.empty(part.get_shape(), dtype=kind, device="meta")
    return tensors


def _merged(files: WeightFiles, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in files.tensor_files:
        try:
            tensors.update(read(path))
        except _DAMAGED as problem:
            if is_out_of_memory(problem):
                raise  # the file is whole, the memory is not large enough
            raise ModelFolderError(
                f"'{path}' is damaged ({problem}): copy the model folder again from its origin.",
                path=str(path),
            ) from problem
    return tensors
