"""The module under torch's tools: compile, export, autocast, DDP, copies, moves, ONNX."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multimodal import MultiModalModel, export_onnx, onnx_export
from multimodal.contract.errors import ConfigError, ModelFolderError, RuntimeMissingError
from multimodal.contract.spec import spec_from_dict

VIT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
CONVNEXT = {
    "model_type": "dinov3_convnext",
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
}
CONVNEXT_NAME = "facebook/dinov3-convnext-tiny-pretrain-lvd1689m"


def build(dinov3: dict[str, Any] | None = None, resnet: dict[str, Any] | None = None,
          **parts: Any) -> MultiModalModel:  # fmt: skip
    torch.manual_seed(0)
    return MultiModalModel(
        {
            "backbones": {
                "dinov3": {"pretrained": False, "config": VIT, **(dinov3 or {})},
                "resnet101": {
                    "pretrained": False, "arch": "resnet18", "width": 4, **(resnet or {}),
                },
            },
            "classifier": {"num_classes": 5},
            **parts,
        }
    )  # fmt: skip


def tiles(count: int = 2, height: int = 120, width: int = 120) -> tuple[Tensor, Tensor]:
    torch.manual_seed(count)
    return torch.randn(count, 2, height, width), torch.randn(count, 14, height, width)


@torch.no_grad()
def logits(model: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    return model(*inputs)


@pytest.mark.parametrize("train", [False, True])
def test_compile_gives_one_graph_and_the_same_numbers(train: bool) -> None:
    # In training the jitter of DINOv3's position coding and dropout are chance.
    model = build({"freeze": True}, classifier={"drop_rate": 0.0}).train(train)
    expected = logits(copy.deepcopy(model), *tiles())
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(logits(compiled, *tiles()), expected, atol=1e-5, rtol=0)


@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compile_with_inductor() -> None:
    model = build({"config": {**VIT, "num_hidden_layers": 1}}, {"layers": [1, 1, 1, 1]}).eval()
    expected = logits(model, *tiles())
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(logits(compiled, *tiles()), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("freeze", [False, True])
def test_export_with_any_number_of_tiles(freeze: bool) -> None:
    model = build({"freeze": freeze}, {"freeze": freeze}).eval()
    batch = torch.export.Dim("batch", min=1, max=512)
    shapes = {"s1_data": {0: batch}, "s2_data": {0: batch}}
    program = torch.export.export(model, tiles(2), dynamic_shapes=shapes)
    for count in (1, 2, 5):
        found = logits(program.module(), *tiles(count))
        torch.testing.assert_close(found, logits(model, *tiles(count)), atol=1e-6, rtol=0)


def test_autocast_to_bf16() -> None:
    model = build().eval()
    with torch.autocast("cpu", torch.bfloat16):
        found = logits(model, *tiles())
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), logits(model, *tiles()), atol=0.1, rtol=0)


def test_channels_last() -> None:
    model = build().eval()
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    inputs = [tile.contiguous(memory_format=torch.channels_last) for tile in tiles()]
    torch.testing.assert_close(logits(last, *inputs), logits(model, *tiles()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = build({"normalization": "sat"}).eval()
    found = logits(copy.deepcopy(model).to(dtype), *(tile.to(dtype) for tile in tiles()))
    assert found.dtype is dtype
    torch.testing.assert_close(found.float(), logits(model, *tiles()), atol=0.1, rtol=0)


@pytest.mark.parametrize("freeze", [False, True])
def test_copies_and_pickles_are_the_same_model(freeze: bool) -> None:
    model = build({"freeze": freeze}, {"freeze": "all but stem" if freeze else False}).train()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert [m.training for m in twin.modules()] == [m.training for m in model.modules()]
        assert [p.requires_grad for p in twin.parameters()] == [
            p.requires_grad for p in model.parameters()
        ]
        expected = logits(model.eval(), *tiles())
        torch.testing.assert_close(logits(twin.eval(), *tiles()), expected, atol=0, rtol=0)
        model.train()


def test_to_moves_every_tensor() -> None:
    """The CPU twin of moving to a GPU: on "meta" nothing may stay behind."""
    model = build({"normalization": "lvd"}).to("meta")
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    assert [name for name, tensor in tensors.items() if not tensor.is_meta] == []
    assert "dinov3_backbone.rgb_input.mean" in tensors


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_the_numbers_are_the_same() -> None:
    model = build({"normalization": "sat"}).eval()
    expected = logits(model, *tiles())
    found = logits(model.to("cuda"), *(tile.to("cuda") for tile in tiles()))
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=0)


def ddp_gradients(rank: int, folder: str, freeze: bool) -> None:
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    model = still(build({"freeze": freeze}, {"freeze": freeze}))
    replica = nn.parallel.DistributedDataParallel(model)
    s1, s2 = tiles(4)
    share = slice(2 * rank, 2 * rank + 2)
    for _ in range(2):  # the second pass is where DDP notices what got no gradient
        model.zero_grad()
        replica(s1[share], s2[share]).square().mean().backward()
    if rank == 0:
        torch.save({k: p.grad for k, p in model.named_parameters() if p.requires_grad},
                   f"{folder}/gradients.pt")  # fmt: skip
    torch.distributed.barrier()  # gloo can wait for ever for a peer that has ended before it
    torch.distributed.destroy_process_group()


def still(model: MultiModalModel) -> MultiModalModel:
    """Eval mode: batch statistics, dropout and jitter differ between one process and two."""
    return model.eval()


@pytest.mark.parametrize("freeze", [False, True])
def test_two_processes_have_the_gradient_of_one(tmp_path: Path, freeze: bool) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_model_tools as t; "
        "t.ddp_gradients(int(sys.argv[2]), sys.argv[3], sys.argv[4] == 'True')"
    )
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path), str(freeze)]) for rank in (0, 1)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    model = still(build({"freeze": freeze}, {"freeze": freeze}))
    model(*tiles(4)).square().mean().backward()
    expected = {k: p.grad for k, p in model.named_parameters() if p.requires_grad}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("size", [128, 224, 256, None])
@pytest.mark.parametrize(
    ("height", "width"), [(32, 32), (64, 96), (120, 120), (200, 136), (512, 512)]
)
def test_sizes_from_32_to_512(size: int | None, height: int, width: int) -> None:
    model = build({"input_size": size}).eval()
    found, embeddings = model(*tiles(1, height, width), return_embeddings=True)
    assert found.shape == (1, 5)
    assert embeddings["dinov3"].shape == (1, 32)
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize(("height", "width"), [(32, 48), (512, 512)])
def test_sizes_of_convnext(height: int, width: int) -> None:
    model = build({"config": CONVNEXT, "model_name": CONVNEXT_NAME, "input_size": None}).eval()
    assert logits(model, *tiles(1, height, width)).shape == (1, 5)


def test_a_tile_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 16 x 16"):
        build({"input_size": None})(*tiles(1, 8, 40))
    convnext = {"config": CONVNEXT, "model_name": CONVNEXT_NAME, "input_size": None}
    with pytest.raises(ConfigError, match="at least 32 x 32"):
        build(convnext)(*tiles(1, 31, 40))


ONNX_CASES: dict[str, dict[str, Any]] = {
    "concat, linear": {"dinov3": {"input_size": 128}, "fusion": {"type": "concat"}},
    "weighted, mlp": {
        "dinov3": {"input_size": 224, "normalization": "sat", "pooling": "cls+mean"},
        "fusion": {"type": "weighted"}, "classifier": {"type": "mlp", "num_classes": 5},
    },
    "convnext, linear_projection, mlp": {
        "dinov3": {"config": CONVNEXT, "model_name": CONVNEXT_NAME},
        "fusion": {"type": "linear_projection"}, "classifier": {"type": "mlp", "num_classes": 5},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """A model as the export left it, the file, and the mode of every part before."""

    model: MultiModalModel
    path: Path
    modes: list[bool]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Export a case once: each takes seconds."""
    pytest.importorskip("onnxruntime")

    @cache
    def export(case: str) -> Exported:
        model = build(**ONNX_CASES[case]).train()
        model.resnet_backbone.eval()
        model.classifier.dropout.eval()
        modes = [module.training for module in model.modules()]
        path = export_onnx(model, tmp_path_factory.mktemp("onnx") / "model.onnx")
        return Exported(model, path, modes)

    return export


@pytest.mark.parametrize("case", ONNX_CASES)
def test_onnx_gives_the_same_logits(exported: Callable[[str], Exported], case: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = copy.deepcopy(exported(case).model).eval()
    path = str(exported(case).path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 2, 7):
        inputs = dict(zip(("s1_data", "s2_data"), (tile.numpy() for tile in tiles(count))))
        (found,) = session.run(["logits"], inputs)
        expected = logits(model, *tiles(count))
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=0)
    stored = session.get_modelmeta().custom_metadata_map["multimodal.spec"]
    assert spec_from_dict(json.loads(stored)) == model.spec


@pytest.mark.parametrize("case", ONNX_CASES)
def test_onnx_leaves_every_part_in_its_mode(exported: Callable[[str], Exported], case: str) -> None:
    left = exported(case)
    assert set(left.modes) == {True, False}
    assert [module.training for module in left.model.modules()] == left.modes


def test_onnx_that_computes_something_else_is_refused(
    exported: Callable[[str], Exported],
) -> None:
    whole = exported("concat, linear")
    model = copy.deepcopy(whole.model).eval()
    with torch.no_grad():
        model.classifier.fc.bias += 0.01
    with pytest.raises(ModelFolderError, match="other logits"):
        onnx_export._verify(model, whole.path)


def test_onnx_without_its_packages_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        onnx_export, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    with pytest.raises(RuntimeMissingError, match=r"needs onnxscript: pip install .*\[onnx\]"):
        export_onnx(build(), tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == []
