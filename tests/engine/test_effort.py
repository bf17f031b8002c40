"""What a tile costs is reckoned as torch counts it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from multimodal import MultiModalModel
from multimodal.effort import flop_per_tile

VIT = "facebook/dinov3-vits16plus-pretrain-lvd1689m"
CONVNEXT = "facebook/dinov3-convnext-tiny-pretrain-lvd1689m"
SMALL = {"num_hidden_layers": 2}


@pytest.mark.parametrize(
    ("dinov3", "resnet"),
    [
        ({"config": SMALL}, {}),
        ({"config": SMALL, "input_size": 224}, {"arch": "resnet50", "width": 16}),
        ({"config": SMALL, "input_size": None}, {"arch": "resnet18"}),
        ({"model_name": VIT, "config": SMALL}, {"arch": "resnet34", "layers": [1, 2, 1, 1]}),
        ({"model_name": CONVNEXT, "config": {"depths": [1, 2, 3, 1]}}, {"arch": "resnet152"}),
    ],
)
def test_the_count_is_that_of_torch(dinov3: dict[str, Any], resnet: dict[str, Any]) -> None:
    config = {"backbones": {"dinov3": dinov3, "resnet101": resnet}}
    with torch.device("meta"):
        model = MultiModalModel(config, load_backbones=False).eval()
        inputs = torch.empty(1, 2, 120, 120), torch.empty(1, 14, 120, 120)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    # torch does not count what a depthwise convolution has as groups, nor we the head.
    assert flop_per_tile(model.config.to_dict()) == pytest.approx(
        counter.get_total_flops(), rel=0.01
    )


def test_an_unknown_architecture_has_no_count() -> None:
    assert flop_per_tile({"backbones": {"dinov3": {"config": {"model_type": "other"}}}}) is None
    fields = {"hidden_size": "wide", "intermediate_size": 4, "num_hidden_layers": 1}
    assert flop_per_tile({"backbones": {"dinov3": {"config": fields}}}) is None
