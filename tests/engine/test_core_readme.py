"""core/README.md: its examples run from top to bottom, its tables say what the code does."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from multimodal import MultiModalModel
from multimodal.backbones.dinov3_sizes import RELEASED
from multimodal.config import FUSIONS, FusionConfig, ModelConfig
from multimodal.contract.channels import DEFAULT_S2_PRESET, S1_BANDS, S2_PRESETS
from multimodal.fusion import build_fusion

CORE = Path(__file__).parents[2] / "core"
GUIDE = (CORE / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.M | re.S)
# A shell's line becomes a cell of the same session: the same folder, and no second import of torch.
COMMAND = "from multimodal.cli import main\nassert main({!r}) == 0\n"
# What a reader has downloaded before they come to the part on local weights.
LOCAL_WEIGHTS = """
import json, pathlib
import torch
from safetensors.torch import save_file
from torchvision.models import resnet101
from multimodal import MultiModalModel

name = "facebook/dinov3-vits16-pretrain-lvd1689m"
config = {"dinov3": {"model_name": name, "pretrained": False}, "resnet101": {"pretrained": False}}
vit = MultiModalModel({"backbones": config}).dinov3_backbone.model
folder = pathlib.Path("weights")
(folder / "resnet101-all-v0.2.0").mkdir(parents=True)
# Random weights are not what was published under this name.
import multimodal.backbones.dinov3_weights
multimodal.backbones.dinov3_weights.check_named = lambda path: None
torch.save(vit.state_dict(), folder / "dinov3_vits16_pretrain_lvd1689m-08c60483.pth")
reben = resnet101(weights=None)
reben.conv1 = torch.nn.Conv2d(12, 64, 7, stride=2, padding=3, bias=False)
reben.fc = torch.nn.Identity()
state = {f"model.vision_encoder.{key}": value for key, value in reben.state_dict().items()}
save_file(state, folder / "resnet101-all-v0.2.0" / "model.safetensors")
"""


def blocks() -> list[tuple[int, str]]:
    """Return (line, code) of every block of Python or of commands, the latter as Python."""
    found = []
    for match in BLOCK.finditer(GUIDE):
        kind, code = match.groups()
        line = GUIDE[: match.start()].count("\n") + 2
        found.append((line, code if kind == "python" else cells(code)))
    return found


def cells(commands: str) -> str:
    """Return Python that runs each command line of ours."""
    words = [shlex.split(line) for line in commands.splitlines()]
    assert all(name == "multimodal" for name, *_ in words)
    return "".join(COMMAND.format(arguments) for _, *arguments in words)


def table(heading: str) -> list[list[str]]:
    """Return the rows of the table whose first column has this heading, without backticks."""
    lines = GUIDE.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return rows


def test_every_example_runs(notebook: Any) -> None:
    """In one session, as a reader goes through it."""
    notebook.run(LOCAL_WEIGHTS)
    assert len(blocks()) > 15
    for number, (line, code) in enumerate(blocks()):
        try:
            notebook.run(code, fresh=number == 0)
        except AssertionError as problem:
            pytest.fail(f"core/README.md, line {line}: {problem}")


def test_no_code_escapes_the_test() -> None:
    """A fence of another kind holds no Python: only a tree of files and how to install."""
    fences = re.findall(r"^```(\w*)$", GUIDE, re.M)
    assert set(fences) <= {"", "python", "sh"}
    others = re.findall(r"^```\n(.*?)^```$", BLOCK.sub("", GUIDE), re.M | re.S)
    assert [other.split()[0] for other in others] == ["core/", "pip", "pip"]


def test_the_files_in_the_tree_and_the_links_are_there() -> None:
    tree = re.search(r"^```\ncore/.*?^```$", GUIDE, re.M | re.S)
    assert tree is not None
    names = re.findall(r"[├└]── (\S+)", tree.group())
    assert len(names) > 10
    for name in names:
        assert list(CORE.rglob(name.rstrip("/"))), f"{name} is not there"
    for target in re.findall(r"\]\((?!#)([^)]+)\)", GUIDE):
        assert (CORE / target).exists(), f"{target} is not there"


def test_the_presets_are_those_of_the_code() -> None:
    rows = {name.replace(" (default)", ""): tuple(text.split()) for name, text in table("preset")}
    assert rows == dict(S2_PRESETS)
    assert f"`{DEFAULT_S2_PRESET}` (default)" in GUIDE
    assert f"Sentinel-1 is {', '.join(S1_BANDS)}" in GUIDE


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            values.update(flattened(value, f"{prefix}{key}."))
        else:
            values[f"{prefix}{key}"] = value
    return values


def test_the_options_are_those_of_the_code_with_their_defaults() -> None:
    told = {key: json.loads(default) for key, default, _ in table("key")}
    assert told == flattened(ModelConfig().to_dict())


def test_the_widths_are_those_of_the_code() -> None:
    rows = {name: [int(number) for number in numbers] for name, *numbers in table("`model_name`")}
    assert list(rows) == list(RELEASED)
    for name, told in rows.items():
        assert sizes(name) == told, name


def sizes(name: str) -> list[int]:
    """Return millions of parameters, width of DINOv3's embedding, and fused ones, by running it."""
    config = {
        "dinov3": {"model_name": name, "pretrained": False},
        "resnet101": {"pretrained": False},
    }
    with torch.device("meta"):  # shapes without numbers: the largest has 27 GB of them
        model = MultiModalModel({"backbones": config})
        inputs = torch.zeros(2, 2, 32, 32), torch.zeros(2, 14, 32, 32)
        _, embeddings = model(*inputs, return_embeddings=True)
        first, second = embeddings["dinov3"], embeddings["resnet"]
        own = (first.shape[1], second.shape[1])
        assert own[1] == 2048
        fused = [build_fusion(FusionConfig(type=kind), own)(first, second) for kind in FUSIONS]
    assert embeddings["fused"].shape == fused[0].shape
    parameters = sum(p.numel() for p in model.dinov3_backbone.parameters())
    return [round(parameters / 1e6), own[0], *(item.shape[1] for item in fused)]
