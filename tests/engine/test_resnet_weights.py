"""Initial ResNet weights: torchvision, timm and BIFOLD's reBEN, the channels by name."""

from __future__ import annotations

import copy
import json
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from multimodal import MultiModalModel
from multimodal.backbones import ResNetBackbone
from multimodal.backbones.resnet_backbone import ScaledResNet, widen_conv1
from multimodal.config import RESNETS, ResNetConfig
from multimodal.contract.errors import ConfigError, WeightsUnavailableError
from multimodal.contract.spec import default_spec
from multimodal.model import resnet_channels
from multimodal.torchvision_guard import BasicBlock, Bottleneck

OURS = resnet_channels(default_spec())
REBEN = ("VV", "VH", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
REBEN_OLD = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12", "B8A", "VH", "VV")


def reference(arch="resnet18", channels=3, classes=19):
    """Return torchvision's network with lively weights and BatchNorm statistics, in eval mode."""
    from torchvision import models  # not before our guard

    torch.manual_seed(0)
    network = getattr(models, arch)(weights=None, num_classes=classes)
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def hollow(arch):
    """Return a state dict whose tensors take no room, in memory or in a file."""
    from torchvision import models

    with torch.device("meta"):
        state = getattr(models, arch)(weights=None).state_dict()
    return {k: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in state.items()}


def trunk(network):
    network = copy.deepcopy(network)
    network.fc = nn.Identity()
    return network


def saved(state, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def reben_folder(path, network, channels, arch="resnet18"):
    """Write a folder as BIFOLD publishes it."""
    state = {f"model.vision_encoder.{key}": value for key, value in network.state_dict().items()}
    saved(state, path / "model.safetensors")
    about = {"timm_model_name": arch, "channels": channels, "classes": 19, "image_size": 120}
    (path / "config.json").write_text(json.dumps(about))
    return path


def backbone(weights, channels=OURS, **options):
    config = ResNetConfig(**{"arch": "resnet18", "weights": str(weights), **options})
    return ResNetBackbone(config, channels, pretrained=True).eval()


def tiles(names, zero=()):
    """Return the same values for the same band, whatever the order and the company."""
    planes = []
    for name in names:
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        plane = torch.randn(2, 1, 32, 32, generator=generator)
        planes.append(torch.zeros_like(plane) if name in zero else plane)
    return torch.cat(planes, dim=1)


def close(first, second, tolerance=5e-6):
    """Compare by the largest answer.

    A sum over channels in another order rounds so; on some processors 1.3e-6 was seen.
    """
    assert (first - second).abs().max() <= tolerance * second.abs().max()


def alike(network, ours, expected, theirs):
    """Compare two networks in single precision, and then where rounding hides nothing."""
    with torch.no_grad():
        close(network(ours), expected(theirs))
        close(network.double()(ours.double()), expected.double()(theirs.double()), 1e-12)


# --- torchvision and timm --------------------------------------------------------------------


@pytest.mark.parametrize("arch", RESNETS)
def test_every_depth_equals_torchvision_with_the_widened_stem(tmp_path, arch):
    source = reference(arch)
    expected = trunk(source)
    expected.conv1 = nn.Conv2d(13, 64, kernel_size=7, stride=2, padding=3, bias=False)
    with torch.no_grad():
        expected.conv1.weight.copy_(widen_conv1(source.conv1.weight, 13))
    loaded = backbone(saved(source.state_dict(), tmp_path / "mine.pth"), arch=arch)
    alike(loaded, tiles(OURS), expected, tiles(OURS))


@pytest.mark.parametrize("name", ["mine.pth", "mine.safetensors", "mine.bin"])
def test_all_but_the_stem_is_copied_bit_by_bit_and_the_head_is_left_out(tmp_path, name):
    source = reference()
    state = backbone(saved(source.state_dict(), tmp_path / name)).state_dict()
    for key, value in source.state_dict().items():
        if key not in ("conv1.weight", "fc.weight", "fc.bias"):
            assert torch.equal(state[key], value), key
    assert not any(key.startswith("fc") for key in state)


@pytest.mark.parametrize(
    ("weights", "about"),
    [
        ("model.safetensors", {"architecture": "resnet18", "num_classes": 1000}),
        ("pytorch_model.bin", {"architecture": "resnet18.a1_in1k", "pretrained_cfg": {}}),
        ("pytorch_model.bin", {"architecture": "tv_resnet18"}),
        ("resnet18_a1_0-d63eafa0.pth", None),
    ],
)
def test_a_folder_of_timm_loads(tmp_path, weights, about):
    source = reference()
    saved(source.state_dict(), tmp_path / weights)
    if about is not None:
        (tmp_path / "config.json").write_text(json.dumps(about))
    loaded = backbone(tmp_path)
    assert torch.equal(loaded.layer4[1].conv2.weight, source.layer4[1].conv2.weight)


@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "backbone.", "encoder.", "vision_encoder.", "module.model."]
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_prefixes_and_wrappers_are_taken_off(tmp_path, prefix, wrapper):
    source = reference()
    state = {f"{prefix}{key}": value for key, value in trunk(source).state_dict().items()}
    state |= {"fc.weight": source.fc.weight.detach(), "head.bias": torch.zeros(3)}
    path = saved({wrapper: state, "epoch": 2} if wrapper else state, tmp_path / "mine.pth")
    loaded = backbone(path)
    assert torch.equal(loaded.layer1[0].conv1.weight, source.layer1[0].conv1.weight)


def test_a_prefix_that_not_all_keys_share_is_not_taken_off(tmp_path):
    state = {f"backbone.{key}": value for key, value in trunk(reference()).state_dict().items()}
    state["decoder.weight"] = torch.zeros(3)
    with pytest.raises(ConfigError, match=r"holds no ResNet: it has no conv1\.weight"):
        backbone(saved(state, tmp_path / "mine.pth"))


def test_checkpoints_from_before_batches_were_counted_load(tmp_path):
    state = {k: v for k, v in reference().state_dict().items() if "num_batches" not in k}
    assert backbone(saved(state, tmp_path / "mine.pth")).bn1.num_batches_tracked == 0


def test_narrow_networks_load_what_was_made_for_them(tmp_path):
    torch.manual_seed(0)
    source = ScaledResNet(Bottleneck, (1, 1, 2, 1), 8, 5)
    names = ("B05", "B11", "VV", "VH", "NDVI")
    path = saved(source.state_dict(), tmp_path / "mine.pth")
    options = {"arch": "resnet50", "layers": (1, 1, 2, 1), "width": 8, "weights_channels": names}
    loaded = backbone(path, names, **options)
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in loaded.state_dict().items())


# --- BIFOLD's reBEN models -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "order", "zero"),
    [
        ("resnet18-all-v0.2.0", REBEN, ("B02", "B03", "B04")),
        ("resnet18-s2-v0.2.0", REBEN[2:], ("B02", "B03", "B04")),
        ("resnet18-s1-v0.2.0", REBEN[:2], ()),
        ("resnet18-all-v0.1.1", REBEN_OLD, ("B02", "B03", "B04")),
        ("resnet18-s2-v0.1.1", REBEN_OLD[:10], ("B02", "B03", "B04")),
        ("resnet18-s1-v0.1.1", REBEN_OLD[10:], ()),
        ("models--BIFOLD-BigEarthNetv2-0--resnet18-all-v0.1.1/snapshots/abc", REBEN_OLD,
         ("B02", "B03", "B04")),
        ("renamed", REBEN, ("B02", "B03", "B04")),
    ],
)  # fmt: skip
def test_reben_weights_answer_as_the_reben_network_without_rgb(tmp_path, folder, order, zero):
    source = reference(channels=len(order))
    loaded = backbone(reben_folder(tmp_path / folder, source, len(order)))
    alike(loaded, tiles(OURS), trunk(source), tiles(order, zero))


def test_channels_that_the_checkpoint_does_not_know_change_nothing(tmp_path):
    source = reference(channels=12)
    loaded = backbone(reben_folder(tmp_path / "resnet18-all-v0.2.0", source, 12))
    unknown = [OURS.index(name) for name in ("B01", "B09", "NDVI", "NDWI")]
    assert not loaded.conv1.weight[:, unknown].any()
    changed = tiles(OURS)
    changed[:, unknown] += 7
    with torch.no_grad():
        assert torch.equal(loaded(changed), loaded(tiles(OURS)))
    loaded(changed).sum().backward()
    assert loaded.conv1.weight.grad[:, unknown].abs().sum() > 0  # but they learn


@pytest.mark.parametrize("preset", ["s2-14", "s2-12", "s2-10"])
@pytest.mark.parametrize("s1_names", [("VH", "VV"), ("VV", "VH"), ("VV",)])
def test_the_whole_model_copies_by_name_for_every_spec(tmp_path, preset, s1_names):
    source = reference(channels=12)
    folder = reben_folder(tmp_path / "resnet18-all-v0.2.0", source, 12)
    spec = default_spec(s2_preset=preset, s1_names=s1_names)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    dinov3 = {"pretrained": False, "config": {**sizes, "num_attention_heads": 2}}
    resnet = {"arch": "resnet18", "weights": str(folder)}
    model = MultiModalModel({"backbones": {"dinov3": dinov3, "resnet101": resnet}}, spec).eval()
    names = (*spec.s2_names[3:], *s1_names)
    zero = set(REBEN) - set(names)
    with torch.no_grad():
        _, found = model(tiles(s1_names), tiles(spec.s2_names), return_embeddings=True)
        close(found["resnet"], trunk(source)(tiles(REBEN, zero)))


def test_a_resnet101_of_reben_loads_as_the_default_branch(tmp_path):
    source = reference("resnet101", channels=12)
    folder = reben_folder(tmp_path / "resnet101-all-v0.2.0", source, 12, "resnet101")
    loaded = ResNetBackbone(ResNetConfig(weights=str(folder)), OURS, pretrained=True).eval()
    alike(loaded, tiles(OURS), trunk(source), tiles(REBEN, ("B02", "B03", "B04")))


def test_a_reben_file_that_has_lost_its_folder_is_asked_for_its_channels(tmp_path):
    source = reference(channels=12)
    folder = reben_folder(tmp_path / "weights", source, 12)
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"takes 12 channels, .* 'backbones\.resnet101\.weights_"):
        backbone(folder)
    assert backbone(folder, weights_channels=REBEN).output_dim == 512


# --- channels by name ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 4, 10, 12, 13])
def test_channels_of_another_number_must_be_named(tmp_path, count):
    path = saved(reference(channels=count).state_dict(), tmp_path / "mine.pth")
    with pytest.raises(ConfigError, match=f"takes {count} channels") as caught:
        backbone(path)
    assert caught.value.details["key"] == "backbones.resnet101.weights_channels"


def test_named_channels_are_matched_whatever_they_are_called(tmp_path):
    names = ("Red", "B5", "band 8A", "s1_vv", "swir16", "elevation", "ndvi")
    known = ("B04", "B05", "B8A", "VV", "B11", "elevation", "NDVI")
    source = reference(channels=7)
    path = saved(source.state_dict(), tmp_path / "mine.pth")
    loaded = backbone(path, weights_channels=names)
    alike(loaded, tiles(OURS), trunk(source), tiles(known, ("B04", "elevation")))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("VV", "VH"), "names 2 channels, but conv1 .* takes 4"),
        (("VV", "VH", "B05", "B5"), "names B05 twice"),
        (("B02", "B03", "B04", "elevation"), "sees none of them"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path, names, said):
    path = saved(reference(channels=4).state_dict(), tmp_path / "mine.pth")
    with pytest.raises(ConfigError, match=said):
        backbone(path, weights_channels=names)


# --- the wrong weights -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    state = {name: tensor.clone() for name, tensor in reference().state_dict().items()}
    state["fc.bias"][0] = value  # of no use here, and so no harm
    path = saved(state, tmp_path / "mine.pth")
    backbone(path)
    state["layer3.0.bn1.running_var"][5] = value
    saved(state, path)
    with pytest.raises(WeightsUnavailableError, match=r"'layer3\.0\.bn1\.running_var' in .*mine"):
        backbone(path)


@pytest.mark.parametrize("found", RESNETS)
def test_the_error_names_the_arch_that_fits(tmp_path, found):
    state = hollow(found)
    path = saved(state, tmp_path / "mine.pth")
    other = "resnet50" if found != "resnet50" else "resnet101"
    with pytest.raises(ConfigError, match=f"set it to '{found}'") as caught:
        backbone(path, arch=other)
    assert caught.value.details["key"] == "backbones.resnet101.arch"


def deep_stem(state):
    del state["conv1.weight"]
    state |= {f"conv1.{n}.weight": torch.zeros(32, 3, 3, 3) for n in (0, 3, 6)}


def squeezed(state):
    state["layer1.0.se.fc1.weight"] = torch.zeros(4, 64, 1, 1)


def cut(state):
    del state["layer3.1.conv1.weight"]
    del state["layer3.1.bn1.weight"]


def misshapen(state):
    state["layer2.0.conv1.weight"] = torch.zeros(128, 64, 1, 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (deep_stem, "deep stem"),
        (squeezed, r"layer1\.0\.se\.fc1\.weight is unknown"),
        (cut, r"layer3\.1\.conv1\.weight is missing; layer3\.1\.bn1\.weight is missing"),
        (misshapen, r"layer2\.0\.conv1\.weight is \(128, 64, 1, 1\) instead of \(128, 64, 3, 3\)"),
    ],
)
def test_what_is_no_plain_resnet_is_refused_by_name(tmp_path, spoil, said):
    state = reference().state_dict()
    spoil(state)
    with pytest.raises(ConfigError, match=said):
        backbone(saved(state, tmp_path / "mine.pth"))


@pytest.mark.parametrize("arch", ["wide_resnet50_2", "resnext50_32x4d"])
def test_wide_and_grouped_networks_are_refused(tmp_path, arch):
    state = hollow(arch)
    with pytest.raises(ConfigError, match="wide or grouped"):
        backbone(saved(state, tmp_path / "mine.pth"), arch="resnet50")


@pytest.mark.parametrize("key", ["architecture", "timm_model_name"])
def test_variants_with_the_names_of_a_plain_network_are_told_by_their_config(tmp_path, key):
    saved(reference().state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({key: "resnetblur18"}))
    with pytest.raises(ConfigError, match="'resnetblur18', which is not a plain ResNet"):
        backbone(tmp_path)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path):
    trace = tmp_path / "it ran"
    path = saved({**reference().state_dict(), "extra": Touch(trace)}, tmp_path / "mine.pth")
    with pytest.raises(WeightsUnavailableError, match="refused: it is a pickle"):
        backbone(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # proof that it would have
    assert trace.exists()


def test_weights_that_are_not_there_are_said_to_be(tmp_path):
    with pytest.raises(WeightsUnavailableError, match=r"'backbones\.resnet101\.weights' is"):
        backbone(tmp_path / "nowhere.pth")
    (tmp_path / "config.json").write_text("{")
    saved(reference().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(WeightsUnavailableError, match=r"config\.json' cannot be read"):
        backbone(tmp_path)


def test_weights_are_not_touched_where_nothing_pretrained_is_asked_for():
    config = ResNetConfig(arch="resnet18", width=4, weights="nowhere.pth")
    assert ResNetBackbone(config, OURS, pretrained=False).output_dim == 32


# --- freeze "all but stem" -------------------------------------------------------------------


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_all_but_the_stem_stays_still_and_the_stem_learns(tmp_path, block):
    torch.manual_seed(0)
    source = ScaledResNet(block, (1, 1, 1, 1), 8, 12)
    path = saved(source.state_dict(), tmp_path / "mine.pth")
    arch = "resnet18" if block is BasicBlock else "resnet50"
    resnet = {"arch": arch, "layers": [1, 1, 1, 1], "width": 8, "weights": str(path),
              "weights_channels": REBEN, "freeze": "all but stem"}  # fmt: skip
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    dinov3 = {"pretrained": False, "freeze": True, "config": {**sizes, "num_attention_heads": 2}}
    model = MultiModalModel({"backbones": {"dinov3": dinov3, "resnet101": resnet}}).train()
    branch = model.resnet_backbone
    groups = model.get_parameter_groups()
    group = next(group for group in groups if group["name"] == "resnet_backbone")
    stem = {"conv1.weight", "bn1.weight", "bn1.bias"}
    assert {id(p) for p in group["params"]} == {
        id(p) for name, p in branch.named_parameters() if name in stem
    }
    assert len(group["params"]) == len(stem)
    before = {key: value.clone() for key, value in branch.state_dict().items()}
    optimizer = torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.1)
    for step in range(4):
        torch.manual_seed(step)
        s1_data, s2_data = torch.randn(4, 2, 64, 64) * 3 + 1, torch.randn(4, 14, 64, 64) * 3 + 1
        optimizer.zero_grad()
        model.train()(s1_data, s2_data).square().sum().backward()
        optimizer.step()
    after = branch.state_dict()
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    statistics = {"bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked"}
    assert moved == stem | statistics
    unknown = [OURS.index(name) for name in ("B01", "B09", "NDVI", "NDWI")]
    assert after["conv1.weight"][:, unknown].abs().sum() > 0  # from zero
    training = {name for name, module in branch.named_modules() if module.training}
    assert training == {"conv1", "bn1"}
    assert not any(module.training for module in model.eval().modules())
