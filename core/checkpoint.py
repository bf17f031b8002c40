"""Model folders: ``config.json`` with the spec, and ``model.safetensors``.

Nothing is ever unpickled, and loading a local folder never touches the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .contract.errors import ConfigError, ModelFolderError, SpecError, WeightsUnavailableError
from .contract.spec import CONFIG_FILE, WEIGHTS_FILE, ModelSpec, read_config, spec_from_dict
from .model import MultiModalModel, check_spec

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CHUNK = 1 << 20
_SHOWN = 3


def save_pretrained(
    model: MultiModalModel, folder: str | Path, spec: ModelSpec | None = None
) -> None:
    """Write ``model`` as a model folder that :func:`from_pretrained` and the plugin read.

    The weights are replaced first and config.json last: a crash between the two leaves a
    folder whose checksum does not match, never one that passes for whole.

    Raises:
        ConfigError: ``spec`` has other channels, classes or tile size than the model.
        ModelFolderError: the folder cannot be written.
    """
    spec = model.spec if spec is None else spec
    check_spec(model.config, spec)
    folder = Path(folder)
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = _replace_file(
            folder / WEIGHTS_FILE, lambda path: save_file(tensors, path, {"format": "pt"})
        )
        spec = replace(spec, weights_sha256=digest)
        text = json.dumps({**model.config.to_dict(), "spec": spec.to_dict()}, indent=2)
        _replace_file(
            folder / CONFIG_FILE, lambda path: path.write_text(text + "\n", encoding="utf-8")
        )
    except (OSError, SafetensorError) as problem:
        raise ModelFolderError(
            f"The model cannot be saved in '{folder}' ({problem}): "
            "choose a folder that you may write to, on a disk with room.",
            path=str(folder),
        ) from problem
    model.spec = spec


def from_pretrained(
    folder_or_hub_id: str | Path,
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
    verify: bool = True,
) -> MultiModalModel:
    """Load a model in eval mode from a model folder or a Hugging Face hub id.

    Args:
        folder_or_hub_id: a folder with config.json and model.safetensors, or ``owner/name``.
        revision: branch, tag or commit, for a hub id only.
        device: where the model goes once it is loaded.
        verify: compare the weights with the checksum in config.json first.

    Raises:
        ModelFolderError: missing, damaged, or made for other channels or classes.
        WeightsUnavailableError: the hub folder cannot be downloaded.
    """
    folder = _local_folder(folder_or_hub_id, revision)
    config = dict(read_config(folder))
    with _blamed_on(folder):
        spec = spec_from_dict(config.pop("spec"))
        weights = _weights_path(folder)
        if verify:
            _verify(weights, spec)
        model = MultiModalModel(config, spec, load_backbones=False)
    _load_weights(model, _read_weights(weights), folder)
    return model.to(device).eval()


save_model = save_pretrained
load_model = from_pretrained


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _replace_file(target: Path, write: Callable[[Path], Any]) -> str:
    """Write beside ``target``, then replace it in one step; returns the SHA-256."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)  # mkstemp makes it private, a model folder is to be shared
        digest = file_sha256(temporary)
        os.replace(temporary, target)
        return digest
    finally:
        temporary.unlink(missing_ok=True)


def _local_folder(folder_or_hub_id: str | Path, revision: str | None) -> Path:
    folder = Path(folder_or_hub_id)
    hub_id = str(folder_or_hub_id)
    if folder.exists() or not _HUB_ID.fullmatch(hub_id):
        if revision is not None:
            raise ModelFolderError(
                f"'{folder}' is a local folder and has no revisions: leave 'revision' out."
            )
        return folder
    try:
        return Path(
            snapshot_download(hub_id, revision=revision, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE])
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as problem:
        raise WeightsUnavailableError(
            f"'{hub_id}' is no folder here, and cannot be had from https://huggingface.co/{hub_id} "
            f"({(str(problem) or type(problem).__name__).splitlines()[0]}). Check the name, the "
            "network and your access token, or download the folder and choose it.",
            model=hub_id,
        ) from problem


@contextmanager
def _blamed_on(folder: Path) -> Iterator[None]:
    try:
        yield
    except (ConfigError, SpecError) as problem:
        raise ModelFolderError(
            f"{CONFIG_FILE} in '{folder}' does not describe a model: {problem.message}",
            path=str(folder),
        ) from problem


def _weights_path(folder: Path) -> Path:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelFolderError(
            f"The model folder '{folder}' has no {WEIGHTS_FILE}: copy it there from its origin.",
            path=str(path),
        )
    return path


def _verify(path: Path, spec: ModelSpec) -> None:
    if spec.weights_sha256 and file_sha256(path) != spec.weights_sha256:
        raise ModelFolderError(
            f"'{path}' is not the file that {CONFIG_FILE} describes (its SHA-256 differs): it is "
            "damaged or was exchanged. Copy the whole model folder again from its origin.",
            path=str(path),
        )


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as problem:
        raise ModelFolderError(
            f"'{path}' is damaged ({problem}): copy the model folder again from its origin.",
            path=str(path),
        ) from problem


def _load_weights(model: MultiModalModel, tensors: Mapping[str, Tensor], folder: Path) -> None:
    expected = model.state_dict()
    problems = [f"{key} is missing" for key in expected if key not in tensors]
    problems += [f"{key} is unknown" for key in tensors if key not in expected]
    problems += [
        f"{key} is {tuple(tensors[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ModelFolderError(
            f"{WEIGHTS_FILE} and {CONFIG_FILE} in '{folder}' do not belong together: "
            f"{'; '.join(problems[:_SHOWN])}{more}. Copy the whole folder again from its origin.",
            path=str(folder),
        )
    model.load_state_dict(tensors)
