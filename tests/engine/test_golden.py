"""Numbers of a tiny model that must stay: whoever changes them changes everybody's models.

Weights and inputs come from sines and not from a random generator, whose numbers may change
with torch. ``python tests/engine/test_golden.py`` writes the file anew, for a change that is meant.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multimodal import MultiModalModel

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "tiny_models.json"
VIT = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
CONVNEXT = {
    "model_type": "dinov3_convnext", "hidden_sizes": [4, 8, 8, 16], "depths": [1, 1, 1, 1],
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "concat, linear": {"fusion": {"type": "concat"}},
    "plain concat, linear": {"fusion": {"type": "concat", "normalize": False}},
    "weighted, mlp": {
        "fusion": {"type": "weighted"}, "classifier": {"type": "mlp", "hidden_dim": 8},
    },
    "linear_projection, mlp": {
        "fusion": {"type": "linear_projection", "output_dim": 12},
        "classifier": {"type": "mlp", "hidden_dim": 8},
    },
    "sat colours at 224 px, patches too": {
        "dinov3": {"normalization": "sat", "input_size": 224, "pooling": "cls+mean"},
    },
    "tile as it is": {"dinov3": {"input_size": None}},
    "convnext": {
        "dinov3": {
            "model_name": "facebook/dinov3-convnext-tiny-pretrain-lvd1689m", "config": CONVNEXT,
        },
    },
}  # fmt: skip


def sines(shape: torch.Size, phase: float, size: float = 1.0) -> Tensor:
    count = torch.arange(shape.numel(), dtype=torch.float64)
    return (size * torch.sin(0.7 * count + phase)).reshape(shape).float()


def build(parts: dict[str, Any]) -> MultiModalModel:
    own = {"pretrained": False, "config": VIT, **parts.get("dinov3", {})}
    resnet = {"pretrained": False, "arch": "resnet18", "width": 4}
    config = {
        "backbones": {"dinov3": own, "resnet101": resnet},
        "fusion": parts.get("fusion", {}),
        "classifier": {"num_classes": 3, **parts.get("classifier", {})},
    }
    model = MultiModalModel(config).eval()
    state = {
        name: sines(value.shape, zlib.crc32(name.encode()) % 1000, _size(name, value))
        if value.is_floating_point()
        else value
        for name, value in model.state_dict().items()
    }
    state = {name: v.abs() + 0.5 if "var" in name else v for name, v in state.items()}
    model.load_state_dict(state)
    return model


def _size(name: str, value: Tensor) -> float:
    """Keep activations of the order of one: a weight shrinks with what is summed over."""
    return 1.0 if value.ndim < 2 else (2.0 / value[0].numel()) ** 0.5


@torch.no_grad()
def numbers(parts: dict[str, Any]) -> dict[str, list[float]]:
    s1 = sines(torch.Size((2, 2, 120, 120)), 1.0)
    s2 = sines(torch.Size((2, 14, 120, 120)), 2.0)
    found, embeddings = build(parts)(s1, s2, return_embeddings=True)
    sums = {name: value.abs().mean(dim=1) for name, value in embeddings.items()}
    return {
        "logits": found.flatten().tolist(),
        **{name: value.tolist() for name, value in sums.items()},
    }


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_stay(case: str) -> None:
    expected = json.loads(GOLDEN.read_text())[case]
    found = numbers(CASES[case])
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-3, abs=1e-4), name


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    golden = {case: numbers(parts) for case, parts in CASES.items()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
