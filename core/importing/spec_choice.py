"""The spec of a checkpoint that is imported: given, kept beside the weights, or assumed."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import DEFAULT_IMAGE_SIZE
from ..contract.channels import S1_BANDS, S2_PRESETS
from ..contract.classes import BIGEARTHNET19_NAMES
from ..contract.errors import ConfigError, SpecError
from ..contract.json_file import read_json_file
from ..contract.model_folder import CONFIG_FILE, blamed_on, read_config
from ..contract.spec import ClassSpec, ModelSpec, default_spec, spec_from_dict

_RGB = 3
_MAX_NAMES = 1_000_000  # characters of a file of class names


def read_json(path: str | Path, what: str) -> Mapping[str, Any]:
    """Read a JSON object from a file; ``what`` names it in the :class:`ConfigError`."""
    try:
        payload = read_json_file(path)
    except (OSError, ValueError) as problem:
        raise ConfigError(
            f"{what} '{path}' cannot be read as JSON ({problem}): correct the file or its path.",
            path=str(path),
        ) from problem
    if not isinstance(payload, Mapping):
        raise ConfigError(f"{what} '{path}' holds no JSON object.", path=str(path))
    return payload


def class_names(classes: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Return class names from a text file with one a line, or separated by commas.

    Raises:
        SpecError: a file that cannot be read, or fewer than two names.
    """
    if not isinstance(classes, (str, Path)):
        return tuple(classes)
    try:
        # A name too long for a file name is an OSError on some systems, and no file on others.
        if len(str(classes)) < 1000 and Path(classes).is_file():
            with Path(classes).open(encoding="utf-8-sig") as stream:
                lines = stream.read(_MAX_NAMES).splitlines()
        else:
            lines = next(csv.reader([str(classes)], skipinitialspace=True), [])
    except (OSError, UnicodeDecodeError, csv.Error) as problem:
        raise SpecError(f"The class names '{classes}' cannot be read ({problem}).") from problem
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) < 2:
        raise SpecError(
            f"'{classes}' is neither a text file with one class name a line nor a list of names "
            "separated by commas."
        )
    return names


def given_spec(source: ModelSpec | str | Path) -> tuple[ModelSpec, list[str]]:
    """Return a spec that was named: one in memory, a JSON file of a spec, or a model folder.

    Channels, classes and task of another model can be had so; what was measured on it cannot.

    Returns:
        The spec, and what had to be assumed.

    Raises:
        ConfigError, ModelFolderError, SpecError: it is not there, or damaged.
    """
    if isinstance(source, ModelSpec):
        return source, []
    folder = Path(source)
    if folder.is_dir():
        payload = read_config(folder)
        with blamed_on(folder):
            spec = spec_from_dict(payload["spec"])
    else:
        payload = read_json(folder, "The spec")
        if "spec" not in payload:
            return spec_from_dict(payload), []
        spec = spec_from_dict(payload["spec"])
    own = replace(
        spec, thresholds=(0.5,) * len(spec.classes), temperature=1.0, calibrated=False,
        provenance={}, metrics={}, license="",
    )  # fmt: skip
    return own, [f"thresholds 0.5, not calibrated: those of '{source}' belong to its own model"]


def find_spec(
    given: ModelSpec | str | Path | None,
    kept: Mapping[str, Any] | None,
    classes: tuple[str, ...] | None,
    config: Mapping[str, Any],
) -> tuple[ModelSpec, list[str]]:
    """Return the spec of a model whose ``config`` is complete but for the size of its tiles.

    Args:
        given: takes the place of all else.
        kept: what the checkpoint holds of :meth:`ModelSpec.to_dict`.
        classes: names in the order of the outputs; not together with ``given``.

    Returns:
        The spec, and what had to be assumed.

    Raises:
        SpecError: the numbers of classes or channels are not those of the checkpoint.
    """
    count = config["classifier"]["num_classes"]
    if given is not None and classes is not None:
        raise SpecError("Both a spec and class names are given: the spec names the classes.")
    if given is not None:
        spec, assumed = given_spec(given)
    elif kept is not None:
        spec, assumed = spec_from_dict(kept), []
    else:
        spec, assumed = _assumed_spec(classes, count, config)
    if classes is not None and given is None:
        _check_count(len(classes), count, "The list of class names")
        spec = _with_classes(spec, classes)
    _check_count(len(spec.classes), count, "The spec")
    _check_channels(spec, config["backbones"]["resnet101"]["in_channels"])
    return spec, assumed


def _with_classes(spec: ModelSpec, names: tuple[str, ...]) -> ModelSpec:
    """Return the spec with other classes; thresholds stay, for they go by the outputs."""
    items: tuple[ClassSpec, ...] = default_spec(names).classes
    return spec if names == spec.class_names else replace(spec, classes=items)


def _check_count(found: int, outputs: int, what: str) -> None:
    if found != outputs:
        raise SpecError(
            f"{what} has {found} classes, but the checkpoint has {outputs} outputs: name its "
            "classes in the order that it was trained with (--classes)."
        )


def _check_channels(spec: ModelSpec, count: int) -> None:
    channels = (*spec.s2_names[_RGB:], *spec.s1_names)
    if len(channels) != count:
        raise SpecError(
            f"The spec has {len(channels)} channels beside RGB ({', '.join(channels)}), but the "
            f"ResNet in the checkpoint takes {count}: give the spec that it was trained with."
        )


def _assumed_spec(
    classes: tuple[str, ...] | None, count: int, config: Mapping[str, Any]
) -> tuple[ModelSpec, list[str]]:
    channels = config["backbones"]["resnet101"]["in_channels"]
    sizes = {len(names) - _RGB + len(S1_BANDS): key for key, names in S2_PRESETS.items()}
    if channels not in sizes:
        known = ", ".join(f"{size} ({key})" for size, key in sizes.items())
        raise SpecError(
            f"The ResNet in the checkpoint takes {channels} channels, and which they are is known "
            f"only for {known}: name them in a spec (--spec, a JSON file or the {CONFIG_FILE} of "
            "a model folder)."
        )
    tile_size = config.get("image_size") or DEFAULT_IMAGE_SIZE
    spec = default_spec(classes or _names(count), s2_preset=sizes[channels], tile_size=tile_size)
    assumed = [
        f"Sentinel-2 channels {', '.join(spec.s2_names)}, in this order ({sizes[channels]})",
        f"Sentinel-1 channels {', '.join(spec.s1_names)}, in this order",
        "mean and std of every channel: those of BigEarthNet v2 (120 px, nearest)",
        f"task {spec.task}, thresholds 0.5, not calibrated",
    ]
    if classes is None:
        named = "BigEarthNet's 19, sorted by name" if count == 19 else "class_0, class_1, ..."
        assumed.append(f"class names: {named}")
    if config.get("image_size") is None:
        assumed.append(f"image_size {tile_size} at {spec.ground_resolution:g} m")
    return spec, assumed


def _names(count: int) -> tuple[str, ...]:
    if count == len(BIGEARTHNET19_NAMES):
        return tuple(BIGEARTHNET19_NAMES)
    return tuple(f"class_{number}" for number in range(count))
