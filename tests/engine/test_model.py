"""MultiModalModel and its parts, against torchvision and transformers on the same weights."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys
import textwrap

import huggingface_hub.constants
import pytest
import torch
from torch import nn

from multimodal import MultiModalModel
from multimodal.backbones import Dinov3Backbone, ResNetBackbone
from multimodal.backbones.dinov3_sizes import RELEASED
from multimodal.backbones.resnet_backbone import widen_conv1
from multimodal.config import Dinov3Config, FusionConfig, ResNetConfig
from multimodal.contract.errors import ConfigError, WeightsUnavailableError
from multimodal.contract.spec import default_spec
from multimodal.fusion import build_fusion
from multimodal.torchvision_guard import DINOv3ConvNextModel, DINOv3ViTConfig, DINOv3ViTModel

TINY_VIT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
RGB = default_spec().s2[:3]


def tiny_config(**parts):
    """Return a small offline configuration; ``dinov3`` and ``resnet101`` are merged in."""
    return {
        "backbones": {
            "dinov3": {"pretrained": False, "config": TINY_VIT, **parts.pop("dinov3", {})},
            "resnet101": {
                "pretrained": False,
                "arch": "resnet18",
                "width": 4,
                **parts.pop("resnet101", {}),
            },
        },
        **parts,
    }


def tiles(batch=2, size=64, s2=14):
    torch.manual_seed(0)
    return torch.randn(batch, 2, size, size), torch.randn(batch, s2, size, size)


def channels(count):
    return [f"channel {number}" for number in range(count)]


def tiny_dinov3(**options):
    torch.manual_seed(0)
    config = Dinov3Config(**{"config": TINY_VIT, "pretrained": False, **options})
    return Dinov3Backbone(config, RGB, pretrained=config.pretrained).eval()


@pytest.fixture
def offline(monkeypatch):
    """Switch the hub library to its offline mode: no waiting for a network that is not there."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


# --- the whole -------------------------------------------------------------------------------


def test_quick_start_shapes():
    model = MultiModalModel(tiny_config())
    s1_data, s2_data = tiles(batch=4, size=120)
    assert model(s1_data, s2_data).shape == (4, 19)
    logits, embeddings = model(s1_data, s2_data, return_embeddings=True)
    assert logits.shape == (4, 19)
    assert embeddings["dinov3"].shape == (4, 32)
    assert embeddings["resnet"].shape == (4, 32)
    assert embeddings["fused"].shape == (4, 64)


def test_the_default_model_offline_says_what_to_do(offline):
    with pytest.raises(WeightsUnavailableError) as caught:
        MultiModalModel()
    message = caught.value.message
    assert "facebook/dinov3-vitb16-pretrain-lvd1689m" in message
    assert "https://huggingface.co/facebook/dinov3-vitb16-pretrain-lvd1689m" in message
    assert "DINOv3 License" in message
    assert "folder" in message
    assert "'backbones.dinov3.pretrained' to False" in message


def test_no_network_is_touched_without_pretrained_weights(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a network was asked for")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    MultiModalModel(tiny_config())


def test_the_branches_see_their_channels_and_no_others():
    model = MultiModalModel(tiny_config()).eval()
    s1_data, s2_data = tiles()
    _, before = model(s1_data, s2_data, return_embeddings=True)
    s2_changed = s2_data.clone()
    s2_changed[:, :3] += 1
    _, rgb_changed = model(s1_data, s2_changed, return_embeddings=True)
    _, s1_changed = model(s1_data + 1, s2_data, return_embeddings=True)
    assert torch.equal(before["resnet"], rgb_changed["resnet"])
    assert not torch.allclose(before["dinov3"], rgb_changed["dinov3"])
    assert torch.equal(before["dinov3"], s1_changed["dinov3"])
    assert not torch.allclose(before["resnet"], s1_changed["resnet"])


def test_channels_and_classes_follow_the_spec():
    spec = default_spec(["water", "land"], s2_preset="s2-10", s1_names=("VV",), tile_size=64)
    model = MultiModalModel(tiny_config(), spec)
    assert model.resnet_backbone.conv1.in_channels == 8
    assert model.config.classifier.num_classes == 2
    assert model.config.image_size == 64
    assert model(torch.randn(2, 1, 64, 64), torch.randn(2, 10, 64, 64)).shape == (2, 2)


def test_class_names_without_a_spec():
    assert MultiModalModel(tiny_config()).spec.class_names[0] == "Agro-forestry areas"
    other = MultiModalModel(tiny_config(classifier={"num_classes": 3}))
    assert other.spec.class_names == ("class_0", "class_1", "class_2")


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        ({"classifier": {"num_classes": 5}}, "classifier.num_classes"),
        ({"resnet101": {"in_channels": 12}}, "backbones.resnet101.in_channels"),
        ({"image_size": 64}, "image_size"),
    ],
)
def test_a_configuration_that_contradicts_the_spec_is_refused(parts, key):
    with pytest.raises(ConfigError, match=f"'{key}'"):
        MultiModalModel(tiny_config(**parts), default_spec())


@pytest.mark.parametrize(
    ("s1_shape", "s2_shape", "said"),
    [
        ((2, 2, 64, 64), (2, 13, 64, 64), "s2_data .* B04, B03, B02"),
        ((2, 3, 64, 64), (2, 14, 64, 64), "s1_data .* VH, VV"),
        ((2, 64, 64), (2, 14, 64, 64), "s1_data"),
        ((1, 2, 64, 64), (2, 14, 64, 64), "same batch"),
        ((2, 2, 32, 64), (2, 14, 64, 64), "same batch"),
    ],
)
def test_wrong_shapes_are_refused_by_name(s1_shape, s2_shape, said):
    model = MultiModalModel(tiny_config())
    with pytest.raises(ConfigError, match=said):
        model(torch.zeros(s1_shape), torch.zeros(s2_shape))


def test_parameter_groups_hold_every_parameter_once_with_its_rate():
    config = tiny_config(
        dinov3={"lr": 1e-5}, resnet101={"lr": 2e-5}, fusion={"type": "weighted", "lr": 3e-3}
    )
    model = MultiModalModel(config)
    groups = model.get_parameter_groups()
    assert {group["name"]: group["lr"] for group in groups} == {
        "dinov3_backbone": 1e-5,
        "resnet_backbone": 2e-5,
        "fusion": 3e-3,
        "classifier": 1e-3,
    }
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in model.parameters())
    torch.optim.AdamW(groups)


def test_parameter_groups_leave_out_what_is_frozen_or_empty():
    config = tiny_config(
        dinov3={"freeze": True}, resnet101={"freeze": True}, fusion={"normalize": False}
    )
    assert [g["name"] for g in MultiModalModel(config).get_parameter_groups()] == ["classifier"]


def test_training_moves_every_trainable_parameter():
    model = MultiModalModel(tiny_config(classifier={"type": "mlp", "hidden_dim": 16}))
    unused = {"dinov3_backbone.model.embeddings.mask_token"}  # masks are for pre-training
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.get_parameter_groups())
    model(*tiles()).square().sum().backward()
    optimizer.step()
    still = {key for key, value in model.named_parameters() if torch.equal(value, before[key])}
    assert still - unused == set()


def test_frozen_backbones_stay_still_under_train():
    model = MultiModalModel(tiny_config(dinov3={"freeze": True}, resnet101={"freeze": True}))
    buffers = copy.deepcopy(dict(model.resnet_backbone.named_buffers()))
    model.train()
    assert model.training
    assert not any(m.training for m in model.dinov3_backbone.modules())
    assert not any(m.training for m in model.resnet_backbone.modules())
    _, first = model(*tiles(), return_embeddings=True)
    _, second = model(*tiles(), return_embeddings=True)
    for name in ("dinov3", "resnet"):
        assert torch.equal(first[name], second[name])
        assert not first[name].requires_grad
    for key, value in model.resnet_backbone.named_buffers():
        assert torch.equal(value, buffers[key])
    model(*tiles()).sum().backward()
    assert all(p.grad is None for p in model.dinov3_backbone.parameters())
    assert model.classifier.fc.weight.grad is not None


def test_a_trainable_dinov3_jitters_in_train_mode_which_is_why_frozen_ones_stay_in_eval():
    backbone = tiny_dinov3().train()
    rgb = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        for layer in backbone.model.modules():  # random init is too small for a clear effect
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(20)
        assert not torch.equal(backbone(rgb), backbone(rgb))
        backbone.freeze()
        backbone.train()
        assert torch.equal(backbone(rgb), backbone(rgb))


# --- DINOv3 ----------------------------------------------------------------------------------


def test_dinov3_equals_a_direct_transformers_call():
    backbone = tiny_dinov3()
    direct = DINOv3ViTModel(DINOv3ViTConfig(**TINY_VIT, num_register_tokens=4)).eval()
    direct.load_state_dict(backbone.model.state_dict())
    rgb = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        expected = direct(pixel_values=rgb)
        torch.testing.assert_close(backbone(rgb), expected.pooler_output, atol=1e-6, rtol=0)
        both = tiny_dinov3(pooling="cls+mean")
        both.model.load_state_dict(direct.state_dict())
        mean = expected.last_hidden_state[:, 5:].mean(dim=1)  # after CLS and four registers
        torch.testing.assert_close(both(rgb)[:, 32:], mean, atol=1e-6, rtol=0)
    assert both.output_dim == 64


@pytest.mark.parametrize("name", RELEASED)
def test_released_sizes_are_built_offline(name):
    with torch.device("meta"):
        backbone = Dinov3Backbone(Dinov3Config(model_name=name), RGB, pretrained=False)
        config = backbone.model.config
        width = backbone(torch.zeros(1, 3, 64, 64)).shape[1]
    widths = {"vits16": 384, "vits16plus": 384, "vitb16": 768, "vitl16": 1024, "vith16plus": 1280,
              "vit7b16": 4096, "tiny": 768, "small": 768, "base": 1024, "large": 1536}  # fmt: skip
    size = name.split("-pretrain")[0].split("-")[-1]
    assert width == backbone.output_dim == widths[size]
    if "convnext" not in name:
        assert config.num_register_tokens == 4
        assert config.use_gated_mlp == (size in ("vits16plus", "vith16plus", "vit7b16"))
        assert config.key_bias is False
        assert config.query_bias == config.value_bias == (size != "vit7b16")


def test_parameter_counts_of_released_sizes():
    """Published in the dinov3 model cards: 21 M, 86 M, 300 M, 840 M, 6716 M."""
    counts = {"vits16": 21, "vitb16": 86, "vitl16": 300, "vith16plus": 840, "vit7b16": 6716}
    for size, millions in counts.items():
        config = Dinov3Config(model_name=f"facebook/dinov3-{size}-pretrain-lvd1689m")
        with torch.device("meta"):
            model = Dinov3Backbone(config, RGB, pretrained=False)
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(millions * 1e6, rel=0.03)


def test_convnext_branch_runs_and_equals_transformers():
    small = {
        "model_type": "dinov3_convnext",
        "hidden_sizes": [8, 8, 16, 24],
        "depths": [1, 1, 1, 1],
    }
    backbone = tiny_dinov3(model_name="mine", config=small, input_size=None)
    assert isinstance(backbone.model, DINOv3ConvNextModel)
    rgb = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = backbone.model(pixel_values=rgb).pooler_output
        assert torch.equal(backbone(rgb), expected)
    assert expected.shape == (2, backbone.output_dim) == (2, 24)


def test_vitg16_names_what_there_is():
    with pytest.raises(ConfigError) as caught:
        tiny_dinov3(model_name="facebook/dinov3-vitg16-pretrain-lvd1689m")
    assert "never released" in caught.value.message
    assert "vith16plus" in caught.value.message
    assert "vit7b16" in caught.value.message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model_name": "vitb16"}, "neither a folder nor a released model"),
        ({"config": {"hidden": 3}}, r"Unknown key 'backbones\.dinov3\.config\.hidden'"),
        ({"config": {"hidden_size": "big"}}, "must be a whole number"),
        ({"config": {"use_gated_mlp": 3}}, "not possible"),
        ({"config": {"hidden_size": 30, "num_attention_heads": 2}}, "multiple of four"),
        ({"config": {"num_channels": 4}}, "must be 3"),
        ({"config": {"model_type": "dinov3_convnext"}}, "is a 'dinov3_vit'"),
    ],
)
def test_impossible_dinov3_configurations_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        tiny_dinov3(**options)


def test_pretrained_weights_from_a_local_folder(tmp_path):
    source = tiny_dinov3()
    source.model.save_pretrained(tmp_path)
    loaded = tiny_dinov3(model_name=str(tmp_path), pretrained=True, config={})
    rgb = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(rgb), source(rgb))
    unloaded = tiny_dinov3(model_name=str(tmp_path), config={})
    assert unloaded.output_dim == 32


def test_overrides_that_do_not_fit_the_weights_are_refused(tmp_path):
    tiny_dinov3().model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="do not fit"):
        tiny_dinov3(model_name=str(tmp_path), pretrained=True, config={"intermediate_size": 128})
    with pytest.raises(WeightsUnavailableError, match="incomplete"):
        tiny_dinov3(model_name=str(tmp_path), pretrained=True, config={"num_hidden_layers": 3})


def test_a_folder_without_weights_is_explained(tmp_path):
    tiny_dinov3().model.config.save_pretrained(tmp_path)
    with pytest.raises(WeightsUnavailableError, match=r"model\.safetensors of a DINOv3 model"):
        tiny_dinov3(model_name=str(tmp_path), pretrained=True, config={})


def test_unresized_120_px_lose_their_last_8_and_the_default_does_not():
    rgb = torch.randn(1, 3, 120, 120)
    changed = rgb.clone()
    changed[:, :, 112:, :] += 5
    changed[:, :, :, 112:] += 5
    exact, resized = tiny_dinov3(input_size=None), tiny_dinov3(input_size=128)
    with torch.no_grad():
        assert torch.equal(exact(rgb), exact(changed))
        assert not torch.allclose(resized(rgb), resized(changed))


@pytest.mark.parametrize(
    ("kind", "mean", "std"),
    [
        ("lvd", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("sat", (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),
    ],
)
def test_normalisation_of_the_released_weights(kind, mean, std):
    backbone = tiny_dinov3(normalization=kind, gain=3.0, input_size=None)
    dn = torch.rand(2, 3, 32, 32) * 5000  # some over 1 / 3 reflectance, which is clipped
    statistics = torch.tensor([[c.mean, c.std] for c in RGB]).view(3, 2, 1, 1)
    zscored = (dn - statistics[:, 0]) / statistics[:, 1]
    colour = (dn / 10000 * 3.0).clamp(0, 1)
    expected = (colour - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    with torch.no_grad():
        direct = backbone.model(pixel_values=expected).pooler_output
        torch.testing.assert_close(backbone(zscored), direct, atol=1e-5, rtol=0)


# --- ResNet ----------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_width_64_equals_torchvision(arch):
    from torchvision import models

    reference = getattr(models, arch)(weights=None).eval()
    backbone = ResNetBackbone(ResNetConfig(arch=arch), channels(3), pretrained=False).eval()
    state = {key: value for key, value in reference.state_dict().items() if "fc." not in key}
    assert list(backbone.state_dict()) == list(state)
    backbone.load_state_dict(state)
    reference.fc = nn.Identity()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(image), reference(image))


def test_resnet101_has_torchvisions_names_and_the_depth_at_any_width():
    from torchvision import models

    names = [key for key in models.resnet101(weights=None).state_dict() if "fc." not in key]
    narrow = ResNetBackbone(ResNetConfig(width=8), channels(13), pretrained=False)
    assert list(narrow.state_dict()) == names
    assert narrow.output_dim == 256
    assert sum(p.numel() for p in narrow.parameters()) < 0.75e6


def test_layers_override_the_depth():
    config = ResNetConfig(layers=(1, 1, 2, 1), width=8)
    backbone = ResNetBackbone(config, channels(5), pretrained=False)
    assert [len(getattr(backbone, f"layer{n}")) for n in (1, 2, 3, 4)] == [1, 1, 2, 1]
    assert backbone(torch.randn(2, 5, 32, 32)).shape == (2, 256)


def test_widening_keeps_the_response_to_a_grey_image():
    weight = torch.randn(8, 3, 7, 7)
    wide = widen_conv1(weight, 13)
    assert wide.shape == (8, 13, 7, 7)
    grey = torch.randn(1, 1, 20, 20)
    torch.testing.assert_close(
        nn.functional.conv2d(grey.expand(1, 13, -1, -1), wide),
        nn.functional.conv2d(grey.expand(1, 3, -1, -1), weight),
        atol=1e-4,
        rtol=1e-4,
    )


def test_imagenet_weights_are_widened_and_the_rest_is_kept():
    from torchvision import models

    state = models.resnet18(weights=None).state_dict()
    backbone = ResNetBackbone(ResNetConfig(arch="resnet18"), channels(13), pretrained=False)
    backbone.load_imagenet(state)
    assert torch.equal(backbone.conv1.weight, widen_conv1(state["conv1.weight"], 13))
    key = "layer4.1.conv2.weight"
    assert torch.equal(backbone.state_dict()[key], state[key])


def test_pretrained_needs_the_stock_network():
    with pytest.raises(ConfigError, match="stock resnet101 only"):
        ResNetBackbone(ResNetConfig(width=8), channels(13), pretrained=True)


def test_missing_imagenet_weights_say_where_they_go(monkeypatch, tmp_path):
    def no_network(*_args, **_kwargs):
        raise socket.gaierror("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsUnavailableError) as caught:
        ResNetBackbone(ResNetConfig(arch="resnet18"), channels(13), pretrained=True)
    assert "https://download.pytorch.org/models/resnet18-" in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert "'backbones.resnet101.pretrained' to False" in caught.value.message


# --- fusion and head -------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({"type": "concat"}, 18),
        ({"type": "weighted"}, 12),
        ({"type": "linear_projection"}, 12),
        ({"type": "linear_projection", "output_dim": 5}, 5),
    ],
)
def test_fusion_widths(options, width, normalize):
    fusion = build_fusion(FusionConfig(normalize=normalize, **options), (12, 6))
    fused = fusion(torch.randn(3, 12), torch.randn(3, 6))
    assert fused.shape == (3, width)
    assert fusion.output_dim == width
    assert any("norms" in key for key in fusion.state_dict()) == normalize


def test_plain_concat_is_concat():
    first, second = torch.randn(3, 12), torch.randn(3, 6)
    fusion = build_fusion(FusionConfig(normalize=False), (12, 6))
    assert torch.equal(fusion(first, second), torch.cat((first, second), dim=1))


def test_weights_of_the_weighted_sum_are_shares():
    fusion = build_fusion(FusionConfig(type="weighted", normalize=False), (4, 4))
    first, second = torch.randn(3, 4), torch.randn(3, 4)
    torch.testing.assert_close(fusion(first, second), (first + second) / 2)
    with torch.no_grad():
        fusion.weights.copy_(torch.tensor([50.0, 0.0]))
    torch.testing.assert_close(fusion(first, second), first)


@pytest.mark.parametrize("kind", ["concat", "weighted", "linear_projection"])
def test_normalisation_makes_the_fusion_blind_to_the_scale_of_a_branch(kind):
    first, second = torch.randn(3, 12), torch.randn(3, 6)
    fusion = build_fusion(FusionConfig(type=kind), (12, 6))
    torch.testing.assert_close(
        fusion(first, second), fusion(first, second * 100), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_heads_drop_in_training_only(head):
    model = MultiModalModel(tiny_config(classifier={"type": head, "drop_rate": 0.9}))
    fused = torch.randn(4, 64)
    assert not torch.equal(model.classifier(fused), model.classifier(fused))
    model.eval()
    assert torch.equal(model.classifier(fused), model.classifier(fused))


# --- the guard -------------------------------------------------------------------------------


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **environment,
    )


def test_the_guard_makes_torchvision_importable():
    result = run_python("""
        import multimodal.torchvision_guard
        import torchvision
        torchvision.models.resnet18
    """)
    assert result.returncode == 0, result.stderr


def test_the_guard_leaves_a_proper_torchvision_alone():
    result = run_python("""
        import sys
        import torch
        try:
            import torchvision
        except RuntimeError:  # linked to CUDA beside a CPU torch: made proper by hand
            library = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[name]
            import torchvision
        import multimodal.torchvision_guard as guard
        assert sys.modules["torchvision"] is torchvision
        assert guard._registered == []
    """)
    assert result.returncode == 0, result.stderr


def test_the_guard_hides_no_other_failure(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('of another kind')\n")
    result = run_python(f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import multimodal.torchvision_guard
    """)
    assert result.returncode != 0
    assert "of another kind" in result.stderr
