"""A training checkpoint becomes a model folder: equal bit for bit, nothing run, nothing guessed."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import signal
import subprocess
import sys
import tarfile
import warnings
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from multimodal import MultiModalModel, import_checkpoint, load_model, save_model
from multimodal.backbones.dinov3_sizes import RELEASED
from multimodal.checkpoint import plain_name
from multimodal.config import RESNETS
from multimodal.contract.classes import BIGEARTHNET19_NAMES
from multimodal.contract.errors import (
    ConfigError,
    ModelFolderError,
    SpecError,
    WeightsUnavailableError,
)
from multimodal.contract.model_folder import CONFIG_FILE, read_spec
from multimodal.contract.spec import default_spec
from multimodal.contract.weights import WEIGHTS_FILE
from multimodal.importing.spec_choice import class_names
from multimodal.importing.state_config import understand

# 384 wide, as a released model is, so that the number of heads need not be said; else tiny.
VIT = {"intermediate_size": 32, "num_hidden_layers": 1}
SMALL = "facebook/dinov3-vits16-pretrain-lvd1689m"


def config(dinov3=None, resnet=None, **parts):
    return {
        "backbones": {
            "dinov3": {"model_name": SMALL, "pretrained": False, "config": VIT, **(dinov3 or {})},
            "resnet101": {"pretrained": False, "arch": "resnet18", "width": 2, **(resnet or {})},
        },
        **parts,
    }


def made(config, spec=None):
    """Return a random model in eval mode, with statistics of its own in every BatchNorm."""
    torch.manual_seed(0)
    model = MultiModalModel(config, spec)
    model(*tiles(model.spec))
    return model.eval()


def tiles(spec, size=32):
    shape = (2, len(spec.s1), size, size), (2, len(spec.s2), size, size)
    return torch.randn(shape[0]), torch.randn(shape[1])


def assert_same(model, folder):
    loaded = load_model(folder)
    state = loaded.state_dict()
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    data = tiles(model.spec)
    with torch.inference_mode():
        assert torch.equal(loaded(*data), model(*data))


@pytest.fixture(scope="module")
def model():
    return made(config())


@pytest.fixture
def checkpoint(model, tmp_path):
    path = tmp_path / "last.pt"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture
def state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def saved(tmp_path, content):
    torch.save(content, tmp_path / "last.pt")
    return tmp_path / "last.pt"


# --- What the tensors tell -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fusion", "head", "normalize", "pooling"),
    [*itertools.product(
        ("concat", "weighted", "linear_projection"), ("linear", "mlp"), (True, False),
        ("cls", "cls+mean"),
    )],
)  # fmt: skip
def test_every_fusion_and_head_without_a_word(tmp_path, fusion, head, normalize, pooling):
    parts = {"fusion": {"type": fusion, "normalize": normalize}, "classifier": {"type": head}}
    if fusion == "linear_projection":
        parts["fusion"]["output_dim"] = 24
    if head == "mlp":
        parts["classifier"]["hidden_dim"] = 10
    model = made(config({"pooling": pooling}, **parts))
    imported = import_checkpoint(saved(tmp_path, model.state_dict()), tmp_path / "out")
    assert_same(model, tmp_path / "out")
    found, built = imported.config, model.config.to_dict()
    assert found["fusion"] == built["fusion"]
    assert found["classifier"] == built["classifier"]
    assert found["backbones"]["dinov3"]["pooling"] == pooling


@pytest.mark.parametrize("width", [48, 56])  # as wide as DINOv3, and wider
@pytest.mark.parametrize("normalize", [True, False])
def test_weighted_fusion_where_the_other_branch_needs_the_projection(tmp_path, width, normalize):
    fusion = {"type": "weighted", "normalize": normalize}
    model = made(config(resnet={"width": width}, fusion=fusion))
    import_checkpoint(saved(tmp_path, model.state_dict()), tmp_path / "out")
    assert_same(model, tmp_path / "out")


def whole(model):
    """Return the configuration that the tensors of a model alone give."""
    plain = {plain_name(key): value for key, value in model.state_dict().items()}
    return understand(plain, {}).config({})


@pytest.mark.parametrize("name", RELEASED)
def test_every_released_dinov3_is_recognised(name):
    with torch.device("meta"):
        model = MultiModalModel(config({"model_name": name, "config": {}}))
    found = whole(model)["backbones"]["dinov3"]
    built = model.config.to_dict()["backbones"]["dinov3"]["config"]
    # Heads and activation are in no tensor: here they must be those of this very model.
    assert {key: built[key] for key in found["config"]} == found["config"]
    assert "model_type" in found["config"]
    assert RELEASED[found["model_name"]] == RELEASED[name]


@pytest.mark.parametrize("arch", RESNETS)
def test_every_resnet_is_recognised(arch):
    with torch.device("meta"):
        found = whole(MultiModalModel(config(resnet={"arch": arch, "width": 8})))
    found = found["backbones"]["resnet101"]
    assert (found["arch"], found["width"], found.get("layers")) == (arch, 8, None)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_own_layers_are_recognised(tmp_path, arch):
    model = made(config(resnet={"arch": arch, "layers": [1, 2, 1, 1]}))
    import_checkpoint(saved(tmp_path, model.state_dict()), tmp_path / "out")
    assert_same(model, tmp_path / "out")
    said = {"backbones": {"resnet101": {"arch": "resnet34", "layers": [1, 2, 1, 1]}}}
    if arch == "resnet18":  # the same network under another name
        import_checkpoint(tmp_path / "last.pt", tmp_path / "out2", config=said)
        assert_same(model, tmp_path / "out2")


@pytest.mark.parametrize(
    "dinov3",
    [
        {"config": {**VIT, "use_gated_mlp": True, "hidden_act": "silu"}},
        {"config": {**VIT, "num_register_tokens": 0, "query_bias": False, "mlp_bias": False}},
        {"config": {**VIT, "key_bias": True, "proj_bias": False, "patch_size": 8}},
        {"model_name": "facebook/dinov3-convnext-tiny-pretrain-lvd1689m",
         "config": {"hidden_sizes": [4, 8, 12, 16], "depths": [1, 2, 1, 1]}},
    ],
    ids=["gated", "no registers", "biases", "convnext"],
)  # fmt: skip
def test_other_architectures_of_dinov3(tmp_path, dinov3):
    model = made(config(dinov3))
    import_checkpoint(saved(tmp_path, model.state_dict()), tmp_path / "out")
    assert_same(model, tmp_path / "out")


def test_both_key_styles_of_transformers(model, state, tmp_path):
    older = {key.replace(".model.model.layer.", ".model.layer."): v for key, v in state.items()}
    assert older.keys() != state.keys()
    import_checkpoint(saved(tmp_path, older), tmp_path / "out")
    assert_same(model, tmp_path / "out")


def test_without_a_norm_in_the_state_dict_there_is_none(tmp_path):
    """The plain form of the module, as it was trained before there was an option."""
    model = made(config(fusion={"type": "concat", "normalize": False}))
    assert not any(key.startswith("fusion.") for key in model.state_dict())
    imported = import_checkpoint(saved(tmp_path, model.state_dict()), tmp_path / "out")
    assert imported.config["fusion"]["normalize"] is False


def test_the_number_of_heads_is_asked_for_where_nobody_knows_it(tmp_path):
    model = made(config({"config": {**VIT, "hidden_size": 16, "num_attention_heads": 2}}))
    path = saved(tmp_path, model.state_dict())
    with pytest.raises(
        ConfigError, match=r"16 wide.*number of attention heads: say it in --config"
    ):
        import_checkpoint(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    said = {"backbones": {"dinov3": {"config": {"num_attention_heads": 2}}}}
    import_checkpoint(path, tmp_path / "out", config=said)
    assert_same(model, tmp_path / "out")


# --- What is said, and what is assumed -------------------------------------------------------


def test_what_is_assumed_is_told(checkpoint, tmp_path):
    imported = import_checkpoint(checkpoint, tmp_path / "out")
    told = "\n".join(imported.assumed)
    for fact in (
        "num_attention_heads 6", "input_size 128", "normalization dataset", "B04, B03, B02, B01",
        "VH, VV", "BigEarthNet v2", "task multilabel", "19, sorted", "image_size 120",
        "modality_dropout 0", "that the model is trained",
    ):  # fmt: skip
        assert fact in told, fact
    assert imported.spec == read_spec(tmp_path / "out")
    assert imported.spec.class_names == tuple(BIGEARTHNET19_NAMES)
    assert imported.spec.provenance["imported_from"] == "last.pt"


def test_what_is_said_is_neither_assumed_nor_lost(checkpoint, tmp_path):
    said = {
        "backbones": {"dinov3": {"input_size": None, "normalization": "lvd", "gain": 3.0}},
        "image_size": 64,
        "modality_dropout": 0.1,
    }
    imported = import_checkpoint(checkpoint, tmp_path / "out", config=said)
    told = "\n".join(imported.assumed)
    for word in ("input_size", "normalization", "image_size", "modality_dropout"):
        assert word not in told
    found = load_model(tmp_path / "out")
    dinov3 = found.config.backbones.dinov3
    assert (dinov3.input_size, dinov3.normalization, dinov3.gain) == (None, "lvd", 3.0)
    assert (found.spec.tile_size, found.config.modality_dropout) == (64, 0.1)


def test_a_none_hides_nothing_that_the_tensors_tell(tmp_path):
    fusion = {"type": "linear_projection", "output_dim": 24}
    model = made(config(resnet={"layers": [1, 2, 1, 1]}, fusion=fusion))
    said = {
        "backbones": {"resnet101": {"layers": None, "in_channels": None}},
        "fusion": {"type": "linear_projection", "output_dim": None},
        "classifier": {"num_classes": None},
        "image_size": None,
    }
    import_checkpoint(saved(tmp_path, model.state_dict()), tmp_path / "out", config=said)
    assert_same(model, tmp_path / "out")


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"fusion": {"type": "weighted"}}, r"fusion\.type' is 'weighted'.*say 'concat'"),
        ({"fusion": {"normalize": False}}, r"fusion\.normalize' is False"),
        ({"classifier": {"num_classes": 12}}, r"num_classes' is 12.*say 19"),
        ({"backbones": {"dinov3": {"config": {"hidden_size": 768}}}}, "hidden_size' is 768"),
        ({"backbones": {"dinov3": {"pooling": "cls+mean"}}}, "pooling"),
        ({"backbones": {"resnet101": {"arch": "resnet50"}}}, r"arch' is 'resnet50'"),
        ({"backbones": {"resnet101": {"in_channels": 9}}}, "in_channels' is 9.*say 13"),
        ({"backbones": {"dinov3": {"model_name": "facebook/dinov3-vitb16-pretrain-lvd1689m"}}},
         "have 'hidden_size' 384"),
        ({"colour": "red"}, "Unknown key 'colour'"),
        ({"classifier": {"type": 5}}, "must be a text"),
        ({"backbones": {"dinov3": {"config": {"num_attention_heads": 7}}}}, "multiple of four"),
    ],
)  # fmt: skip
def test_a_configuration_that_the_tensors_contradict_is_refused(checkpoint, tmp_path, said, match):
    with pytest.raises(ConfigError, match=match):
        import_checkpoint(checkpoint, tmp_path / "out", config=said)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt"]


@pytest.mark.parametrize("width", [384, 48])  # of a released model with six heads, and of none
def test_what_the_named_model_has_stays_where_its_sizes_are_changed(tmp_path, width):
    """Trained with vitb16's twelve heads and GELU in another size: those it must be."""
    base = "facebook/dinov3-vitb16-pretrain-lvd1689m"
    sizes = {**VIT, "hidden_size": width, "use_gated_mlp": True}
    model = made(config({"model_name": base, "config": sizes}))
    said = {"backbones": {"dinov3": {"model_name": base, "config": sizes}}}
    imported = import_checkpoint(saved(tmp_path, model.state_dict()), tmp_path / "out", config=said)
    found = imported.config["backbones"]["dinov3"]["config"]
    assert (found["num_attention_heads"], found["hidden_act"]) == (12, "gelu")
    assert_same(model, tmp_path / "out")


@pytest.mark.parametrize("preset", ["s2-14", "s2-12", "s2-10"])
def test_the_preset_follows_from_the_number_of_channels(tmp_path, preset):
    spec = default_spec(s2_preset=preset)
    model = made(config(), spec)
    imported = import_checkpoint(saved(tmp_path, model.state_dict()), tmp_path / "out")
    assert imported.spec.s2_names == spec.s2_names
    assert preset in "\n".join(imported.assumed)


def test_channels_that_are_no_preset_are_asked_for(tmp_path):
    spec = replace(default_spec(), s1=default_spec().s1[:1])
    model = made(config(), spec)
    path = saved(tmp_path, model.state_dict())
    with pytest.raises(SpecError, match=r"takes 12 channels.*--spec"):
        import_checkpoint(path, tmp_path / "out")
    with pytest.raises(SpecError, match=r"13 channels beside RGB.*takes 12"):
        import_checkpoint(path, tmp_path / "out", spec=default_spec())
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()))
    imported = import_checkpoint(path, tmp_path / "out", spec=tmp_path / "spec.json")
    assert imported.spec.s1_names == ("VH",)
    assert_same(model, tmp_path / "out")


def test_the_spec_of_another_model_lends_its_channels_not_its_merits(checkpoint, model, tmp_path):
    merits = {
        "thresholds": (0.3,) * 19, "temperature": 1.7, "calibrated": True,
        "metrics": {"ap": 0.9}, "provenance": {"data": "theirs"}, "license": "theirs",
    }  # fmt: skip
    spec = replace(default_spec(), ground_resolution=20.0, **merits)
    save_model(model, tmp_path / "other", spec)
    for source in (tmp_path / "other", tmp_path / "other" / CONFIG_FILE):
        imported = import_checkpoint(checkpoint, tmp_path / "out", spec=source, overwrite=True)
        found = imported.spec
        assert (found.ground_resolution, found.temperature, found.calibrated) == (20.0, 1.0, False)
        assert (found.thresholds[0], dict(found.metrics), found.license) == (0.5, {}, "")
        assert "data" not in found.provenance
        assert "belong to its own model" in "\n".join(imported.assumed)
    # A spec that was written for this model is taken as it stands.
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()))
    for own in (spec, tmp_path / "spec.json"):
        found = import_checkpoint(checkpoint, tmp_path / "out", spec=own, overwrite=True).spec
        assert (found.temperature, found.thresholds[0]) == (1.7, 0.3)
        assert found.provenance["data"] == "theirs"


CLASSES = ("Water", "Forest, mixed", "Fields")


@pytest.fixture
def three(tmp_path):
    model = made(config(), default_spec(CLASSES))
    return saved(tmp_path, model.state_dict())


def test_class_names(three, tmp_path):
    unnamed = import_checkpoint(three, tmp_path / "unnamed")
    assert unnamed.spec.class_names == ("class_0", "class_1", "class_2")
    assert "class_0" in "\n".join(unnamed.assumed)
    (tmp_path / "classes.txt").write_text("\ufeff" + "\r\n".join((*CLASSES, "")), encoding="utf-8")
    for number, said in enumerate(
        (CLASSES, tmp_path / "classes.txt", str(tmp_path / "classes.txt"),
         'Water, "Forest, mixed", Fields')
    ):  # fmt: skip
        imported = import_checkpoint(three, tmp_path / str(number), classes=said)
        assert imported.spec.class_names == CLASSES
        assert "class names" not in "\n".join(imported.assumed)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ("a,b", "has 2 classes, but the checkpoint has 3 outputs"),
        ("classes.txt", "neither a text file"),
        ("", "neither a text file"),
        (["a", "b", "A"], "same name"),
        ("a" * 200 + ",b,c", "1 to 120"),
    ],
)
def test_class_names_that_do_not_fit(three, tmp_path, said, match):
    with pytest.raises(SpecError, match=match):
        import_checkpoint(three, tmp_path / "out", classes=said)
    with pytest.raises(SpecError, match="Both a spec and class names"):
        import_checkpoint(three, tmp_path / "out", classes=CLASSES, spec=default_spec(CLASSES))
    with pytest.raises(SpecError, match=r"The spec has 19 classes.*3 outputs"):
        import_checkpoint(three, tmp_path / "out", spec=default_spec())
    assert not (tmp_path / "out").exists()


def test_very_long_texts_are_no_file_names():
    names = [f"class number {number}" for number in range(1000)]
    assert class_names(",".join(names)) == tuple(names)


# --- Files of training programs --------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    ["model.", "module.", "_orig_mod.", "model._orig_mod.", "net.module._orig_mod.", "a.b.c."],
)
def test_prefixes(model, state, tmp_path, prefix):
    content = {"state_dict": {prefix + key: value for key, value in state.items()}}
    import_checkpoint(saved(tmp_path, content), tmp_path / "out")
    assert_same(model, tmp_path / "out")


def test_wrappers_around_a_part(model, state, tmp_path):
    inner = {key.replace("backbone.", "backbone._orig_mod.module.", 1): v
             for key, v in state.items()}  # fmt: skip
    import_checkpoint(saved(tmp_path, inner), tmp_path / "out")
    assert_same(model, tmp_path / "out")


def test_safetensors_and_the_old_form_of_torch_save(model, state, tmp_path):
    save_file(state, tmp_path / "a.safetensors")
    torch.save(model.state_dict(), tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for path in ("a.safetensors", "b.pth"):
        import_checkpoint(tmp_path / path, tmp_path / "out", overwrite=True)
        assert_same(model, tmp_path / "out")


def test_a_real_lightning_checkpoint_leaves_nothing_to_assume(tmp_path):
    training = pytest.importorskip("multimodal.training")
    pl = pytest.importorskip("pytorch_lightning")
    spec = default_spec(CLASSES, tile_size=32, task="multiclass")
    torch.manual_seed(0)
    module = training.MultiModalLightningModule(
        config({"input_size": 32, "config": {**VIT, "hidden_size": 16, "num_attention_heads": 2}}),
        spec,
    )
    s1_data, s2_data = tiles(spec)
    data = torch.utils.data.TensorDataset(s1_data, s2_data, torch.tensor([0, 2]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=2))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    imported = import_checkpoint(tmp_path / "last.ckpt", tmp_path / "out")
    assert imported.assumed == ()
    assert_same(module.model.eval(), tmp_path / "out")
    loaded = load_model(tmp_path / "out")
    assert loaded.config == module.model.config
    found = {"provenance": {}, "weights_sha256": ""}
    assert replace(loaded.spec, **found) == spec
    assert loaded.spec.provenance["global_step"] == 1


def test_hyper_parameters_of_other_lightning_modules(model, state, tmp_path):
    keys = {"model." + key: value for key, value in state.items()}
    own = {"backbones": {"dinov3": {"input_size": 32, "lora_rank": 4}}, "optimizer": {"lr": 1}}
    for hyper in ({"config": own, "lr": 1e-3}, {**own, "lr": 1e-3}):
        path = saved(tmp_path, {"state_dict": keys, "hyper_parameters": hyper})
        imported = import_checkpoint(path, tmp_path / "out", overwrite=True)
        assert imported.config["backbones"]["dinov3"]["input_size"] == 32
        assert "backbones.dinov3.lora_rank" in "\n".join(imported.assumed)
        assert "input_size" not in "\n".join(imported.assumed)
        # What the caller says comes first.
        said = {"backbones": {"dinov3": {"input_size": 64}}}
        imported = import_checkpoint(path, tmp_path / "out", config=said, overwrite=True)
        assert imported.config["backbones"]["dinov3"]["input_size"] == 64


def test_what_stands_beside_the_model_is_left_out_and_named(model, state, tmp_path):
    keys = {"model." + key: value for key, value in state.items()}
    keys["criterion.pos_weight"] = torch.ones(19)
    imported = import_checkpoint(saved(tmp_path, {"state_dict": keys}), tmp_path / "out")
    assert "criterion.pos_weight in the checkpoint" in "\n".join(imported.assumed)
    assert_same(model, tmp_path / "out")


def test_two_models_are_two_only_where_they_differ(model, state, tmp_path):
    twice = {
        f"{prefix}.{key}": value for prefix in ("model", "ema") for key, value in state.items()
    }
    import_checkpoint(saved(tmp_path, twice), tmp_path / "out")
    assert_same(model, tmp_path / "out")
    twice["ema.classifier.fc.bias"] = torch.ones(19)
    with pytest.raises(ConfigError, match=r"several models, under 'ema\.' and 'model\.'"):
        import_checkpoint(saved(tmp_path, twice), tmp_path / "out2")
    clash = {**state, "module.classifier.fc.bias": torch.ones(19)}
    with pytest.raises(ConfigError, match=r"'classifier\.fc\.bias' twice"):
        import_checkpoint(saved(tmp_path, clash), tmp_path / "out2")


def test_what_no_output_depends_on_may_be_missing(model, state, tmp_path):
    few = {key: value for key, value in state.items()
           if not key.endswith(("num_batches_tracked", "mask_token"))}  # fmt: skip
    imported = import_checkpoint(saved(tmp_path, few), tmp_path / "out")
    assert "without a part in any output" in "\n".join(imported.assumed)
    data = tiles(model.spec)
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "out")(*data), model(*data))


def test_half_precision_is_told(state, tmp_path):
    half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()}
    imported = import_checkpoint(saved(tmp_path, half), tmp_path / "out")
    assert "bfloat16 in the checkpoint" in "\n".join(imported.assumed)
    weight = load_model(tmp_path / "out").classifier.fc.weight
    assert torch.equal(weight, half["classifier.fc.weight"].float())


# --- What is refused -------------------------------------------------------------------------


class Malicious:
    """Opens a file for writing when it is unpickled: a stand-in for any program."""

    def __init__(self, witness):
        self.witness = str(witness)

    def __reduce__(self):
        return (open, (self.witness, "w"))


def malicious_tar(path, evil):
    """Write the form of torch.save before 0.4, under a name that begins as a zip does."""
    with tarfile.open(path, "w") as tar:
        for name in ("PKsys_info", "sys_info", "pickle", "storages", "tensors"):
            body = pickle.dumps(evil, protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))


@pytest.mark.parametrize("form", ["zip", "old", "hyper", "pickle", "tar"])
def test_a_malicious_pickle_is_refused_and_never_run(state, tmp_path, form):
    witness, path, out = tmp_path / "witness", tmp_path / "last.ckpt", tmp_path / "out"
    evil = Malicious(witness)
    if form == "pickle":
        path.write_bytes(pickle.dumps(evil, protocol=2))
    elif form == "tar":
        malicious_tar(path, evil)
    else:
        content = {"state_dict": {"model." + key: value for key, value in state.items()}}
        content["hyper_parameters" if form == "hyper" else "callbacks"] = {"config": evil}
        torch.save(content, path, _use_new_zipfile_serialization=form != "old")
    with pytest.raises(WeightsUnavailableError) as refused:
        import_checkpoint(path, out)
    assert not witness.exists()
    assert not out.exists()
    if form == "tar":  # torch before 2.6 runs it whatever it is told: it is never handed over
        assert "neither safetensors nor a file of torch.save" in refused.value.message
        return
    assert "can run any program when it is opened" in refused.value.message
    assert "io.open" in refused.value.message
    # The same file is no dud: opened carelessly, it runs.
    if form == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert witness.exists()


def text(path, _state):
    path.write_text("<!DOCTYPE html><title>Please log in</title>")


def tiff(path, _state):
    path.write_bytes(b"II*\x00\x08\x00\x00\x00" + bytes(200))


def empty(path, _state):
    path.write_bytes(b"")


def truncated(path, state):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])


def truncated_safetensors(path, state):
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-100])


def a_list(path, _state):
    torch.save([1, 2, 3], path)


def no_tensors(path, _state):
    torch.save({"epoch": 3}, path)


def whole_module(path, _state):
    torch.save(nn.Linear(2, 2), path)


def torchscript(path, _state):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (text, "neither safetensors nor a file of torch.save"),
        (tiff, "neither safetensors nor a file of torch.save"),
        (empty, "neither safetensors nor a file of torch.save"),
        (truncated, "cannot be read"),
        (truncated_safetensors, "cannot be read"),
        (a_list, "holds no state dict"),
        (no_tensors, "holds no state dict"),
        (whole_module, r"more than tensors \(torch\.nn\.modules\.linear\.Linear\)"),
        (torchscript, "TorchScript program, not weights"),
    ],
)
def test_files_that_are_no_checkpoint(state, tmp_path, write, match):
    path = tmp_path / "last.ckpt"
    write(path, state)
    with pytest.raises(WeightsUnavailableError, match=match) as refused:
        import_checkpoint(path, tmp_path / "out")
    assert "\n" not in refused.value.message
    assert "weights_only" not in refused.value.message
    assert sorted(item.name for item in tmp_path.iterdir()) == ["last.ckpt"]


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(WeightsUnavailableError, match="is not there"):
        import_checkpoint(tmp_path / "nothing.ckpt", tmp_path / "out")
    with pytest.raises(WeightsUnavailableError, match="is a folder"):
        import_checkpoint(tmp_path, tmp_path / "out")


KEY = "resnet_backbone.layer1.0.conv1.weight"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop(KEY), "layer1.0.conv1.weight is missing"),
        (lambda s: s.pop("classifier.fc.weight"), "no 'classifier.fc.weight'"),
        (lambda s: s.pop("resnet_backbone.conv1.weight"), "no 'resnet_backbone.conv1.weight'"),
        (lambda s: [s.pop(k) for k in list(s) if "layer4" in k], "one of layer1 to layer4"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("resnet")], "no 'resnet_backbone'"),
        (lambda s: [s.pop(k) for k in list(s) if "embeddings" in k], "no DINOv3 model"),
        (lambda s: [s.pop(k) for k in list(s) if "dinov3" in k], "holds no MultiModalModel"),
        (lambda s: s.update({KEY: torch.ones(2, 2, 5, 5)}), r"\(2, 2, 5, 5\) instead of"),
        (lambda s: s.update({KEY: torch.ones(2)}), r"\(2,\) instead of"),
        (lambda s: s.update({"resnet_backbone.conv1.weight": torch.ones(2)}), "has not 4 axes"),
        (lambda s: s.update({"classifier.fc.weight": torch.ones(19, 7)}), "fc.weight is"),
        (lambda s: s.update({KEY: s[KEY].to(torch.int8)}), "torch.int8 instead of torch.float32"),
        (lambda s: s[KEY].fill_(float("nan")), f"{KEY} in .*NaN"),
        (lambda s: s.update({"resnet_backbone.extra": torch.ones(1)}), "extra is unknown"),
        (lambda s: s.update({"temporal.weight": torch.ones(1)}), "does not have"),
        (lambda s: s.update({"fusion.norms.0.weight": torch.ones(100)}), "takes 100 values"),
    ],
)  # fmt: skip
def test_tensors_that_are_no_whole_model(state, tmp_path, change, match):
    change(state)
    with pytest.raises(ConfigError, match=match) as refused:
        import_checkpoint(saved(tmp_path, state), tmp_path / "out")
    assert "\n" not in refused.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt"]


@pytest.mark.parametrize("option", ["config", "spec"])
def test_json_files_that_are_none(checkpoint, tmp_path, option):
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "half.json").write_text("{")
    for name in ("nowhere.json", "half.json", "list.json"):
        with pytest.raises(ConfigError, match=name):
            import_checkpoint(checkpoint, tmp_path / "out", **{option: tmp_path / name})


# --- Where it goes ---------------------------------------------------------------------------


def test_an_existing_folder_is_not_overwritten_unasked(checkpoint, tmp_path):
    out = tmp_path / "out"
    import_checkpoint(checkpoint, out)
    (out / "README.md").write_text("mine")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ModelFolderError, match="--overwrite"):
        import_checkpoint(checkpoint, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    said = {"backbones": {"dinov3": {"input_size": 64}}}
    import_checkpoint(checkpoint, out, config=said, overwrite=True)
    assert load_model(out).config.backbones.dinov3.input_size == 64
    assert (out / "README.md").read_text() == "mine"


def test_a_failed_import_keeps_the_old_folder(checkpoint, state, tmp_path):
    out = tmp_path / "out"
    import_checkpoint(checkpoint, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    state.pop("classifier.fc.bias")
    with pytest.raises(ConfigError):
        import_checkpoint(saved(tmp_path, state), out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_of_something_else_is_never_written_into(checkpoint, tmp_path):
    foreign = tmp_path / "documents"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    with pytest.raises(ModelFolderError, match="is no model folder"):
        import_checkpoint(checkpoint, foreign, overwrite=True)
    (foreign / CONFIG_FILE).write_text('{"model_type": "bert"}')
    with pytest.raises(ModelFolderError, match="another program"):
        import_checkpoint(checkpoint, foreign, overwrite=True)
    with pytest.raises(ModelFolderError, match="is no model folder"):
        import_checkpoint(checkpoint, foreign / "letter.txt", overwrite=True)
    assert sorted(path.name for path in foreign.iterdir()) == [CONFIG_FILE, "letter.txt"]


def test_an_empty_folder_and_new_parents_will_do(checkpoint, tmp_path):
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        import_checkpoint(checkpoint, out)
        assert sorted(path.name for path in out.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]


def test_what_cannot_be_loaded_again_is_never_put_in_place(checkpoint, tmp_path, monkeypatch):
    import multimodal.importing.importer as module

    def damaging(model, folder, *arguments, **options):
        save_model(model, folder, *arguments, **options)
        path = folder / WEIGHTS_FILE
        path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(module, "save_pretrained", damaging)
    with pytest.raises(ModelFolderError, match="SHA-256"):
        import_checkpoint(checkpoint, tmp_path / "new" / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt"]


def test_the_name_is_the_function_however_often_it_is_imported():
    import multimodal

    assert callable(multimodal.import_checkpoint)
    from multimodal import import_checkpoint as again

    assert again is import_checkpoint


# --- The command -----------------------------------------------------------------------------


def run(*arguments):
    command = [sys.executable, "-m", "multimodal.cli", "import-checkpoint", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_with_json(checkpoint, model, tmp_path):
    done = run(checkpoint, "--output", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert sorted(told) == ["assumed", "config", "output", "spec"]
    assert told["output"] == str(tmp_path / "out")
    assert told["config"]["fusion"]["type"] == "concat"
    assert told["spec"]["classes"] == list(BIGEARTHNET19_NAMES)
    assert told["spec"]["weights_sha256"] == read_spec(tmp_path / "out").weights_sha256
    assert any("VH, VV" in line for line in told["assumed"])
    assert_same(model, tmp_path / "out")


def test_the_command_for_people(three, tmp_path):
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    (tmp_path / "config.json").write_text('{"backbones": {"dinov3": {"input_size": 64}}}')
    done = run(three, "--output", tmp_path / "out", "--classes", tmp_path / "classes.txt",
               "--config", tmp_path / "config.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for word in ("384 wide", "6 heads", "resized to 64 px", "resnet18", "concat, normalized",
                 "3 classes", "Forest, mixed", "Assumed", "in this order"):  # fmt: skip
        assert word in done.stdout, word


def test_the_command_explains_and_leaves_nothing(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": Malicious(tmp_path / "witness")}, path)
    done = run(path, "--output", tmp_path / "out", "--json")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "can run any program" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["error"]["code"] == "weights_unavailable"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["last.ckpt"]


def test_ctrl_c_leaves_nothing(checkpoint, tmp_path):
    code = (
        "import sys, time\n"
        "import multimodal.importing.importer as module\n"
        "from multimodal.cli import main\n"
        "module.from_pretrained = lambda folder: (print('loading', flush=True), time.sleep(60))\n"
        "sys.exit(main(['import-checkpoint', sys.argv[1], '--output', sys.argv[2]]))\n"
    )
    command = [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "new" / "out")]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout.readline() == "loading\n"
        assert any(path.name.startswith(".importing.") for path in tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Nothing was imported" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt"]
