"""The nested configuration dict: defaults of the brief, and errors that name the key."""

from __future__ import annotations

import copy
import json

import pytest

from multimodal.config import ModelConfig
from multimodal.contract.errors import ConfigError


def test_defaults_are_those_of_the_brief():
    config = ModelConfig.from_dict(None)
    dinov3, resnet = config.backbones.dinov3, config.backbones.resnet101
    assert dinov3.model_name == "facebook/dinov3-vitb16-pretrain-lvd1689m"
    assert (dinov3.pretrained, dinov3.freeze, dinov3.lr) == (True, False, 1e-4)
    assert (dinov3.input_size, dinov3.normalization, dinov3.pooling) == (128, "dataset", "cls")
    assert (resnet.arch, resnet.pretrained, resnet.freeze, resnet.lr) == (
        "resnet101", True, False, 1e-4,
    )  # fmt: skip
    assert (resnet.width, resnet.layers) == (64, None)
    assert (config.fusion.type, config.fusion.normalize, config.fusion.lr) == ("concat", True, 1e-3)
    head = config.classifier
    assert (head.type, head.hidden_dim, head.drop_rate, head.lr) == ("linear", 512, 0.15, 1e-3)


def test_a_part_of_the_dict_leaves_the_rest_at_its_defaults():
    config = ModelConfig.from_dict({"backbones": {"resnet101": {"lr": 1}}, "image_size": 64})
    assert config.backbones.resnet101.lr == 1.0
    assert config.image_size == 64
    assert config.backbones.dinov3 == ModelConfig().backbones.dinov3


def test_to_dict_survives_json():
    config = ModelConfig.from_dict(
        {
            "backbones": {
                "dinov3": {"config": {"hidden_size": 48}},
                "resnet101": {"layers": [1, 1, 1, 1]},
            },
            "fusion": {"type": "linear_projection", "output_dim": 32},
        }
    )
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_dict_of_the_caller_is_neither_changed_nor_kept():
    payload = {"backbones": {"dinov3": {"config": {"hidden_size": 48}}}}
    before = copy.deepcopy(payload)
    config = ModelConfig.from_dict(payload)
    assert payload == before
    payload["backbones"]["dinov3"]["config"]["hidden_size"] = 64
    assert config.backbones.dinov3.config == {"hidden_size": 48}


@pytest.mark.parametrize(
    ("payload", "key", "said"),
    [
        ({"fuson": {}}, "fuson", "backbones, fusion, classifier, image_size"),
        ({"backbones": {"resnet": {}}}, "backbones.resnet", "dinov3, resnet101"),
        ({"backbones": {"dinov3": {"learning_rate": 1}}}, "backbones.dinov3.learning_rate", "lr"),
        ({"fusion": {"type": "attention"}}, "fusion.type", "concat, weighted, linear_projection"),
        ({"classifier": {"type": "tree"}}, "classifier.type", "linear, mlp"),
        ({"backbones": {"resnet101": {"arch": "vgg"}}}, "backbones.resnet101.arch", "resnet152"),
        ({"backbones": {"dinov3": {"pooling": "max"}}}, "backbones.dinov3.pooling", "cls+mean"),
        (
            {"backbones": {"dinov3": {"normalization": "imagenet"}}},
            "backbones.dinov3.normalization",
            "dataset, lvd, sat",
        ),
        ({"backbones": []}, "backbones", "must be a dict, not list"),
        ({"backbones": {"dinov3": {"lr": "1e-4"}}}, "backbones.dinov3.lr", "must be a number"),
        ({"backbones": {"dinov3": {"lr": True}}}, "backbones.dinov3.lr", "must be a number"),
        ({"backbones": {"dinov3": {"lr": 0}}}, "backbones.dinov3.lr", "positive"),
        ({"backbones": {"dinov3": {"lr": float("nan")}}}, "backbones.dinov3.lr", "positive"),
        ({"backbones": {"dinov3": {"freeze": 1}}}, "backbones.dinov3.freeze", "True or False"),
        ({"backbones": {"dinov3": {"input_size": 120}}}, "backbones.dinov3.input_size", "128, 224"),
        (
            {"backbones": {"dinov3": {"input_size": "big"}}},
            "backbones.dinov3.input_size",
            "a whole number or None",
        ),
        ({"backbones": {"dinov3": {"config": 3}}}, "backbones.dinov3.config", "a dict"),
        ({"backbones": {"resnet101": {"width": 0}}}, "backbones.resnet101.width", "1 or more"),
        (
            {"backbones": {"resnet101": {"layers": [3, 4, 6]}}},
            "backbones.resnet101.layers",
            "four block counts",
        ),
        (
            {"backbones": {"resnet101": {"layers": [3, 4, 6.5, 3]}}},
            "backbones.resnet101.layers",
            "a list of whole numbers",
        ),
        ({"fusion": {"type": "concat", "output_dim": 8}}, "fusion.output_dim", "linear_projection"),
        ({"classifier": {"num_classes": 1}}, "classifier.num_classes", "2 or more"),
        ({"classifier": {"num_classes": 19.0}}, "classifier.num_classes", "a whole number"),
        ({"classifier": {"drop_rate": 1}}, "classifier.drop_rate", "under 1"),
        ({"image_size": 0}, "image_size", "1 or more"),
    ],
)
def test_every_defect_names_its_key_and_the_choices(payload, key, said):
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict(payload)
    assert f"'{key}'" in caught.value.message
    assert said in caught.value.message
    assert caught.value.details["key"] == key
