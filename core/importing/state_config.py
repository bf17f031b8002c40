"""The configuration that a state dict was made with, as far as its tensors tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..config import RESNETS
from ..contract.errors import ConfigError
from .state_dinov3 import (
    Nested,
    Shapes,
    Understood,
    numbers,
    part,
    shape_of,
    understand_dinov3,
)

_REST = "resnet_backbone."


def understand(state: Mapping[str, Tensor], said: Mapping[str, Any]) -> Understood:
    """Read a configuration from the tensors of a whole model.

    Args:
        state: keys of :class:`MultiModalModel`, DINOv3's as :func:`plain_name` gives them.
        said: the nested dict, as far as it is known; it may be empty.

    Raises:
        ConfigError: a tensor is missing, or they leave open what only a configuration can tell.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    backbones = part(said, "backbones")
    dinov3 = understand_dinov3(shapes, part(backbones, "dinov3"))
    architecture = dinov3.facts["config"]
    width = architecture.get("hidden_size") or architecture["hidden_sizes"][-1]
    resnet, resnet_width = _resnet(shapes, part(backbones, "resnet101"))
    classifier, fused = _classifier(shapes)
    fusion = _fusion(shapes)
    dinov3.facts["pooling"] = _pooling(shapes, fusion["type"], fused, width, resnet_width)
    return Understood(
        {
            "backbones": {"dinov3": dinov3.facts, "resnet101": resnet},
            "fusion": fusion,
            "classifier": classifier,
        },
        {"backbones": {"dinov3": dinov3.rest, "resnet101": {"pretrained": False}}},
        dinov3.assumed,
    )


def _resnet(shapes: Shapes, said: Mapping[str, Any]) -> tuple[Nested, int]:
    width, channels, _, _ = shape_of(shapes, f"{_REST}conv1.weight", 4)
    is_bottleneck = f"{_REST}layer1.0.conv3.weight" in shapes
    layers = tuple(len(numbers(shapes, f"{_REST}layer{stage}.")) for stage in (1, 2, 3, 4))
    if not all(layers):
        raise ConfigError(
            f"The keys under '{_REST}' in the checkpoint are no ResNet of torchvision: "
            "one of layer1 to layer4 is missing."
        )
    alike = [arch for arch, (bottleneck, _) in RESNETS.items() if bottleneck == is_bottleneck]
    stock = [arch for arch in alike if RESNETS[arch][1] == layers]
    arch = said["arch"] if said.get("arch") in alike and said.get("layers") else None
    arch = arch or (stock or alike)[0]
    facts: Nested = {"arch": arch, "width": width, "in_channels": channels}
    if RESNETS[arch][1] != layers:
        facts["layers"] = list(layers)
    return facts, 8 * width * (4 if is_bottleneck else 1)


def _classifier(shapes: Shapes) -> tuple[Nested, int]:
    """Return the facts about the head, and the width of what it takes."""
    classes, width = shape_of(shapes, "classifier.fc.weight", 2)
    if "classifier.hidden.weight" not in shapes:
        return {"type": "linear", "num_classes": classes}, width
    hidden, width = shape_of(shapes, "classifier.hidden.weight", 2)
    return {"type": "mlp", "hidden_dim": hidden, "num_classes": classes}, width


def _fusion(shapes: Shapes) -> Nested:
    # A module of its own for each branch has keys; nn.Identity, where there is none, has not.
    facts: Nested = {"normalize": bool(numbers(shapes, "fusion.norms."))}
    if "fusion.weights" in shapes:
        return {"type": "weighted", **facts}
    if not numbers(shapes, "fusion.projections."):
        return {"type": "concat", **facts}
    width = shape_of(shapes, "fusion.projections.0.weight", 2)[0]
    return {"type": "linear_projection", "output_dim": width, **facts}


def _rgb_widths(shapes: Shapes, kind: str, fused: int, resnet: int) -> Iterator[int]:
    """Yield what the tensors say about the width of the RGB embedding, the plainest first."""
    if "fusion.norms.0.weight" in shapes:
        yield shape_of(shapes, "fusion.norms.0.weight", 1)[0]
    if "fusion.projections.0.weight" in shapes:
        yield shape_of(shapes, "fusion.projections.0.weight", 2)[1]
    yield fused - resnet if kind == "concat" else fused


def _pooling(shapes: Shapes, kind: str, fused: int, width: int, resnet: int) -> str:
    found = next(_rgb_widths(shapes, kind, fused, resnet))
    poolings = {width: "cls", 2 * width: "cls+mean"}
    if found not in poolings:
        raise ConfigError(
            f"The fusion in the checkpoint takes {found} values from DINOv3, which is {width} "
            f"wide: neither the pooling 'cls' ({width}) nor 'cls+mean' ({2 * width}) gives that. "
            "The parts of the checkpoint do not belong together."
        )
    return poolings[found]
