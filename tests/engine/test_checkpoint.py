"""Model folders: exact round trips, and a plain word about every kind of damage."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from multimodal import MultiModalModel, checkpoint, load_model, save_model
from multimodal.checkpoint import file_sha256
from multimodal.contract.errors import (
    ConfigError,
    ModelFolderError,
    SpecError,
    WeightsUnavailableError,
)
from multimodal.contract.model_folder import CONFIG_FILE, read_spec
from multimodal.contract.spec import default_spec
from multimodal.contract.weights import WEIGHTS_FILE
from multimodal.finite import all_finite


def tiles(size=64):
    return torch.randn(2, 2, size, size), torch.randn(2, 14, size, size)


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    made = MultiModalModel(tiny_config())
    made(*tiles())  # so that BatchNorm has statistics of its own
    return made.eval()


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path / "model")
    return tmp_path / "model"


def edit(folder, change):
    path = folder / CONFIG_FILE
    payload = json.loads(path.read_text())
    change(payload)
    path.write_text(json.dumps(payload))


def test_round_trip_is_exact(model, folder):
    loaded = load_model(folder)
    assert not loaded.training
    assert loaded.spec == model.spec
    assert loaded.config == model.config
    state = loaded.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    data = tiles()
    with torch.inference_mode():
        assert torch.equal(loaded(*data), model(*data))


def test_the_folder_holds_two_files_and_the_checksum(model, folder):
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    config = json.loads((folder / CONFIG_FILE).read_text())
    assert sorted(config) == [
        "backbones", "classifier", "fusion", "image_size", "modality_dropout", "spec",
    ]  # fmt: skip
    assert read_spec(folder).weights_sha256 == file_sha256(folder / WEIGHTS_FILE)
    assert model.spec == read_spec(folder)


def test_methods_of_the_model_do_the_same(model, tmp_path):
    model.save_pretrained(tmp_path / "mine")
    assert MultiModalModel.from_pretrained(tmp_path / "mine").spec == model.spec


def test_saving_twice_gives_the_same_bytes(model, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    save_model(load_model(folder), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_spec_given_at_saving_is_stored(model, tmp_path):
    spec = replace(default_spec(), temperature=1.5, provenance={"data": "here"}, license="CC0")
    save_model(model, tmp_path, spec)
    loaded = load_model(tmp_path).spec
    assert (loaded.temperature, loaded.license, loaded.provenance) == (1.5, "CC0", {"data": "here"})


def test_a_spec_of_other_channels_cannot_be_saved(model, tmp_path):
    with pytest.raises(ConfigError, match="in_channels"):
        save_model(model, tmp_path, default_spec(s2_preset="s2-10"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"s1_names": ("VV", "VH")}, {"s2": "swapped"}])
def test_a_spec_of_the_same_channels_in_another_order_cannot_be_saved(
    model, tiny_config, tmp_path, change
):
    spec = default_spec()
    if "s2" in change:
        change = {"s2": (*spec.s2[:3], spec.s2[4], spec.s2[3], *spec.s2[5:])}
    spec = default_spec(**change)
    with pytest.raises(ConfigError, match=r"was built for B04, .* VH, VV, in this order"):
        save_model(model, tmp_path, spec)
    assert list(tmp_path.iterdir()) == []
    built = MultiModalModel(tiny_config(), spec)
    save_model(built, tmp_path, spec)
    assert load_model(tmp_path).spec == built.spec


def brighter(spec):
    return replace(spec, s2=(replace(spec.s2[0], mean=1000.0), *spec.s2[1:]))


@pytest.mark.parametrize("normalization", ["lvd", "sat"])
def test_statistics_that_the_rgb_input_was_built_with_cannot_be_changed_later(
    tiny_config, tmp_path, normalization
):
    config = tiny_config(dinov3={"normalization": normalization})
    model = MultiModalModel(config).eval()
    with pytest.raises(ConfigError, match=f"normalization '{normalization}'.*when the model is b"):
        save_model(model, tmp_path, brighter(default_spec()))
    assert list(tmp_path.iterdir()) == []
    built = MultiModalModel(config, brighter(default_spec())).eval()
    save_model(built, tmp_path, replace(brighter(default_spec()), license="CC0"))
    data = tiles()
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path)(*data), built(*data))
        assert not torch.equal(built.dinov3_backbone.rgb_input(data[1][:, :3]),
                               model.dinov3_backbone.rgb_input(data[1][:, :3]))  # fmt: skip


def test_statistics_that_only_the_data_follow_can_be_said_later(model, tmp_path):
    save_model(model, tmp_path, brighter(default_spec()))
    data = tiles()
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path)(*data), model(*data))


def test_pretrained_in_the_configuration_downloads_nothing_at_loading(folder, monkeypatch):
    def both_pretrained(payload):
        payload["backbones"]["dinov3"]["pretrained"] = True
        payload["backbones"]["resnet101"].update(pretrained=True)

    edit(folder, both_pretrained)
    assert load_model(folder).config.backbones.dinov3.pretrained is True


def test_a_backbone_from_a_folder_that_is_gone_is_rebuilt_from_the_configuration(
    model, tiny_config, tmp_path
):
    origin, saved = tmp_path / "dinov3", tmp_path / "model"
    model.dinov3_backbone.model.save_pretrained(origin)
    config = {
        "backbones": {
            "dinov3": {"model_name": str(origin)},
            "resnet101": tiny_config()["backbones"]["resnet101"],
        }
    }
    built = MultiModalModel(config)
    # Where it was trained is nobody else's business.
    assert built.config.backbones.dinov3.model_name == "dinov3"
    save_model(built, saved)
    assert str(tmp_path) not in (saved / CONFIG_FILE).read_text()
    for path in origin.iterdir():
        path.unlink()
    origin.rmdir()
    assert load_model(saved).dinov3_backbone.output_dim == 16


def test_a_wrong_byte_is_found_by_the_checksum(folder):
    path = folder / WEIGHTS_FILE
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ModelFolderError, match="SHA-256 differs"):
        load_model(folder)
    load_model(folder, verify=False)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_damaged_weights_are_explained_without_the_checksum_too(folder, content):
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"damaged .*copy the model folder again"):
        load_model(folder, verify=False)


def test_truncated_weights_are_explained(folder):
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFolderError, match="damaged"):
        load_model(folder, verify=False)


def test_missing_weights_are_named(folder):
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelFolderError, match=rf"has no {WEIGHTS_FILE}"):
        load_model(folder)


def test_a_pickle_under_the_name_of_the_weights_is_never_run(folder, tmp_path):
    witness = tmp_path / "witness"

    class Malicious:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    (folder / WEIGHTS_FILE).write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(ModelFolderError):
        load_model(folder, verify=False)
    assert not witness.exists()


def change_weights(folder, change):
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE)


FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("kind", FLOAT8)
def test_weights_of_eight_bits_are_numbers_too(folder, kind):
    def narrow(tensors):
        for key, value in tensors.items():
            if value.is_floating_point():
                tensors[key] = value.to(kind)

    change_weights(folder, narrow)
    checkpoint.check_folder(without_checksum(folder))
    loaded = load_model(folder).state_dict()
    for key, value in load_file(folder / WEIGHTS_FILE).items():
        assert torch.equal(loaded[key], value.to(loaded[key].dtype))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, *FLOAT8])
@pytest.mark.parametrize("read", [load_model, checkpoint.check_folder])
def test_weights_that_are_no_numbers_are_refused(folder, kind, read):
    def spoil(tensors):
        spoiled = tensors["classifier.fc.bias"]
        spoiled[-1] = torch.nan
        tensors["classifier.fc.bias"] = spoiled.to(kind)

    change_weights(folder, spoil)
    with pytest.raises(ModelFolderError, match=r"not finite, in classifier\.fc\.bias"):
        read(without_checksum(folder))


def test_what_counts_as_finite():
    assert all_finite(torch.tensor([1, 2]))
    assert all_finite(torch.full((4,), 3e38)), "a sum that overflows"
    assert not all_finite(torch.tensor([1.0, torch.inf]).to(torch.float8_e5m2))


def test_a_kind_that_torch_only_stores_is_refused_by_name(folder):
    kind = getattr(torch, "float4_e2m1fn_x2", None)
    if kind is None:
        pytest.skip("this torch has no float4")
    stored = torch.zeros(19, dtype=torch.uint8).view(kind)
    with pytest.raises(ConfigError, match="float4"):
        all_finite(stored)
    # In a file its shape counts two numbers a byte, and tells first.
    change_weights(folder, lambda tensors: tensors.update({"classifier.fc.bias": stored}))
    with pytest.raises(ModelFolderError, match="instead of"):
        load_model(without_checksum(folder))


def without_checksum(folder):
    edit(folder, lambda config: config["spec"].update(weights_sha256=""))
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.update({"classifier.fc.bias": torch.zeros(5)}), r"\(5,\) instead of \(19,\)"),
        (lambda t: t.pop("classifier.fc.bias"), r"classifier\.fc\.bias is missing"),
        (lambda t: t.update({"other": torch.zeros(5)}), "other is unknown"),
    ],
)
def test_weights_of_another_model_are_explained(folder, change, said):
    change_weights(folder, change)
    with pytest.raises(ModelFolderError, match=said):
        load_model(folder, verify=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["classifier"].update(num_classes=5), r"classifier\.num_classes' is 5"),
        (lambda c: c["spec"]["s2"].pop(), "in_channels"),
        (lambda c: c["fusion"].update(type="magic"), r"fusion\.type"),
        (lambda c: c.update(colour="red"), "Unknown key 'colour'"),
        (lambda c: c["spec"].pop("classes"), "'classes' is missing"),
        (lambda c: c["spec"].update(format_version=99), "update the plugin"),
        (lambda c: c.pop("spec"), "has no 'spec'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_explained(folder, change, said):
    edit(folder, change)
    with pytest.raises(ModelFolderError, match=said):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_damaged_config_json_is_explained(folder, content):
    (folder / CONFIG_FILE).write_text(content)
    with pytest.raises(ModelFolderError):
        load_model(folder)


def test_no_such_folder(tmp_path):
    with pytest.raises(ModelFolderError, match="not a model folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelFolderError, match="leave 'revision' out"):
        load_model(tmp_path, revision="main")


@pytest.mark.parametrize(
    "name",
    ["./owner/name", "../owner", "~/owner", "/owner/name", "owner\\name", "C:/owner/name",
     Path("owner/name"), Path("./owner/name")],
)  # fmt: skip
def test_what_looks_like_a_folder_is_never_asked_of_the_hub(monkeypatch, tmp_path, name):
    def asked(*_args, **_kwargs):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(checkpoint, "snapshot_download", asked)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFolderError, match=r"is not a model folder: it has no config\.json"):
        load_model(name)


def test_home_is_known(monkeypatch, folder):
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert load_model("~/model").spec == read_spec(folder)


def test_a_hub_id_without_a_network_is_explained(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailableError, match=r"huggingface\.co/nobody/nothing"):
        load_model("nobody/nothing")


def test_an_unwritable_target_is_explained_and_leaves_nothing(model, tmp_path):
    target = tmp_path / "file"
    target.write_text("in the way")
    with pytest.raises(ModelFolderError, match="choose a folder that you may write to"):
        save_model(model, target)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_save_leaves_no_temporary_file(model, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multimodal.checkpoint.os.replace", full_disk)
    with pytest.raises(ModelFolderError, match="No space left"):
        save_model(model, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("config", "patch_size", 0),
        ("config", "hidden_act", "x"),
        ("config", "num_register_tokens", -1),
        ("config", "intermediate_size", -1),
    ],
)
def test_sizes_that_cannot_be_built_are_blamed_on_the_folder(folder, part, key, value):
    path = folder / CONFIG_FILE
    config = json.loads(path.read_text())
    config["backbones"]["dinov3"][part][key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match=r"config\.json in .* does not describe a model"):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["s2"][0].update(mean=10**400),
        lambda spec: spec["s1"][1].update(std=10**400),
        lambda spec: spec.update(temperature=10**400),
        lambda spec: spec.update(ground_resolution=-(10**400)),
        lambda spec: spec["thresholds"].__setitem__(3, 10**400),
        lambda spec: spec.update(tile_size=10**400),
    ],
)
def test_numbers_without_end_in_the_spec_are_damage(folder, change):
    edit(folder, lambda payload: change(payload["spec"]))
    with pytest.raises(ModelFolderError, match="does not describe a model"):
        load_model(folder)
    with pytest.raises((ModelFolderError, SpecError)):
        read_spec(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["classifier"].update(lr=10**400),
        lambda config: config["backbones"]["dinov3"].update(gain=10**400),
        lambda config: config["backbones"]["dinov3"]["config"].update(num_hidden_layers=10**400),
        lambda config: config["backbones"]["dinov3"]["config"].update(rope_theta=10**400),
    ],
)
def test_numbers_without_end_in_the_configuration_are_damage(folder, change):
    edit(folder, change)
    with pytest.raises(ModelFolderError, match="does not describe a model"):
        load_model(folder)


def test_a_checksum_in_capitals_is_the_same(model, folder):
    edit(folder, lambda payload: payload["spec"].update(
        weights_sha256=payload["spec"]["weights_sha256"].upper()))  # fmt: skip
    assert load_model(folder).spec.weights_sha256 == model.spec.weights_sha256.upper()


def test_a_model_without_numbers_cannot_be_saved(tiny_config, tmp_path):
    with torch.device("meta"):
        hollow = MultiModalModel(tiny_config())
    with pytest.raises(ModelFolderError, match="on the meta device"):
        save_model(hollow, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_file_keeps_the_precision_and_loading_gives_float32(model, tmp_path, dtype):
    other = copy.deepcopy(model).to(dtype)
    save_model(other, tmp_path)
    assert load_file(tmp_path / WEIGHTS_FILE)["classifier.fc.weight"].dtype is dtype
    loaded = load_model(tmp_path)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    for key, value in other.state_dict().items():
        assert torch.equal(loaded.state_dict()[key].to(value.dtype), value.float().to(value.dtype))
    if dtype is torch.bfloat16:
        data = [tile.bfloat16() for tile in tiles()]
        with torch.inference_mode():
            assert torch.equal(loaded.bfloat16()(*data), other(*data))


@pytest.mark.parametrize(
    ("options", "revision"),
    [
        ({"pretrained": True}, "abc"),
        ({"pretrained": False}, None),
        ({"pretrained": True, "weights": "/data/mine.pth"}, None),
        ({"pretrained": True, "model_name": "/data/mine"}, None),
        ({"pretrained": True, "model_name": "C:\\data\\mine"}, None),
    ],
)
def test_a_revision_is_that_of_weights_from_the_hub(tiny_config, options, revision):
    sizes = {"model_type": "dinov3_vit", **tiny_config()["backbones"]["dinov3"]["config"]}
    config = tiny_config(dinov3={"config": sizes, "revision": "abc", **options})
    model = MultiModalModel(config, load_backbones=False)
    found = model.config.backbones.dinov3
    assert found.revision == revision
    assert "data" not in found.model_name + (found.weights or "")
    again = MultiModalModel(model.config.to_dict(), load_backbones=False)
    assert again.config == model.config


def test_a_folder_at_home_builds_the_network_without_its_weights(
    model, tiny_config, monkeypatch, tmp_path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    model.dinov3_backbone.model.config.save_pretrained(tmp_path / "dinov3")
    dinov3 = {"model_name": "~/dinov3", "pretrained": False}
    built = MultiModalModel({"backbones": {**tiny_config()["backbones"], "dinov3": dinov3}})
    assert built.dinov3_backbone.output_dim == 16
    assert built.config.backbones.dinov3.model_name == "dinov3"
