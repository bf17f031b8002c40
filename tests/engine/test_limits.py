"""Numbers that make no network: refused by name, before anything is allocated for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from multimodal import MultiModalModel
from multimodal.backbones import Dinov3Backbone
from multimodal.config import Dinov3Config, ModelConfig
from multimodal.contract.errors import ConfigError, WeightsUnavailableError
from multimodal.contract.spec import default_spec

VIT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip
CONVNEXT = {
    "model_type": "dinov3_convnext", "hidden_sizes": [8, 8, 16, 24], "depths": [1, 1, 1, 1],
}  # fmt: skip
RGB = default_spec().s2[:3]
HUGE = 10**400
NAN, INFINITE = float("nan"), float("inf")


def dinov3(config: dict[str, Any], **options: Any) -> Dinov3Backbone:
    return Dinov3Backbone(
        Dinov3Config(model_name="mine", config=config, **options), RGB, pretrained=False
    )


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("num_hidden_layers", 0, "1 or more"),
        ("num_hidden_layers", 10**9, "at most 1000"),
        ("intermediate_size", 0, "1 or more"),
        ("intermediate_size", True, "a whole number, not True"),
        ("hidden_size", HUGE, "at most 16384, not a number of about 10 to the 400"),
        pytest.param("hidden_size", 10**5000, "at most 16384", id="digits"),
        ("hidden_size", -32, "1 or more"),
        ("num_attention_heads", 0, "1 or more"),
        ("num_register_tokens", -1, "0 or more"),
        ("patch_size", 0, "1 or more"),
        ("patch_size", [16, 16], "a whole number"),
        ("patch_size", 16.0, "a whole number"),
        ("attention_dropout", 1.5, "at least 0 and under 1"),
        ("attention_dropout", NAN, "at least 0 and under 1"),
        ("drop_path_rate", -0.1, "at least 0 and under 1"),
        ("drop_path_rate", HUGE, "at least 0 and under 1"),
        ("layer_norm_eps", 0.0, "a positive number"),
        ("layer_norm_eps", NAN, "a positive number"),
        ("layer_norm_eps", "small", "a number"),
        ("rope_theta", INFINITE, "a positive number"),
        ("rope_theta", 1e300, "a positive number"),
        ("layerscale_value", -1.0, "a positive number"),
        ("initializer_range", -0.02, "0 or more"),
        ("pos_embed_rescale", 0.5, "1 or more"),
        ("pos_embed_jitter", 0.0, "1 or more"),
        ("pos_embed_shift", -1.0, "0 or more"),
        ("hidden_act", "magic", "choose from gelu, .*silu"),
        ("hidden_act", None, "choose from gelu, .*silu"),
        ("num_channels", 4, "must be 3"),
    ],
)
def test_impossible_vit_fields_are_named_at_once(key: str, value: Any, said: str) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=said) as caught:
        dinov3({"model_type": "dinov3_vit", **VIT, key: value})
    assert f"'backbones.dinov3.config.{key}'" in caught.value.message
    assert caught.value.details["key"] == f"backbones.dinov3.config.{key}"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("depths", [1, 1], "as many numbers as 'hidden_sizes' has"),
        ("depths", [1, 1, 0, 1], "1 or more"),
        ("depths", [1, 1, 1.0, 1], "a whole number"),
        ("depths", [1, 1, HUGE, 1], "at most 1000"),
        ("depths", [], "a list with a number for each of 1 to 8 stages"),
        ("hidden_sizes", [8, 8, -16, 24], "1 or more"),
        ("hidden_sizes", [8, 8, 16, 1 << 20], "at most 16384"),
        ("hidden_sizes", 8, "a list with a number for each of 1 to 8 stages"),
        ("hidden_sizes", [8] * 9, "a list with a number for each of 1 to 8 stages"),
        ("layer_scale_init_value", NAN, "a positive number"),
        ("layer_norm_eps", -1.0, "a positive number"),
        ("drop_path_rate", 1.0, "at least 0 and under 1"),
        ("hidden_act", "magic", "choose from gelu"),
    ],
)
def test_impossible_convnext_fields_are_named(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        dinov3({**CONVNEXT, key: value})
    assert caught.value.details["key"] == f"backbones.dinov3.config.{key}"


def test_what_the_constructor_throws_is_blamed_on_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"'backbones\.dinov3\.config' cannot be built") as caught:
        dinov3({"model_type": "dinov3_vit", **VIT, "image_size": [1, 2, 3]})
    assert caught.value.details["key"] == "backbones.dinov3.config"


@pytest.mark.parametrize(
    ("config", "size", "said"),
    [
        ({"patch_size": 14}, 128, "224, another multiple of 14 from 14"),
        ({"patch_size": 32}, 144, "128, 224, 256, another multiple of 32 from 32"),
        (CONVNEXT, 16, "128, 224, 256, another multiple of 16 from 32"),
        ({}, 1 << 20, "to 4096"),
        ({}, HUGE, "to 4096"),
    ],
)
def test_an_input_size_that_is_not_made_of_patches_is_refused(
    config: dict[str, Any], size: int, said: str
) -> None:
    whole = config if "depths" in config else {"model_type": "dinov3_vit", **VIT, **config}
    with pytest.raises(ConfigError, match=said) as caught:
        dinov3(whole, input_size=size)
    assert caught.value.details["key"] == "backbones.dinov3.input_size"


def test_patches_of_another_size_work_and_those_of_a_folder_count(tmp_path: Path) -> None:
    own = dinov3({"model_type": "dinov3_vit", **VIT, "patch_size": 14}, input_size=126)
    assert own.eval()(torch.zeros(1, 3, 120, 120)).shape == (1, 32)
    own.model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="multiple of 14"):
        Dinov3Backbone(Dinov3Config(model_name=str(tmp_path)), RGB, pretrained=True)


@pytest.mark.parametrize("content", [{"hidden_size": "big"}, {"hidden_size": None}, {"depths": 3}])
def test_a_folder_whose_configuration_is_none_is_explained(tmp_path: Path, content: Any) -> None:
    kind = "dinov3_convnext" if "depths" in content else "dinov3_vit"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, **content}))
    with pytest.raises((ConfigError, WeightsUnavailableError), match=tmp_path.name):
        Dinov3Backbone(Dinov3Config(model_name=str(tmp_path)), RGB, pretrained=True)


@pytest.mark.parametrize(
    ("payload", "key", "said"),
    [
        ({"classifier": {"hidden_dim": 10**12}}, "classifier.hidden_dim", "at most 65536"),
        ({"classifier": {"num_classes": 10**9}}, "classifier.num_classes", "at most 10000"),
        ({"classifier": {"drop_rate": HUGE}}, "classifier.drop_rate", "too large"),
        ({"classifier": {"lr": HUGE}}, "classifier.lr", "10 to the 400, too large"),
        ({"classifier": {"lr": 10**5000}}, "classifier.lr", "too large"),
        ({"fusion": {"lr": -HUGE}}, "fusion.lr", "too large"),
        (
            {"fusion": {"type": "linear_projection", "output_dim": HUGE}},
            "fusion.output_dim",
            "at most 65536",
        ),
        ({"backbones": {"resnet101": {"width": 1 << 20}}}, "backbones.resnet101.width", "1024"),
        (
            {"backbones": {"resnet101": {"layers": [1, 1, HUGE, 1]}}},
            "backbones.resnet101.layers",
            "at most 1000",
        ),
        ({"backbones": {"dinov3": {"gain": 1e300}}}, "backbones.dinov3.gain", "at most 10000"),
        ({"backbones": {"dinov3": {"input_size": HUGE}}}, "backbones.dinov3.input_size", "4096"),
        ({"image_size": 4097}, "image_size", "at most 4096"),
        ({"image_size": HUGE}, "image_size", "at most 4096"),
        ({"modality_dropout": HUGE}, "modality_dropout", "too large"),
        ({"fusion": {"type": 10**5000}}, "fusion.type", "a text"),
    ],
)
def test_numbers_that_are_too_large_are_refused_by_name(
    payload: dict[str, Any], key: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        ModelConfig.from_dict(payload)
    assert f"'{key}'" in caught.value.message
    assert caught.value.details["key"] == key


@pytest.mark.parametrize("change", [{"std": 1e43}, {"std": 1e-60}, {"mean": -1e50}])
def test_a_gain_that_leaves_float32_with_the_statistics_is_refused(
    tiny_config: Callable[..., dict[str, Any]], change: dict
) -> None:
    spec = default_spec()
    spec = replace(spec, s2=(replace(spec.s2[0], **change), *spec.s2[1:]))
    with pytest.raises(ConfigError, match=r"'backbones\.dinov3\.gain' times"):
        MultiModalModel(tiny_config(dinov3={"normalization": "lvd"}), spec)
