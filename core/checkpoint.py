"""Model folders: ``config.json`` with the spec, and the weights as safetensors.

Nothing is ever unpickled, and loading a local folder never touches the network.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor

from .config import ModelConfig, block_count
from .contract.errors import (
    CancelledError,
    ConfigError,
    ModelFolderError,
    WeightsUnavailableError,
)
from .contract.model_folder import CONFIG_FILE, blamed_on, read_config
from .contract.spec import ModelSpec, spec_from_dict
from .contract.weights import (
    INDEX_FILE,
    SHARD_PATTERN,
    WEIGHTS_FILE,
    WeightFiles,
    check_weights,
    file_sha256,
    find_weights,
    is_weights_name,
)
from .finite import all_finite
from .model import MultiModalModel, check_same_inputs, check_spec
from .shards import MAX_SHARD_SIZE, read_shapes, read_weights, write_weights
from .shortage import is_out_of_memory

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = [CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE, SHARD_PATTERN]
# transformers moved them under `model.` in 5.x; a model folder outlives that.
_LAYERS = re.compile(r"^(dinov3_backbone\.model\.)(?:model\.)?(layer|stages)\.")
_SHOWN = 3


def save_pretrained(
    model: MultiModalModel,
    folder: str | Path,
    spec: ModelSpec | None = None,
    *,
    max_shard_size: int | str = MAX_SHARD_SIZE,
) -> None:
    """Write ``model`` as a model folder that :func:`from_pretrained` and the plugin read.

    All is written aside first, then the weights are replaced, and config.json last: a full disk
    leaves the old folder whole, and a crash between two files one whose checksum does not
    match, never one that passes for whole.

    Args:
        model: what is saved.
        folder: made where it is not there; weights that no longer belong to it are removed.
        spec: takes the place of ``model.spec``. Its channels must be the model's, by name and
            order: other channels are for ``MultiModalModel(config, spec)`` to be built with.
        max_shard_size: in bytes, or like "5GB"; larger weights become several files.

    Raises:
        ConfigError: ``spec`` has other channels, number of classes or tile size than the model.
        ModelFolderError: the folder cannot be written, or the model has no weights yet.
    """
    spec = model.spec if spec is None else spec
    check_spec(model.config, spec)
    check_same_inputs(model, spec)
    folder = Path(folder)
    _check_has_weights(model, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".saving.", dir=folder) as temporary:
            aside = Path(temporary)
            names = write_weights(aside, model.state_dict(), max_shard_size)
            spec = replace(spec, weights_sha256=file_sha256(aside / names[-1]))
            text = json.dumps({**model.config.to_dict(), "spec": spec.to_dict()}, indent=2)
            (aside / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
            for name in (*names, CONFIG_FILE):
                os.replace(aside / name, folder / name)
        remove_stale(folder, names)
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
    is_cancelled: Callable[[], bool] = lambda: False,
) -> MultiModalModel:
    """Load a model in eval mode from a model folder or a Hugging Face hub id.

    Args:
        folder_or_hub_id: a folder with config.json and the weights, or the text ``owner/name``.
        revision: branch, tag or commit, for a hub id only.
        device: where the model goes once it is loaded.
        verify: compare every file of the weights with its checksum first.
        is_cancelled: asked between the steps of loading.

    Raises:
        ModelFolderError: missing, damaged, or made for other channels or classes.
        WeightsUnavailableError: the hub folder cannot be downloaded.
        CancelledError: ``is_cancelled`` said so.
    """
    folder = _local_folder(folder_or_hub_id, revision)
    config, spec, files = _described(folder, verify)
    _go_on(is_cancelled)
    # Of a size that the weights have: a description alone must not make anything be allocated.
    _check_described(config, spec, files, folder)
    with blamed_on(folder):
        model = _built(config, spec)
    _go_on(is_cancelled)
    weights = _fitting(model, read_weights(files), folder)
    _check_finite(weights, folder)
    model.load_state_dict(weights)
    _go_on(is_cancelled)
    return model.to(device).eval()


def check_folder(folder: str | Path) -> ModelSpec:
    """Refuse what :func:`from_pretrained` refuses, and return the spec.

    The network is built without memory for its weights, and compared with the names and shapes
    of those in the files; these must be finite numbers.

    Raises:
        ModelFolderError: missing, damaged, or made for other channels or classes.
    """
    folder = Path(folder)
    config, spec, files = _described(folder, verify=True)
    _check_described(config, spec, files, folder)
    _check_finite(read_weights(files), folder)
    return spec


save_model = save_pretrained
load_model = from_pretrained


def _go_on(is_cancelled: Callable[[], bool]) -> None:
    if is_cancelled():
        raise CancelledError("Cancelled while the model was loaded.")


def _check_has_weights(model: MultiModalModel, folder: Path) -> None:
    hollow = [key for key, value in model.state_dict().items() if value.is_meta]
    if hollow:
        raise ModelFolderError(
            f"The model cannot be saved in '{folder}': {hollow[0]} is on the meta device, which "
            "holds no numbers. Load or initialise the weights first.",
            path=str(folder),
        )


def remove_stale(folder: Path, names: Sequence[str]) -> None:
    """Remove weights of an earlier save, once the new ones stand."""
    for path in folder.iterdir():
        if is_weights_name(path.name) and path.name not in names:
            path.unlink()


def _local_folder(folder_or_hub_id: str | Path, revision: str | None) -> Path:
    folder = Path(os.path.expanduser(folder_or_hub_id))
    hub_id = str(folder_or_hub_id)
    # A Path is never an id: it has dropped the "./" by which a missing folder would be known.
    is_id = isinstance(folder_or_hub_id, str) and _HUB_ID.fullmatch(hub_id) is not None
    if folder.exists() or not is_id:
        if revision is not None:
            raise ModelFolderError(
                f"'{folder}' is a local folder and has no revisions: leave 'revision' out."
            )
        return folder
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as problem:
        raise WeightsUnavailableError(
            f"'{hub_id}' is no folder here, and cannot be had from https://huggingface.co/{hub_id} "
            f"({(str(problem) or type(problem).__name__).splitlines()[0]}). Check the name, the "
            "network and your access token, or download the folder and choose it.",
            model=hub_id,
        ) from problem


def _described(folder: Path, verify: bool) -> tuple[Mapping[str, Any], ModelSpec, WeightFiles]:
    """Return the configuration of the module, the spec, and where the weights are."""
    config = dict(read_config(folder))
    with blamed_on(folder):
        spec = spec_from_dict(config.pop("spec"))
    files = find_weights(folder, spec.weights_sha256)
    if verify:
        check_weights(files, spec.weights_sha256)
    return config, spec, files


def _check_described(
    config: Mapping[str, Any], spec: ModelSpec, files: WeightFiles, folder: Path
) -> None:
    """Compare the network that is described with the names and shapes of the weights."""
    shapes = read_shapes(files)
    with blamed_on(folder):
        blocks = block_count(ModelConfig.from_dict(config))
        if blocks > len(shapes):
            raise ConfigError(
                f"it describes {blocks} blocks, but the weights are {len(shapes)} tensors."
            )
        with torch.device("meta"):
            model = _built(config, spec)
    _fitting(model, shapes, folder)


def _built(config: Mapping[str, Any], spec: ModelSpec) -> MultiModalModel:
    """Build the network that a file describes.

    Sizes that torch or transformers cannot build fail in many ways of their own.
    """
    try:
        return MultiModalModel(config, spec, load_backbones=False)
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as e:
        if is_out_of_memory(e):
            raise
        raise ConfigError(f"its sizes cannot be built ({type(e).__name__}: {e}).") from e


def _fitting(
    model: MultiModalModel, tensors: Mapping[str, Tensor], folder: Path
) -> dict[str, Tensor]:
    """Return the weights under the names of the model; they must be all of it, and no more."""
    expected = model.state_dict()
    tensors = named_as(expected, tensors)
    problems = misfits(expected, tensors)
    if problems:
        raise ModelFolderError(
            f"The weights and {CONFIG_FILE} in '{folder}' do not belong together: {problems}. "
            "Copy the whole folder again from its origin.",
            path=str(folder),
        )
    return tensors


def _check_finite(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Refuse weights with NaN or infinity in them: every class of such a model is noise."""
    try:
        bad = [key for key, value in tensors.items() if not all_finite(value)]
    except ConfigError as problem:
        raise ModelFolderError(
            f"The weights in '{folder}' cannot be used. {problem.message}", path=str(folder)
        ) from problem
    if bad:
        raise ModelFolderError(
            f"The weights in '{folder}' hold numbers that are not finite, in {bad[0]}"
            f"{f' and {len(bad) - 1} more' if len(bad) > 1 else ''}: the training diverged. Train "
            "again with a smaller learning rate, or take a copy from before.",
            path=str(folder),
        )


def named_as(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``tensors`` with DINOv3's layers named as the installed transformers names them."""
    here = {plain_name(key): key for key in expected}
    return {here.get(plain_name(key), key): value for key, value in tensors.items()}


def plain_name(key: str) -> str:
    """Return a key of the model without the ``model.`` that transformers has had since 5.x."""
    return _LAYERS.sub(r"\1\2.", key)


def misfits(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> str:
    """Return what is missing, unknown or of another shape or kind, or "" where all fits."""
    problems = [f"{key} is missing" for key in expected if key not in tensors]
    problems += [f"{key} is unknown" for key in tensors if key not in expected]
    for key, value in expected.items():
        found = tensors.get(key, value)
        if found.shape != value.shape:
            problems.append(f"{key} is {tuple(found.shape)} instead of {tuple(value.shape)}")
        elif found.is_floating_point() != value.is_floating_point():
            problems.append(f"{key} holds {found.dtype} instead of {value.dtype}")
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more
