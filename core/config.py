"""The nested configuration dict as validated, frozen dataclasses.

Every defect is a :class:`ConfigError` that names the key by its full path and the choices.
The caller's dict is read, never kept and never changed.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .config_checks import as_float, between, one_of, positive, share, shown
from .contract.errors import ConfigError
from .contract.spec import MAX_TILE

NORMALIZATIONS = ("dataset", "lvd", "sat")
POOLINGS = ("cls", "cls+mean")
RESNETS: Mapping[str, tuple[bool, tuple[int, ...]]] = {
    "resnet18": (False, (2, 2, 2, 2)),
    "resnet34": (False, (3, 4, 6, 3)),
    "resnet50": (True, (3, 4, 6, 3)),
    "resnet101": (True, (3, 4, 23, 3)),
    "resnet152": (True, (3, 8, 36, 3)),
}
"""Name -> whether its blocks are bottlenecks, and how many there are in each stage."""
FUSIONS = ("concat", "weighted", "linear_projection")
HEADS = ("linear", "mlp")
ALL_BUT_STEM = "all but stem"
DEFAULT_CLASSES = 19
DEFAULT_IMAGE_SIZE = 120
PATCH_SIZE = 16
MAX_CLASSES = 10_000
MAX_WIDTH = 1 << 16
MAX_RESNET_WIDTH = 1024
MAX_BLOCKS = 1000
MAX_GAIN = 10_000.0
"""Limits far over any use: what is larger is a slip, and would end in a failed allocation."""

T = TypeVar("T")


@dataclass(frozen=True)
class Dinov3Config:
    """The RGB branch.

    ``model_name`` is a hub id or a local folder; ``config`` overrides fields of transformers'
    ``DINOv3ViTConfig`` (or ConvNeXt's). ``input_size`` None leaves the tile as it is: 120 px
    then lose their last 8 px to patches of 16. ``gain`` is used by ``lvd`` and ``sat`` only:
    RGB = reflectance x gain, clipped to 0-1. ``revision`` is a branch, tag or commit of the hub;
    a loaded model holds the commit it got. ``weights`` is a local file that takes the place of
    the hub's: the ``.pth`` of the dinov3 project, or a state dict of transformers.
    """

    model_name: str = "facebook/dinov3-vitb16-pretrain-lvd1689m"
    revision: str | None = None
    weights: str | None = None
    pretrained: bool = True
    freeze: bool = False
    lr: float = 1e-4
    input_size: int | None = 128
    normalization: str = "dataset"
    gain: float = 2.5
    pooling: str = "cls"
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = "backbones.dinov3"
        positive(f"{where}.lr", self.lr)
        positive(f"{where}.gain", self.gain, MAX_GAIN)
        one_of(f"{where}.normalization", self.normalization, NORMALIZATIONS)
        one_of(f"{where}.pooling", self.pooling, POOLINGS)
        patch = self.config.get("patch_size")
        check_input_size(self.input_size, patch if type(patch) is int and patch > 0 else PATCH_SIZE)


def check_input_size(size: int | None, step: int, least: int | None = None) -> None:
    """Refuse a size that is no multiple of ``step``, under ``least`` or over the largest tile."""
    least = step if least is None else least
    if size is not None and (not least <= size <= MAX_TILE or size % step):
        key = "backbones.dinov3.input_size"
        common = [
            str(choice) for choice in (128, 224, 256) if choice >= least and not choice % step
        ]
        raise ConfigError(
            f"'{key}' must be {', '.join([*common, 'another' if common else 'a'])} multiple of "
            f"{step} from {least} to {MAX_TILE}, or None for the size of the tile, "
            f"not {shown(size)}.",
            key=key,
        )


@dataclass(frozen=True)
class ResNetConfig:
    """The branch of all other channels.

    ``layers`` overrides the blocks per stage of ``arch``; ``width`` 64 is torchvision's.
    ``in_channels`` None means what the spec says. ``weights`` is a local checkpoint that takes
    the place of ImageNet's: a file or folder of torchvision, timm or BIFOLD's reBEN models;
    ``weights_channels`` names the channels that it was trained on, in order, where it is neither
    RGB nor reBEN's. ``freeze`` "all but stem" leaves ``conv1`` and ``bn1`` to learn.
    """

    arch: str = "resnet101"
    pretrained: bool = True
    weights: str | None = None
    weights_channels: tuple[str, ...] | None = None
    freeze: bool | str = False
    lr: float = 1e-4
    layers: tuple[int, ...] | None = None
    width: int = 64
    in_channels: int | None = None

    def __post_init__(self) -> None:
        where = "backbones.resnet101"
        positive(f"{where}.lr", self.lr)
        one_of(f"{where}.arch", self.arch, tuple(RESNETS))
        if self.freeze not in (True, False, ALL_BUT_STEM):
            raise ConfigError(
                f"'{where}.freeze' must be True, False or '{ALL_BUT_STEM}', not '{self.freeze}'.",
                key=f"{where}.freeze",
            )
        between(f"{where}.width", self.width, 1, MAX_RESNET_WIDTH)
        between(f"{where}.in_channels", self.in_channels, 1, MAX_WIDTH)
        blocks = self.layers
        if blocks is not None and not (
            len(blocks) == 4 and 1 <= min(blocks) <= max(blocks) <= MAX_BLOCKS
        ):
            raise ConfigError(
                f"'{where}.layers' must be four block counts of 1 or more, at most {MAX_BLOCKS}, "
                f"like [3, 4, 23, 3], not [{', '.join(map(shown, blocks))}].",
                key=f"{where}.layers",
            )


@dataclass(frozen=True)
class BackbonesConfig:
    """Both branches; the key ``resnet101`` holds whatever ``arch`` is."""

    dinov3: Dinov3Config = field(default_factory=Dinov3Config)
    resnet101: ResNetConfig = field(default_factory=ResNetConfig)


@dataclass(frozen=True)
class FusionConfig:
    """How the embeddings meet. ``normalize`` puts a LayerNorm on each before they are mixed."""

    type: str = "concat"
    output_dim: int | None = None
    normalize: bool = True
    lr: float = 1e-3

    def __post_init__(self) -> None:
        one_of("fusion.type", self.type, FUSIONS)
        between("fusion.output_dim", self.output_dim, 1, MAX_WIDTH)
        positive("fusion.lr", self.lr)
        if self.output_dim is not None and self.type != "linear_projection":
            raise ConfigError(
                f"'fusion.output_dim' belongs to the type 'linear_projection'; the width of "
                f"'{self.type}' follows from the backbones. Leave it out or change the type.",
                key="fusion.output_dim",
            )


@dataclass(frozen=True)
class ClassifierConfig:
    """The head. ``num_classes`` None means as many as the spec names, 19 without one."""

    type: str = "linear"
    hidden_dim: int = 512
    num_classes: int | None = None
    drop_rate: float = 0.15
    lr: float = 1e-3

    def __post_init__(self) -> None:
        one_of("classifier.type", self.type, HEADS)
        between("classifier.hidden_dim", self.hidden_dim, 1, MAX_WIDTH)
        between("classifier.num_classes", self.num_classes, 2, MAX_CLASSES)
        positive("classifier.lr", self.lr)
        share("classifier.drop_rate", self.drop_rate)


@dataclass(frozen=True)
class ModelConfig:
    """The whole configuration.

    ``image_size`` None means the spec's tile size, 120 without one. ``modality_dropout`` is the
    chance that a tile loses one sensor in training; more than 0 allows one to be missing later.
    """

    backbones: BackbonesConfig = field(default_factory=BackbonesConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    image_size: int | None = None
    modality_dropout: float = 0.0

    def __post_init__(self) -> None:
        between("image_size", self.image_size, 1, MAX_TILE)
        share("modality_dropout", self.modality_dropout)

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any] | None) -> ModelConfig:
        """Read the nested dict; what it leaves out gets the defaults."""
        return _read(cls, {} if payload is None else payload, "")

    def to_dict(self) -> dict[str, Any]:
        """Return the nested dict, every default written out, fit for JSON."""
        data = asdict(self)
        resnet = data["backbones"]["resnet101"]
        for key in ("layers", "weights_channels"):
            resnet[key] = None if resnet[key] is None else list(resnet[key])
        return data


def block_count(config: ModelConfig) -> int:
    """Return how many blocks the backbones have at least, without building any of them."""
    resnet, dinov3 = config.backbones.resnet101, config.backbones.dinov3.config
    counts = [*(resnet.layers or RESNETS[resnet.arch][1]), dinov3.get("num_hidden_layers")]
    depths = dinov3.get("depths")
    counts += depths if isinstance(depths, list) else []
    return sum(count for count in counts if type(count) is int and count > 0)


def _read(cls: type[T], payload: Any, where: str) -> T:
    if not isinstance(payload, Mapping):
        raise ConfigError(
            f"'{where or 'config'}' must be a dict, not {type(payload).__name__}.", key=where
        )
    hints = get_type_hints(cls)
    prefix = f"{where}." if where else ""
    for key in payload:
        if key not in hints:
            raise ConfigError(
                f"Unknown key '{prefix}{key}'; choose from {', '.join(hints)}.",
                key=f"{prefix}{key}",
            )
    return cls(**{key: _value(payload[key], hints[key], prefix + key) for key in payload})


def _value(value: Any, hint: Any, where: str) -> Any:
    if isinstance(hint, type) and is_dataclass(hint):
        return _read(hint, value, where)
    for kind in _alternatives(hint):
        if _matches(value, kind):
            return _converted(value, kind, where)
    names = " or ".join(_NAMES[str(kind)] for kind in _alternatives(hint))
    raise ConfigError(
        f"'{where}' must be {names}, not {shown(value)} ({type(value).__name__}).", key=where
    )


_NAMES = {
    str(kind): name
    for kind, name in (
        (str, "a text"),
        (bool, "True or False"),
        (int, "a whole number"),
        (float, "a number"),
        (tuple[int, ...], "a list of whole numbers"),
        (tuple[str, ...], "a list of texts"),
        (Mapping[str, Any], "a dict"),
        (type(None), "None"),
    )
}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _matches(value: Any, kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if origin is Mapping:
        return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    if isinstance(value, bool):  # a bool is an int to Python, but never a number to us
        return kind is bool
    if origin is tuple:
        of = get_args(kind)[0]
        return isinstance(value, (list, tuple)) and all(_matches(item, of) for item in value)
    return isinstance(value, (int, float) if kind is float else kind)


def _converted(value: Any, kind: Any, where: str) -> Any:
    origin = get_origin(kind) or kind
    if origin is Mapping:
        return copy.deepcopy(dict(value))
    if origin is tuple:
        return tuple(value)
    return as_float(where, value) if kind is float else value
