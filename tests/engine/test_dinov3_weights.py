"""DINOv3 weights: official files, transformers' files and folders, the hub and its refusals.

The official network is written here a second time, from its public description, in a few lines
that share nothing with transformers; both must answer alike on the same weights.
"""

from __future__ import annotations

import http.server
import json
import math
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from multimodal import MultiModalModel
from multimodal.backbones import Dinov3Backbone, dinov3_hub
from multimodal.backbones.dinov3_sizes import OFFICIAL_FILES, RELEASED
from multimodal.backbones.dinov3_weights import transformers_state
from multimodal.checkpoint import from_pretrained
from multimodal.config import Dinov3Config
from multimodal.contract.errors import ConfigError, WeightsUnavailableError
from multimodal.contract.spec import default_spec

RGB = default_spec().s2[:3]
HIDDEN, HEADS, LAYERS, INNER = 32, 2, 11, 48  # eleven: `blocks.1.` and `blocks.10.` differ
SIZES = {
    "model_type": "dinov3_vit",
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "intermediate_size": INNER,
}
GATED = {"use_gated_mlp": True, "hidden_act": "silu"}
UNBIASED = {"query_bias": False, "value_bias": False}
STAGES = {
    "model_type": "dinov3_convnext",
    "hidden_sizes": [8, 12, 16, 24],
    "depths": [1, 2, 1, 1],
}
SAT = "facebook/dinov3-vitl16-pretrain-sat493m"


# --- the official networks, from their description -------------------------------------------


def vit_shapes(hidden, layers, inner, gated, bias=True, local_norm=False, periods=16):
    """Return the names and shapes of an official ViT file."""
    shapes = {
        "cls_token": (1, 1, hidden),
        "storage_tokens": (1, 4, hidden),
        "mask_token": (1, hidden),
        "patch_embed.proj.weight": (hidden, 3, 16, 16),
        "patch_embed.proj.bias": (hidden,),
        "rope_embed.periods": (periods,),
    }
    for n in range(layers):
        block = {"norm1.weight": (hidden,), "norm1.bias": (hidden,)}
        block["attn.qkv.weight"] = (3 * hidden, hidden)
        if bias:
            block["attn.qkv.bias"] = block["attn.qkv.bias_mask"] = (3 * hidden,)
        block |= {"attn.proj.weight": (hidden, hidden), "attn.proj.bias": (hidden,)}
        block |= {"ls1.gamma": (hidden,), "ls2.gamma": (hidden,)}
        block |= {"norm2.weight": (hidden,), "norm2.bias": (hidden,)}
        up, down = (("w1", "w2"), "w3") if gated else (("fc1",), "fc2")
        for name in up:
            block |= {f"mlp.{name}.weight": (inner, hidden), f"mlp.{name}.bias": (inner,)}
        block |= {f"mlp.{down}.weight": (hidden, inner), f"mlp.{down}.bias": (hidden,)}
        shapes |= {f"blocks.{n}.{name}": shape for name, shape in block.items()}
    norms = ["norm", "local_cls_norm"] if local_norm else ["norm"]
    return shapes | {f"{n}.{part}": (hidden,) for n in norms for part in ("weight", "bias")}


def convnext_shapes(widths, depths):
    """Return the names and shapes of an official ConvNeXt file."""
    shapes = {}
    for n, width in enumerate(widths):
        before = widths[n - 1] if n else 3
        kernel = 2 if n else 4
        conv, norm = ("1", "0") if n else ("0", "1")
        normed = before if n else width
        layer = f"downsample_layers.{n}"
        shapes[f"{layer}.{conv}.weight"] = (width, before, kernel, kernel)
        shapes[f"{layer}.{conv}.bias"] = (width,)
        shapes |= {f"{layer}.{norm}.{part}": (normed,) for part in ("weight", "bias")}
        for block in range(depths[n]):
            shapes |= {
                f"stages.{n}.{block}.{name}": shape
                for name, shape in {
                    "gamma": (width,),
                    "dwconv.weight": (width, 1, 7, 7),
                    "dwconv.bias": (width,),
                    "norm.weight": (width,),
                    "norm.bias": (width,),
                    "pwconv1.weight": (4 * width, width),
                    "pwconv1.bias": (4 * width,),
                    "pwconv2.weight": (width, 4 * width),
                    "pwconv2.bias": (width,),
                }.items()
            }
    norms = {
        f"{n}.{part}": (widths[-1],) for n in ("norm", "norms.3") for part in ("weight", "bias")
    }
    return shapes | norms


def filled(shapes):
    """Return random weights of a size that keeps a deep network's answer alive."""
    torch.manual_seed(0)
    state = {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}
    for name, value in state.items():
        if name.endswith("bias_mask"):
            third = len(value) // 3
            value.fill_(1.0)[third : 2 * third] = 0.0
        elif "periods" in name:
            state[name] = 100.0 ** (torch.arange(len(value)) / len(value))
    if "norms.3.weight" in state:
        state |= {f"norms.3.{part}": state[f"norm.{part}"] for part in ("weight", "bias")}
    return state


def tiny_vit(**options):
    arguments = {"gated": False, "periods": HIDDEN // HEADS // 4, **options}
    return filled(vit_shapes(HIDDEN, LAYERS, INNER, **arguments))


def tiny_convnext():
    return filled(convnext_shapes(STAGES["hidden_sizes"], STAGES["depths"]))


def rotated(x, sin, cos):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def official_vit(state, image, heads):
    """Return all tokens of the official ViT: CLS, storage tokens, patches."""
    patches = F.conv2d(
        image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=16
    )
    batch, width, rows, columns = patches.shape
    tokens = [
        state["cls_token"].expand(batch, -1, -1),
        state["storage_tokens"].expand(batch, -1, -1),
    ]
    x = torch.cat([*tokens, patches.flatten(2).mT], dim=1)
    at = [2 * (torch.arange(n) + 0.5) / n - 1 for n in (rows, columns)]
    places = torch.stack(torch.meshgrid(*at, indexing="ij"), dim=-1).reshape(-1, 2, 1)
    angles = (2 * math.pi * places / state["rope_embed.periods"]).flatten(1).repeat(1, 2)
    sin, cos = angles.sin(), angles.cos()
    blocks = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    for n in range(blocks):
        w = {
            k.removeprefix(f"blocks.{n}."): v
            for k, v in state.items()
            if k.startswith(f"blocks.{n}.")
        }
        normed = F.layer_norm(x, (width,), w["norm1.weight"], w["norm1.bias"], 1e-5)
        bias = w["attn.qkv.bias"] * w["attn.qkv.bias_mask"] if "attn.qkv.bias" in w else None
        qkv = F.linear(normed, w["attn.qkv.weight"], bias)
        q, k, v = qkv.reshape(batch, -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        q, k = (
            torch.cat((t[..., :5, :], rotated(t[..., 5:, :], sin, cos)), dim=-2) for t in (q, k)
        )
        shares = (q @ k.mT / math.sqrt(width // heads)).softmax(dim=-1)
        mixed = (shares @ v).transpose(1, 2).flatten(2)
        x = x + w["ls1.gamma"] * F.linear(mixed, w["attn.proj.weight"], w["attn.proj.bias"])
        normed = F.layer_norm(x, (width,), w["norm2.weight"], w["norm2.bias"], 1e-5)
        x = x + w["ls2.gamma"] * mlp(w, normed)
    return F.layer_norm(x, (width,), state["norm.weight"], state["norm.bias"], 1e-5)


def mlp(w, x):
    def layer(name, value):
        return F.linear(value, w[f"mlp.{name}.weight"], w[f"mlp.{name}.bias"])

    if "mlp.w1.weight" in w:
        return layer("w3", F.silu(layer("w1", x)) * layer("w2", x))
    return layer("fc2", F.gelu(layer("fc1", x)))


def official_convnext(state, x):
    """Return the pooled features of the official ConvNeXt."""

    def norm(name, value):
        return F.layer_norm(
            value, value.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6
        )

    def norm2d(name, value):
        return norm(name, value.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    for n, depth in enumerate(STAGES["depths"]):
        layer = f"downsample_layers.{n}"
        weights = [state[f"{layer}.{1 if n else 0}.{part}"] for part in ("weight", "bias")]
        if n:
            x = F.conv2d(norm2d(f"{layer}.0", x), *weights, stride=2)
        else:
            x = norm2d(f"{layer}.1", F.conv2d(x, *weights, stride=4))
        for block in range(depth):
            w = {k: state[f"stages.{n}.{block}.{k}"] for k in
                 ("dwconv.weight", "dwconv.bias", "pwconv1.weight", "pwconv1.bias",
                  "pwconv2.weight", "pwconv2.bias", "gamma")}  # fmt: skip
            y = F.conv2d(x, w["dwconv.weight"], w["dwconv.bias"], padding=3, groups=x.shape[1])
            y = norm(f"stages.{n}.{block}.norm", y.permute(0, 2, 3, 1))
            y = F.gelu(F.linear(y, w["pwconv1.weight"], w["pwconv1.bias"]))
            y = w["gamma"] * F.linear(y, w["pwconv2.weight"], w["pwconv2.bias"])
            x = x + y.permute(0, 3, 1, 2)
    return norm("norm", x.mean(dim=(2, 3)))


# --- helpers ---------------------------------------------------------------------------------


def loaded(path, sizes=SIZES, **options):
    config = Dinov3Config(
        **{
            "model_name": "mine",
            "input_size": None,
            "config": sizes,
            **options,
            "weights": str(path),
        }
    )
    return Dinov3Backbone(config, RGB, pretrained=True).eval()


def saved(state, path, **options):
    if path.suffix == ".safetensors":
        save_file({key: value.clone() for key, value in state.items()}, path)
    else:
        torch.save(state, path, **options)
    return path


def image(size=64):
    return torch.randn(2, 3, size, size + 16, generator=torch.Generator().manual_seed(1))


def same(backbone, expected):
    with torch.no_grad():
        torch.testing.assert_close(backbone(image()), expected, atol=1e-6, rtol=1e-6)


def hollow(shapes):
    """Return tensors of these shapes that take no room, in memory or in a file."""
    state = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    if "rope_embed.periods" in shapes:
        count = shapes["rope_embed.periods"][0]
        state["rope_embed.periods"] = 100.0 ** (torch.arange(count) / count)
    return state


RELEASED_SHAPES = {
    "facebook/dinov3-vits16-pretrain-lvd1689m": vit_shapes(384, 12, 1536, False),
    "facebook/dinov3-vits16plus-pretrain-lvd1689m": vit_shapes(384, 12, 1536, True),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": vit_shapes(768, 12, 3072, False),
    "facebook/dinov3-vitl16-pretrain-lvd1689m": vit_shapes(1024, 24, 4096, False),
    SAT: vit_shapes(1024, 24, 4096, False, local_norm=True),
    "facebook/dinov3-vith16plus-pretrain-lvd1689m": vit_shapes(1280, 32, 5120, True),
    "facebook/dinov3-vit7b16-pretrain-lvd1689m": vit_shapes(
        4096, 40, 8192, True, bias=False, local_norm=True, periods=32
    ),
    "facebook/dinov3-vit7b16-pretrain-sat493m": vit_shapes(
        4096, 40, 8192, True, bias=False, local_norm=True, periods=32
    ),
    "facebook/dinov3-convnext-tiny-pretrain-lvd1689m": convnext_shapes(
        (96, 192, 384, 768), (3, 3, 9, 3)
    ),
    "facebook/dinov3-convnext-small-pretrain-lvd1689m": convnext_shapes(
        (96, 192, 384, 768), (3, 3, 27, 3)
    ),
    "facebook/dinov3-convnext-base-pretrain-lvd1689m": convnext_shapes(
        (128, 256, 512, 1024), (3, 3, 27, 3)
    ),
    "facebook/dinov3-convnext-large-pretrain-lvd1689m": convnext_shapes(
        (192, 384, 768, 1536), (3, 3, 27, 3)
    ),
}


# --- official files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "overrides"),
    [
        ({}, {}),
        ({"gated": True}, GATED),
        ({"gated": True, "bias": False, "local_norm": True}, {**GATED, **UNBIASED}),
    ],
    ids=["mlp", "swiglu", "like 7B"],
)
def test_official_vit_weights_answer_as_the_official_network(tmp_path, options, overrides):
    state = tiny_vit(**options)
    path = saved(state, tmp_path / "mine.pth")
    tokens = official_vit(state, image(), HEADS)
    same(loaded(path, SIZES | overrides), tokens[:, 0])
    both = torch.cat((tokens[:, 0], tokens[:, 5:].mean(dim=1)), dim=1)
    same(loaded(path, SIZES | overrides, pooling="cls+mean"), both)


def test_official_convnext_weights_answer_as_the_official_network(tmp_path):
    state = tiny_convnext()
    path = saved(state, tmp_path / "mine.pth")
    same(loaded(path, STAGES), official_convnext(state, image()))


@pytest.mark.parametrize("name", RELEASED)
def test_official_names_of_every_released_size_become_those_of_transformers(name, tmp_path):
    with torch.device("meta"):
        network = Dinov3Backbone(Dinov3Config(model_name=name), RGB, pretrained=False).model
    expected = {key: value.shape for key, value in network.state_dict().items()}
    converted = transformers_state(hollow(RELEASED_SHAPES[name]), tmp_path)
    # All is zero in these, so nothing tells a bias that is masked from one that is not.
    assert {key: value.shape for key, value in converted.items()} == expected


def test_the_bias_mask_is_respected(tmp_path):
    state = tiny_vit()
    for key in state:
        if key.endswith("bias_mask"):
            state[key] = torch.zeros_like(state[key])  # q and v too
    network = loaded(saved(state, tmp_path / "mine.pth"))
    assert not network.model.state_dict()["model.layer.3.attention.q_proj.bias"].any()
    same(network, official_vit(state, image(), HEADS)[:, 0])


def test_a_key_bias_that_is_not_masked_is_not_dropped_in_silence(tmp_path):
    state = {key: value for key, value in tiny_vit().items() if "bias_mask" not in key}
    with pytest.raises(ConfigError, match=r"model\.layer\.0\.attention\.k_proj\.bias is unknown"):
        loaded(saved(state, tmp_path / "mine.pth"))


def test_masks_that_were_never_initialised_are_refused(tmp_path):
    state = tiny_vit()
    state["blocks.2.attn.qkv.bias_mask"].fill_(math.nan)
    with pytest.raises(WeightsUnavailableError, match=r"masks .* are not numbers"):
        loaded(saved(state, tmp_path / "mine.pth"))


def test_periods_rounded_to_bfloat16_are_those_of_the_release(tmp_path):
    state = tiny_vit()
    state["rope_embed.periods"] = state["rope_embed.periods"].bfloat16()
    assert loaded(saved(state, tmp_path / "mine.pth")).output_dim == HIDDEN


@pytest.mark.parametrize("overrides", [{"rope_theta": 10000.0}, {"num_attention_heads": 4}])
def test_another_position_coding_is_refused(tmp_path, overrides):
    path = saved(tiny_vit(), tmp_path / "mine.pth")
    with pytest.raises(ConfigError, match=r"rotary position coding .* 4 periods"):
        loaded(path, SIZES | overrides)


# --- wrappers, styles, formats ---------------------------------------------------------------


WRAPPED = {
    "model": lambda state: {"model": state, "epoch": 3},
    "state_dict of DDP": lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
    "teacher": lambda state: {
        "teacher": {
            **{f"backbone.{key}": value for key, value in state.items()},
            "dino_head.last_layer.weight": torch.zeros(3, 3),
        },
        "student": {"backbone.cls_token": torch.zeros(1, 1, HIDDEN)},
    },
    "flat teacher and student": lambda state: {
        **{f"student.backbone.{key}": torch.zeros_like(value) for key, value in state.items()},
        **{f"teacher.backbone.{key}": value for key, value in state.items()},
    },
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED.keys())
def test_wrapped_official_weights_load(tmp_path, wrap):
    state = tiny_vit()
    path = saved(wrap(state), tmp_path / "mine.pth")
    same(loaded(path), official_vit(state, image(), HEADS)[:, 0])


def old_style(state):
    return {re.sub(r"^model\.(layer|stages)\.", r"\1.", key): v for key, v in state.items()}


@pytest.mark.parametrize("style", [dict, old_style], ids=["model.layer", "layer"])
@pytest.mark.parametrize("kind", ["vit", "convnext"])
def test_both_key_styles_of_transformers_load_from_file_and_folder(tmp_path, kind, style):
    sizes, state = (SIZES, tiny_vit()) if kind == "vit" else (STAGES, tiny_convnext())
    source = loaded(saved(state, tmp_path / "official.pth"), sizes)
    expected = source(image()).detach()
    theirs = style(source.model.state_dict())
    for name in ("mine.safetensors", "mine.pth", "mine.bin"):
        same(loaded(saved(theirs, tmp_path / name), sizes), expected)
    folder = tmp_path / "folder"
    source.model.config.save_pretrained(folder)
    save_file(
        {k: v.clone() for k, v in theirs.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    config = Dinov3Config(model_name=str(folder), input_size=None)
    same(Dinov3Backbone(config, RGB, pretrained=True).eval(), expected)
    same(loaded(folder, sizes), expected)


def test_files_of_the_old_pickle_format_and_of_half_precision_load(tmp_path):
    state = tiny_vit()
    old = saved(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    same(loaded(old), official_vit(state, image(), HEADS)[:, 0])
    half = {key: value.bfloat16() for key, value in state.items()}
    network = loaded(saved(half, tmp_path / "half.pth"))
    assert {value.dtype for value in network.model.parameters()} == {torch.float32}
    as_loaded = {key: value.float() for key, value in half.items()}
    as_loaded["rope_embed.periods"] = state["rope_embed.periods"]
    same(network, official_vit(as_loaded, image(), HEADS)[:, 0])


def test_the_network_does_not_depend_on_the_file_any_more(tmp_path):
    state = tiny_vit()
    path = saved(state, tmp_path / "mine.pth")
    network = loaded(path)
    places = [value.untyped_storage().data_ptr() for value in network.model.parameters()]
    assert len(set(places)) == len(places)  # q, k and v are no views of one tensor
    path.write_bytes(b"")
    same(network, official_vit(state, image(), HEADS)[:, 0])


def test_a_model_from_official_weights_makes_a_model_folder(tmp_path):
    path = saved(tiny_vit(), tmp_path / "mine.pth")
    dinov3 = {"model_name": "mine", "config": SIZES, "weights": str(path), "freeze": True}
    resnet = {"pretrained": False, "arch": "resnet18", "width": 4}
    model = MultiModalModel({"backbones": {"dinov3": dinov3, "resnet101": resnet}}).eval()
    model.save_pretrained(tmp_path / "folder")
    path.unlink()
    again = from_pretrained(tmp_path / "folder")
    s1_data, s2_data = torch.randn(1, 2, 64, 64), torch.randn(1, 14, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(s1_data, s2_data), model(s1_data, s2_data))


# --- the wrong file --------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in RELEASED if n != Dinov3Config.model_name])
def test_the_error_names_the_model_that_the_shapes_say(tmp_path, name):
    path = saved(hollow(RELEASED_SHAPES[name]), tmp_path / "renamed.pth")
    with pytest.raises(ConfigError) as caught:
        loaded(path, {}, model_name=Dinov3Config.model_name)
    assert f"set it to '{name}'" in caught.value.message or "vit7b16" in name
    assert name in caught.value.message
    assert caught.value.details["key"] == "backbones.dinov3.model_name"


@pytest.mark.parametrize("name", [n for n in RELEASED if n != Dinov3Config.model_name])
def test_the_error_names_the_model_that_the_file_name_says(tmp_path, name):
    path = saved(hollow(RELEASED_SHAPES[name]), tmp_path / OFFICIAL_FILES[name])
    with pytest.raises(ConfigError, match=f"set it to '{name}'"):
        loaded(path, {}, model_name=Dinov3Config.model_name)
    tiny = saved(tiny_vit(), tmp_path / OFFICIAL_FILES[name])
    with pytest.raises(ConfigError, match=f"set it to '{name}'"):
        loaded(tiny, {}, model_name=Dinov3Config.model_name)


def test_satellite_weights_are_not_taken_for_those_of_the_web(tmp_path):
    path = saved(hollow(RELEASED_SHAPES[SAT]), tmp_path / OFFICIAL_FILES[SAT])
    with pytest.raises(ConfigError, match=f"set it to '{SAT}'"):
        loaded(path, {}, model_name="facebook/dinov3-vitl16-pretrain-lvd1689m")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("key", ["cls_token", "blocks.1.attn.qkv.weight"])
def test_weights_that_are_no_numbers_are_refused(tmp_path, key, value):
    state = {name: tensor.clone() for name, tensor in tiny_vit().items()}
    state[key].view(-1)[-1] = value
    path = saved(state, tmp_path / "mine.pth")
    with pytest.raises(WeightsUnavailableError, match=rf"'{key}' in .*mine\.pth.*NaN or infinite"):
        loaded(path)


def test_weights_of_eight_bits_are_asked_too(tmp_path):
    state = {name: tensor.clone() for name, tensor in tiny_vit().items()}
    state["cls_token"] = torch.full_like(state["cls_token"], torch.nan).to(torch.float8_e4m3fn)
    with pytest.raises(WeightsUnavailableError, match="NaN or infinite"):
        loaded(saved(state, tmp_path / "mine.pth"))


def test_a_folder_of_weights_that_are_no_numbers_is_refused(tmp_path):
    network = loaded(saved(tiny_vit(), tmp_path / "mine.pth")).model
    with torch.no_grad():
        network.embeddings.cls_token[0, 0, 0] = float("nan")
    network.save_pretrained(tmp_path / "folder")
    config = Dinov3Config(model_name=str(tmp_path / "folder"))
    with pytest.raises(WeightsUnavailableError, match=r"'embeddings\.cls_token' in .*folder"):
        Dinov3Backbone(config, RGB, pretrained=True)


def without(state):
    del state["blocks.3.ls1.gamma"]
    del state["norm.bias"]


def widened(state):
    state["cls_token"] = torch.zeros(1, 1, 2 * HIDDEN)


def enlarged(state):
    state["cls_norm.weight"] = torch.zeros(HIDDEN)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without, r"model\.layer\.3\.layer_scale1\.lambda1 is missing; norm\.bias is missing\."),
        (widened, r"embeddings\.cls_token is \(1, 1, 64\) instead of \(1, 1, 32\)"),
        (enlarged, r"cls_norm\.weight is unknown"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, spoil, said):
    state = tiny_vit()
    spoil(state)
    with pytest.raises(ConfigError, match=said) as caught:
        loaded(saved(state, tmp_path / "mine.pth"))
    assert "'backbones.dinov3.weights'" in caught.value.message


def test_only_the_first_few_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"is missing and \d+ more\."):
        loaded(saved(tiny_vit(), tmp_path / "mine.pth"), SIZES | {"num_hidden_layers": 20})


class Touch:
    """A pickle that makes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path, zipped):
    trace = tmp_path / "it ran"
    path = tmp_path / "mine.pth"
    torch.save({**tiny_vit(), "extra": Touch(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsUnavailableError, match="refused: it is a pickle that holds more"):
        loaded(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # proof that it would have
    assert trace.exists()


def test_a_bare_malicious_pickle_is_refused_too(tmp_path):
    trace = tmp_path / "it ran"
    for protocol in (0, 2, 5):
        path = tmp_path / "mine.bin"
        path.write_bytes(pickle.dumps(Touch(trace), protocol=protocol))
        with pytest.raises(WeightsUnavailableError):
            loaded(path)
        assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!doctype html><title>Sign in</title>", "neither safetensors nor a file of torch"),
        (b"", "neither safetensors nor a file of torch"),
        (b"PK\x03\x04 and no more", "cannot be read"),
        (b"\x10\0\0\0\0\0\0\0{", "cannot be read"),
    ],
)
def test_damaged_files_are_said_to_be(tmp_path, content, said):
    path = tmp_path / "mine.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsUnavailableError, match=said):
        loaded(path)


def test_a_file_that_is_cut_short_is_said_to_be_damaged(tmp_path):
    for name in ("mine.pth", "mine.safetensors"):
        path = saved(tiny_vit(), tmp_path / name)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(WeightsUnavailableError, match="cannot be read"):
            loaded(path)


def test_files_that_hold_something_else_are_said_to_be(tmp_path):
    with pytest.raises(WeightsUnavailableError, match="neither a file nor a folder"):
        loaded(tmp_path / "nowhere.pth")
    with pytest.raises(WeightsUnavailableError, match="holds no state dict"):
        loaded(saved({"epoch": 3}, tmp_path / "empty.pth"))
    with pytest.raises(WeightsUnavailableError, match=r"no DINOv3 weights .* first keys are a, b"):
        loaded(saved({"a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "other.pth"))
    with pytest.raises(WeightsUnavailableError, match="holds 2 weight files"):
        loaded(tmp_path)


def test_weights_are_not_touched_where_nothing_pretrained_is_asked_for():
    config = Dinov3Config(config=SIZES, weights="nowhere.pth")
    assert Dinov3Backbone(config, RGB, pretrained=False).output_dim == HIDDEN


def test_a_pretrained_branch_is_in_the_mode_of_a_new_one(tmp_path):
    config = Dinov3Config(
        model_name="mine", config=SIZES, weights=str(saved(tiny_vit(), tmp_path / "mine.pth"))
    )
    backbone = Dinov3Backbone(config, RGB, pretrained=True)
    assert all(module.training for module in backbone.modules())


# --- the hub ---------------------------------------------------------------------------------

SMALL = "facebook/dinov3-vits16-pretrain-lvd1689m"
COMMITS = {"main": "a" * 40, "dev": "b" * 40}


def hub_folder(path, seed):
    """Write what the hub holds of a model: config.json and model.safetensors, tiny."""
    torch.manual_seed(seed)
    sizes = {key: value for key, value in SIZES.items() if key != "model_type"}
    config = Dinov3Config(config=sizes, pretrained=False)
    network = Dinov3Backbone(config, RGB, pretrained=False).model
    network.save_pretrained(path)
    return float(network.state_dict()["embeddings.cls_token"].sum())


def run_python(code, **environment):
    """Run ``code`` in a Python of its own, which reads these variables when it starts."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    path = os.pathsep.join(part for part in sys.path if part)
    result = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        env={**clean, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


PRELUDE = """
import json, time
from multimodal import MultiModalModel
from multimodal.contract.errors import MultimodalError

def built(name, folder=None, **more):
    dinov3 = {"model_name": name, **more}
    resnet = {"pretrained": False, "arch": "resnet18", "width": 4}
    started = time.monotonic()
    try:
        model = MultiModalModel({"backbones": {"dinov3": dinov3, "resnet101": resnet}})
    except MultimodalError as problem:
        seconds = time.monotonic() - started
        return {**problem.to_dict(), "seconds": seconds, "kind": type(problem).__name__}
    if folder:
        model.save_pretrained(folder)
    return {
        "revision": model.config.backbones.dinov3.revision,
        "sum": float(model.dinov3_backbone.model.state_dict()["embeddings.cls_token"].sum()),
    }
"""


@pytest.fixture
def cache(tmp_path):
    """Fabricate a hub cache with two revisions of one model."""
    root = tmp_path / "cache" / f"models--{SMALL.replace('/', '--')}"
    sums = {}
    (root / "refs").mkdir(parents=True)
    for seed, (branch, commit) in enumerate(COMMITS.items()):
        sums[branch] = hub_folder(root / "snapshots" / commit, seed)
        (root / "refs" / branch).write_text(commit)
    assert sums["main"] != sums["dev"]
    return root.parent, sums


def test_the_commit_is_recorded_in_the_model_folder_from_the_cache(cache, tmp_path):
    folder, sums = cache
    code = f"""
        print(json.dumps([
            built({SMALL!r}, {str(tmp_path / "saved")!r}),
            built({SMALL!r}, revision="dev"),
            built({SMALL!r}, revision={COMMITS["dev"]!r}),
            built({SMALL!r}, revision="elsewhere"),
            built("facebook/dinov3-vitb16-pretrain-lvd1689m"),
        ]))
    """
    offline = {"HF_HUB_CACHE": str(folder), "HF_HUB_OFFLINE": "1"}
    main, dev, by_commit, elsewhere, absent = run_python(code, **offline)
    assert main == {"revision": COMMITS["main"], "sum": sums["main"]}
    assert dev == by_commit == {"revision": COMMITS["dev"], "sum": sums["dev"]}
    written = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert written["backbones"]["dinov3"]["revision"] == COMMITS["main"]
    assert elsewhere["details"]["reason"] == absent["details"]["reason"] == "offline"
    assert "HF_HUB_OFFLINE is set" in absent["message"]
    assert str(folder) in absent["message"]
    # The network is not there: what is in the cache is taken, without a long wait.
    code = f"""
        started = time.monotonic()
        print(json.dumps([built({SMALL!r}), time.monotonic() - started]))
    """
    closed = {"HF_HUB_CACHE": str(folder), "HF_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
    found, seconds = run_python(code, **closed)
    assert found == main
    assert seconds < 8


def closed_port():
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        return server.server_port


REFUSALS = {
    "dinov3-vitb16-pretrain-lvd1689m": (403, {"X-Error-Code": "GatedRepo"}),
    "dinov3-vitl16-pretrain-lvd1689m": (401, {"X-Error-Code": "GatedRepo"}),
    "dinov3-vith16plus-pretrain-lvd1689m": (
        401,
        {"X-Error-Message": "Invalid credentials in Authorization header"},
    ),
    "unheard-of": (404, {"X-Error-Code": "RepoNotFound"}),
    "private": (401, {"X-Error-Code": "RepoNotFound"}),
}
BUSY = "dinov3-vits16plus-pretrain-lvd1689m"


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub that gives files, and its ways to refuse them."""

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        parts = self.path.strip("/").split("/")
        self.server.asked.append((self.command, self.path))
        name = parts[1] if len(parts) > 1 else ""
        if name == BUSY and len([p for _, p in self.server.asked if name in p]) == 1:
            return self.refuse(503, {})
        if name in REFUSALS:
            return self.refuse(*REFUSALS[name])
        if len(parts) < 5 or parts[2] != "resolve":
            return self.refuse(404, {"X-Error-Code": "EntryNotFound"})
        commit = COMMITS.get(parts[3], parts[3])
        if commit not in COMMITS.values():
            return self.refuse(404, {"X-Error-Code": "RevisionNotFound"})
        file = self.server.folder / commit / parts[4]
        if not file.is_file():
            return self.refuse(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{commit[:8]}-{parts[4]}"')
        self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()
        if with_body:
            self.wfile.write(file.read_bytes())
        return None

    def refuse(self, status, headers):
        self.send_response(status)
        for key, value in {"Content-Length": "0", **headers}.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_args):
        """Say nothing."""


@pytest.fixture
def hub(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.folder, server.asked = tmp_path / "hub", []
        server.sums = {
            branch: hub_folder(server.folder / commit, seed)
            for seed, (branch, commit) in enumerate(COMMITS.items())
        }
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_hub_gives_and_refuses(hub, tmp_path):
    code = f"""
        print(json.dumps({{
            "given": built({SMALL!r}),
            "dev": built({SMALL!r}, revision="dev"),
            "busy": built("facebook/{BUSY}"),
            "gated": built("facebook/dinov3-vitb16-pretrain-lvd1689m"),
            "gated, no token": built("facebook/dinov3-vitl16-pretrain-lvd1689m"),
            "token": built("facebook/dinov3-vith16plus-pretrain-lvd1689m"),
            "not found": built("someone/unheard-of"),
            "private": built("someone/private"),
            "revision": built({SMALL!r}, revision="elsewhere"),
        }}))
    """
    answers = run_python(
        code,
        HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}",
        HF_HOME=str(tmp_path / "home"),
        HF_TOKEN="hf_wrong",
    )
    assert answers["given"] == {"revision": COMMITS["main"], "sum": hub.sums["main"]}
    assert answers["dev"] == {"revision": COMMITS["dev"], "sum": hub.sums["dev"]}
    assert answers["busy"] == answers["given"]  # 503 once: asked again, not given up
    reasons = {
        key: answer["details"]["reason"] for key, answer in answers.items() if "kind" in answer
    }
    assert reasons == {
        "gated": "gated",
        "gated, no token": "gated",
        "token": "token",
        "not found": "not_found",
        "private": "token",
        "revision": "revision",
    }
    for key in reasons:
        assert answers[key]["kind"] == "WeightsUnavailableError"
        assert answers[key]["seconds"] < 5, key
        assert "'backbones.dinov3.model_name' to the folder" in answers[key]["message"]
        assert "'backbones.dinov3.pretrained' to False" in answers[key]["message"]
        assert "hf_wrong" not in answers[key]["message"]
    for key, name in (("gated", "dinov3-vitb16"), ("token", "dinov3-vith16plus")):
        message = answers[key]["message"]
        assert f"DINOv3 License at https://huggingface.co/facebook/{name}" in message
        assert "config.json and model.safetensors" in message
        assert re.search(rf"file {name.replace('-', '_')}_pretrain_lvd1689m-\w{{8}}\.pth", message)
        assert "HF_TOKEN" in message
    assert SMALL in answers["not found"]["message"]
    assert "/commits/main" in answers["revision"]["message"]


def test_no_network_is_said_within_seconds(tmp_path):
    answer = run_python(
        "print(json.dumps(built('facebook/dinov3-vitb16-pretrain-lvd1689m')))",
        HF_ENDPOINT=f"http://127.0.0.1:{closed_port()}",
        HF_HOME=str(tmp_path),
    )
    assert answer["seconds"] < 5
    assert answer["details"]["reason"] == "network"
    assert "cannot be reached" in answer["message"]
    assert "dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth" in answer["message"]


def test_a_network_that_comes_back_is_used(hub, monkeypatch):
    """The second try is a real one: the port opens soon after the first has failed."""
    port = closed_port()
    endpoint = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(dinov3_hub, "hf_hub_url", partial(dinov3_hub.hf_hub_url, endpoint=endpoint))
    late = []

    def open_late():
        time.sleep(0.3)
        late.append(http.server.ThreadingHTTPServer(("127.0.0.1", port), Hub))
        late[0].folder, late[0].asked = hub.folder, []
        late[0].serve_forever()

    threading.Thread(target=open_late, daemon=True).start()
    source = dinov3_hub.find_source(Dinov3Config(model_name=SMALL))
    late[0].shutdown()
    late[0].server_close()
    assert source == dinov3_hub.Source(SMALL, COMMITS["main"], local_only=False)
    assert late[0].asked


def test_layers_that_a_folder_has_and_the_network_has_not_are_not_dropped_in_silence(tmp_path):
    hub_folder(tmp_path, 0)
    config = Dinov3Config(model_name=str(tmp_path), config={"num_hidden_layers": LAYERS - 1})
    with pytest.raises(ConfigError, match=r"layer\.10\..* are unknown to it"):
        Dinov3Backbone(config, RGB, pretrained=True)
