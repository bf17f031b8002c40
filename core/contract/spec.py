"""ModelSpec: everything about a model that data, results and styles have to know."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ._codec import as_object, finite, take
from .channels import (
    DEFAULT_S2_PRESET,
    INDEX_BANDS,
    RGB,
    S1_BANDS,
    S2_BANDS,
    S2_PRESETS,
    STATISTICS,
)
from .classes import BIGEARTHNET19_COLORS, BIGEARTHNET19_NAMES, default_colors, slugify
from .errors import SpecError
from .foreign_text import is_formula, looks_like, printable

FORMAT_VERSION = 1
TASKS = ("multilabel", "multiclass")
RESAMPLINGS = ("nearest", "bilinear", "cubic", "average")
# The longest BigEarthNet name has 86 characters.
MAX_CLASS_NAME = 120
# Each is a column of the result, and SQLite has 2000 at most.
MAX_CLASSES = 1900
MAX_TILE = 4096
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_NUMBER = (int, float)


@dataclass(frozen=True)
class ChannelSpec:
    """One input channel; the model sees (value - mean) / std."""

    name: str
    unit: str
    mean: float
    std: float
    resampling: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise SpecError(
                f"Channel {self.name}: mean must be finite and std positive, "
                f"not {self.mean} and {self.std}."
            )
        if self.resampling not in RESAMPLINGS:
            raise SpecError(
                f"Channel {self.name}: resampling '{self.resampling}' is unknown; "
                f"choose one of {', '.join(RESAMPLINGS)}."
            )


@dataclass(frozen=True)
class ClassSpec:
    """One class: its name as shown, its slug in field names, its colour ``#rrggbb``."""

    name: str
    slug: str
    color: str

    def __post_init__(self) -> None:
        if not (1 <= len(self.name) <= MAX_CLASS_NAME and self.name.isprintable()):
            raise SpecError(
                f"A class name must have 1 to {MAX_CLASS_NAME} printable characters, "
                f"not {self.name[: MAX_CLASS_NAME + 1]!r}."
            )
        if is_formula(self.name):
            raise SpecError(
                f"The class name {self.name!r} begins like a formula: a spreadsheet would compute "
                "it. Give it a name that begins with another character than = + - @."
            )
        if not _COLOR.fullmatch(self.color):
            raise SpecError(f"Class {self.name}: colour {self.color!r} is not like '#a6f200'.")


@dataclass(frozen=True)
class ModelSpec:
    """What a model expects and what its outputs mean.

    S2 values are DN = reflectance x 10000 with any offset removed, S1 values are dB.
    A probability is the sigmoid (``multilabel``) or softmax (``multiclass``) of
    ``logits / temperature``, in the order of ``classes``.
    """

    s2: tuple[ChannelSpec, ...]
    s1: tuple[ChannelSpec, ...]
    classes: tuple[ClassSpec, ...]
    thresholds: tuple[float, ...]
    task: str = "multilabel"
    temperature: float = 1.0
    calibrated: bool = False
    tile_size: int = 120
    ground_resolution: float = 10.0
    license: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        # All three are shown and stored, whoever wrote them.
        object.__setattr__(self, "license", printable(self.license))
        for key in ("provenance", "metrics"):
            # The score of a class that no tile has is NaN in training, and null in every file.
            object.__setattr__(self, key, printable(finite(getattr(self, key))))
        _check_channels(self.s2, self.s1)
        _check_classes(self.classes, self.thresholds)
        if self.task not in TASKS:
            raise SpecError(f"Task '{self.task}' is unknown; choose one of {', '.join(TASKS)}.")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise SpecError(f"Temperature must be positive, not {self.temperature}.")
        if not (1 <= self.tile_size <= MAX_TILE and 0 < self.ground_resolution < math.inf):
            raise SpecError(
                f"Tile size must be 1 to {MAX_TILE} pixels and ground resolution positive, "
                f"not {self.tile_size} and {self.ground_resolution}."
            )

    @property
    def s2_names(self) -> tuple[str, ...]:
        """Names of the Sentinel-2 channels in model order."""
        return tuple(channel.name for channel in self.s2)

    @property
    def s1_names(self) -> tuple[str, ...]:
        """Names of the Sentinel-1 channels in model order."""
        return tuple(channel.name for channel in self.s1)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in output order."""
        return tuple(item.name for item in self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as it stands under ``spec`` in config.json."""
        # Through JSON once, so that what is returned is exactly what is read back.
        plain = json.loads(json.dumps(asdict(self), allow_nan=False))
        return {"format_version": FORMAT_VERSION, **plain}


def default_spec(
    class_names: Sequence[str] = BIGEARTHNET19_NAMES,
    colors: Sequence[str] | None = None,
    s2_preset: str = DEFAULT_S2_PRESET,
    s1_names: Sequence[str] = S1_BANDS,
    **overrides: Any,
) -> ModelSpec:
    """Return a spec with BigEarthNet statistics, thresholds of 0.5 and the preset's channels."""
    if s2_preset not in S2_PRESETS:
        raise SpecError(f"Preset '{s2_preset}' is unknown; choose from {', '.join(S2_PRESETS)}.")
    if colors is None:
        known = tuple(class_names) == BIGEARTHNET19_NAMES
        colors = BIGEARTHNET19_COLORS if known else default_colors(len(class_names))
    slugs = slugify(class_names)
    values: dict[str, Any] = {
        "s2": tuple(_channel(name) for name in S2_PRESETS[s2_preset]),
        "s1": tuple(_channel(name) for name in s1_names),
        "classes": tuple(map(ClassSpec, class_names, slugs, colors)),
        "thresholds": (0.5,) * len(class_names),
    }
    return ModelSpec(**{**values, **overrides})


def spec_from_dict(payload: Any) -> ModelSpec:
    """Read and check what :meth:`ModelSpec.to_dict` wrote."""
    data = as_object(payload, SpecError, "The model's spec")
    version = take(data, "format_version", int, SpecError, "spec")
    if version > FORMAT_VERSION:
        raise SpecError(
            f"The model folder has format {version}, this version reads up to {FORMAT_VERSION}: "
            "update the plugin."
        )
    return ModelSpec(
        s2=tuple(_channel_from_dict(item) for item in take(data, "s2", list, SpecError, "spec")),
        s1=tuple(_channel_from_dict(item) for item in take(data, "s1", list, SpecError, "spec")),
        classes=tuple(
            _class_from_dict(item) for item in take(data, "classes", list, SpecError, "spec")
        ),
        thresholds=_numbers(take(data, "thresholds", list, SpecError, "spec"), "thresholds"),
        **_optional_values(data),
    )


def unit_of(name: str) -> str:
    """Return the unit of a channel: DN = reflectance x 10000, dB, or 1 for an index."""
    return "1" if name in INDEX_BANDS else "dB" if name in S1_BANDS else "DN"


def _channel(name: str) -> ChannelSpec:
    if name not in STATISTICS:
        raise SpecError(f"Channel '{name}' is unknown; known are {', '.join(STATISTICS)}.")
    unit = unit_of(name)
    mean, std = STATISTICS[name]
    return ChannelSpec(name, unit, mean, std, "bilinear" if unit == "dB" else "nearest")


def _check_channels(s2: tuple[ChannelSpec, ...], s1: tuple[ChannelSpec, ...]) -> None:
    names = [channel.name for channel in (*s2, *s1)]
    for channel in (*s2, *s1):
        unit = unit_of(channel.name)
        if channel.name in STATISTICS and channel.unit != unit:
            raise SpecError(
                f"Channel {channel.name} is in '{channel.unit}', but only '{unit}' is prepared "
                "for it: convert the model's mean and std to that unit."
            )
    known_s2 = {*S2_BANDS, *INDEX_BANDS}
    unknown = [c.name for c in s2 if c.name not in known_s2]
    unknown += [c.name for c in s1 if c.name not in S1_BANDS]
    if unknown:
        raise SpecError(
            f"The model wants channels that are not known here: {', '.join(unknown)}. Known are "
            f"{', '.join((*S2_BANDS, *INDEX_BANDS, *S1_BANDS))}. Update the plugin, or choose "
            "another model."
        )
    if len(set(names)) != len(names):
        raise SpecError(f"A channel stands twice in the spec: {', '.join(names)}.")
    if tuple(names[:3]) != RGB or len(s2) < 3:
        raise SpecError(f"The first three Sentinel-2 channels must be {', '.join(RGB)}.")


def _check_classes(classes: tuple[ClassSpec, ...], thresholds: tuple[float, ...]) -> None:
    if len(classes) < 2:
        raise SpecError(f"A model needs at least 2 classes, this one has {len(classes)}.")
    if len(classes) > MAX_CLASSES:
        raise SpecError(
            f"A model can have {MAX_CLASSES} classes, this one has {len(classes)}: a result has a "
            "column for each, and its file has no more of them."
        )
    names = [looks_like(item.name) for item in classes]
    if len(set(names)) != len(names):
        raise SpecError(
            "Two classes have the same name (upper and lower case, and spaces, count as equal)."
        )
    if slugify(item.name for item in classes) != tuple(item.slug for item in classes):
        raise SpecError("A class slug does not follow from its name: save the model again.")
    if len(thresholds) != len(classes):
        raise SpecError(f"{len(classes)} classes need as many thresholds, not {len(thresholds)}.")
    if not all(0.0 <= value <= 1.0 for value in thresholds):
        raise SpecError("Every threshold must lie between 0 and 1.")


def _channel_from_dict(payload: Any) -> ChannelSpec:
    data = as_object(payload, SpecError, "A channel")
    where = f"channel {data.get('name')}"
    return ChannelSpec(
        name=take(data, "name", str, SpecError, where),
        unit=take(data, "unit", str, SpecError, where),
        mean=_float(take(data, "mean", _NUMBER, SpecError, where), "mean", where),
        std=_float(take(data, "std", _NUMBER, SpecError, where), "std", where),
        resampling=take(data, "resampling", str, SpecError, where),
    )


def _class_from_dict(payload: Any) -> ClassSpec:
    data = as_object(payload, SpecError, "A class")
    return ClassSpec(
        *(take(data, key, str, SpecError, "class") for key in ("name", "slug", "color"))
    )


def _optional_values(data: Mapping[str, Any]) -> dict[str, Any]:
    kinds: dict[str, Any] = {
        "task": str,
        "temperature": _NUMBER,
        "calibrated": bool,
        "tile_size": int,
        "ground_resolution": _NUMBER,
        "license": str,
        "provenance": dict,
        "metrics": dict,
        "weights_sha256": str,
    }
    values = {
        key: take(data, key, kind, SpecError, "spec") for key, kind in kinds.items() if key in data
    }
    return {
        key: _float(value, key, "spec") if kinds[key] is _NUMBER else value
        for key, value in values.items()
    }


def _numbers(values: list[Any], key: str) -> tuple[float, ...]:
    if not all(isinstance(value, _NUMBER) and not isinstance(value, bool) for value in values):
        raise SpecError(f"spec: '{key}' must be a list of numbers.", key=key)
    return tuple(_float(value, key, "spec") for value in values)


def _float(value: float, key: str, where: str) -> float:
    try:
        return float(value)
    except OverflowError as problem:
        raise SpecError(f"{where}: '{key}' is too large for a number.", key=key) from problem
