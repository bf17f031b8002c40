"""A training checkpoint becomes a model folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import from_pretrained, misfits, named_as, plain_name, save_pretrained
from ..config import ModelConfig
from ..contract.errors import ConfigError, ModelFolderError
from ..contract.model_folder import CONFIG_FILE, read_config
from ..contract.spec import ModelSpec
from ..contract.weights import file_sha256
from ..model import MultiModalModel
from .content import Content, read_checkpoint
from .spec_choice import class_names, find_spec, read_json
from .state_config import understand
from .state_dinov3 import merged

# Without a part in any output: a counter of batches, and what pre-training puts under its masks.
_DISPENSABLE = ("num_batches_tracked", "embeddings.mask_token")


@dataclass(frozen=True)
class Imported:
    """What was made of a checkpoint. ``assumed`` is what neither it nor the caller said."""

    output: Path
    config: Mapping[str, Any]
    spec: ModelSpec
    assumed: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what the command prints as JSON."""
        spec = self.spec
        return {
            "output": str(self.output),
            "config": dict(self.config),
            "spec": {
                "task": spec.task,
                "classes": list(spec.class_names),
                "s2": list(spec.s2_names),
                "s1": list(spec.s1_names),
                "tile_size": spec.tile_size,
                "ground_resolution": spec.ground_resolution,
                "provenance": dict(spec.provenance),
                "weights_sha256": spec.weights_sha256,
            },
            "assumed": list(self.assumed),
        }


def import_checkpoint(
    checkpoint: str | Path,
    output: str | Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    spec: ModelSpec | str | Path | None = None,
    classes: Sequence[str] | str | Path | None = None,
    overwrite: bool = False,
) -> Imported:
    """Turn a checkpoint of a :class:`MultiModalModel` into a model folder.

    What neither ``config`` nor the checkpoint's own ``hyper_parameters`` say is read from the
    tensors; what they cannot tell is assumed and returned in words. The folder is loaded once
    before it is put in its place; an import that fails leaves nothing behind.

    Args:
        checkpoint: a Lightning ``.ckpt`` or a bare state dict (.pt, .pth, .safetensors).
        output: the model folder to make.
        config: the nested dict or a JSON file of it, as far as it is to be said.
        spec: channels, classes and task: a spec, a JSON file of one, or a model folder.
        classes: names in the order of the outputs, or a text file with one a line.
        overwrite: replace a model folder that stands there.

    Raises:
        ConfigError: no such model, one that contradicts ``config``, or not enough is known.
        ModelFolderError: ``output`` cannot be written, or holds something already.
        SpecError: the spec or the class names do not fit the checkpoint.
        WeightsUnavailableError: the file is missing, damaged or unsafe.
    """
    source, target = Path(checkpoint), Path(output).resolve()
    _check_target(target, overwrite)
    content = read_checkpoint(source)
    said = _said(content, config)
    state = {plain_name(key): value for key, value in content.state.items()}
    understood = understand(state, said)
    whole = understood.config(said)
    names = None if classes is None else class_names(classes)
    described, assumed = find_spec(spec, content.spec, names, whole)
    described = replace(
        described,
        weights_sha256="",
        provenance={**described.provenance, **_origin(source, content)},
    )
    model, filled = _built(whole, described, state, source)
    notes = (*understood.assumed, *assumed, *_defaults(said), *filled, *content.notes)
    written = _written(model, target)
    return Imported(target, written.config.to_dict(), written.spec, notes)


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / CONFIG_FILE).is_file():
        raise ModelFolderError(
            f"'{target}' is there already and is no model folder: choose a new or empty folder.",
            path=str(target),
        )
    read_config(target)
    if not overwrite:
        raise ModelFolderError(
            f"'{target}' is a model folder already: choose another one, or say --overwrite.",
            path=str(target),
        )


def _said(content: Content, config: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    """Return what the checkpoint and the caller say of the configuration, checked."""
    given = read_json(config, "The configuration") if isinstance(config, (str, Path)) else config
    # A config.json of a model folder will do: its spec is another matter.
    given = {key: value for key, value in (given or {}).items() if key != "spec"}
    said = merged(content.config, given)
    ModelConfig.from_dict(said)
    return said


def _origin(source: Path, content: Content) -> dict[str, Any]:
    digest = file_sha256(source)
    return {"imported_from": source.name, "checkpoint_sha256": digest, **content.progress}


def _defaults(said: Mapping[str, Any]) -> tuple[str, ...]:
    if said.get("modality_dropout") is not None:
        return ()
    return ("modality_dropout 0: a tile without one of the sensors is refused",)


def _built(
    config: Mapping[str, Any], spec: ModelSpec, state: Mapping[str, Tensor], source: Path
) -> tuple[MultiModalModel, list[str]]:
    """Return the model with the tensors in it, and what was filled in or changed for that."""
    model = MultiModalModel(config, spec, load_backbones=False)
    expected = model.state_dict()
    tensors = named_as(expected, state)
    lacking = [key for key in expected if key not in tensors and key.endswith(_DISPENSABLE)]
    tensors.update({key: torch.zeros_like(expected[key]) for key in lacking})
    problems = misfits(expected, tensors)
    if problems:
        raise ConfigError(
            f"The tensors in '{source}' do not fit the model that was understood: {problems}. Say "
            "in --config how it was made, or take a checkpoint that is whole.",
            path=str(source),
        )
    model.load_state_dict(tensors)
    notes = [f"{len(lacking)} tensors without a part in any output are 0"] if lacking else []
    kinds = {str(value.dtype).removeprefix("torch.") for value in state.values()
             if value.is_floating_point()} - {"float32"}  # fmt: skip
    if kinds:
        notes.append(f"weights are {', '.join(sorted(kinds))} in the checkpoint, float32 here")
    return model, notes


def _written(model: MultiModalModel, target: Path) -> MultiModalModel:
    """Write the folder aside, load it once, and put it in its place; returns what was loaded."""
    base = next(folder for folder in target.parents if folder.is_dir())
    try:
        with TemporaryDirectory(prefix=".importing.", dir=base) as temporary:
            folder = Path(temporary) / "model"
            save_pretrained(model, folder)
            loaded = from_pretrained(folder)
            if (target / CONFIG_FILE).is_file():
                save_pretrained(loaded, target)
                return loaded
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                target.rmdir()  # it is empty; Windows renames nothing onto a folder
            os.replace(folder, target)
            return loaded
    except OSError as problem:
        raise ModelFolderError(
            f"'{target}' cannot be written ({problem}): choose a folder that you may write to, on "
            "a disk with room.",
            path=str(target),
        ) from problem
