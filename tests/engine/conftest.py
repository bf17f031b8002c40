"""The tiny model of the tests, and a notebook with the pretrained weights at hand, offline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

# Other sizes stand in the tests whose numbers or messages depend on them.
TINY_VIT = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip
TINY_RESNET = {"pretrained": False, "arch": "resnet18", "width": 2}
KERNEL = Path(__file__).with_name("notebook_kernel.py")
COMMIT = "5931719e67bbdb9737e363e781fb0c67687896bc"
# The config.json of facebook/dinov3-vitb16-pretrain-lvd1689m, as it is on the hub.
HUB_CONFIG = {
    "architectures": ["DINOv3ViTModel"], "attention_dropout": 0.0, "drop_path_rate": 0.0,
    "hidden_act": "gelu", "hidden_size": 768, "image_size": 224, "initializer_range": 0.02,
    "intermediate_size": 3072, "key_bias": False, "layer_norm_eps": 1e-05,
    "layerscale_value": 1.0, "mlp_bias": True, "model_type": "dinov3_vit",
    "num_attention_heads": 12, "num_channels": 3, "num_hidden_layers": 12,
    "num_register_tokens": 4, "patch_size": 16, "pos_embed_jitter": None,
    "pos_embed_rescale": 2.0, "pos_embed_shift": None, "proj_bias": True, "query_bias": True,
    "rope_theta": 100.0, "torch_dtype": "float32", "use_gated_mlp": False, "value_bias": True,
}  # fmt: skip
# Random weights under the true names, in the true sizes and places: what is released is gated.
FABRICATE = f"""
import json, os, pathlib
import torch
from multimodal.torchvision_guard import DINOv3ViTConfig, DINOv3ViTModel
from torchvision.models import resnet101

config = {HUB_CONFIG!r}
with torch.device("meta"):  # the usual initialisation takes longer than all the rest
    vit = DINOv3ViTModel(DINOv3ViTConfig(**config))
vit.to_empty(device="cpu")
torch.manual_seed(0)
for parameter in vit.parameters():
    torch.nn.init.normal_(parameter, std=0.02)
hub = pathlib.Path(os.environ["HF_HUB_CACHE"], "models--facebook--dinov3-vitb16-pretrain-lvd1689m")
snapshot = hub / "snapshots" / "{COMMIT}"
vit.save_pretrained(snapshot)  # in the keys of the hub
(snapshot / "config.json").write_text(json.dumps(config))
(hub / "refs").mkdir()
(hub / "refs" / "main").write_text("{COMMIT}")
checkpoints = pathlib.Path(os.environ["TORCH_HOME"], "hub", "checkpoints")
checkpoints.mkdir(parents=True)
torch.save(resnet101(weights=None).state_dict(), checkpoints / "resnet101-cd907fc2.pth")
"""


class Notebook:
    """A Python process of its own that runs cells and tells facts about what they made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = {
            "HF_HUB_CACHE": str(folder / "hub"),
            "HF_HUB_OFFLINE": "1",
            "TORCH_HOME": str(folder / "torch"),
            # Threads that spin while they wait for each other crawl on a busy machine.
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        self._process = subprocess.Popen(
            [sys.executable, str(KERNEL)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            cwd=folder, env={**os.environ, **own}, text=True,
        )  # fmt: skip

    def run(self, code: str, facts: str = "None", *, fresh: bool = True) -> tuple[str, Any]:
        """Return what a cell printed, and an expression evaluated after it; raise as it did."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = json.dumps({"code": code, "facts": facts, "fresh": fresh})
        print(order, file=self._process.stdin, flush=True)
        reply = json.loads(self._process.stdout.readline() or '{"error": "The process died."}')
        if "error" in reply:
            raise AssertionError(reply["error"])
        return reply["printed"], reply["facts"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


def _tiny_config(
    dinov3: Mapping[str, Any] = MappingProxyType({}),
    resnet101: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    vit = {"pretrained": False, "config": dict(TINY_VIT), **dinov3}
    return {"backbones": {"dinov3": vit, "resnet101": {**TINY_RESNET, **resnet101}}}


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., dict[str, Any]]:
    """Return a maker of configurations; keys of ``dinov3`` and ``resnet101`` are merged in."""
    return _tiny_config


@pytest.fixture(scope="session")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """Return a notebook beside a hub cache and a torch cache that hold the default weights."""
    folder = tmp_path_factory.mktemp("notebook")
    opened = Notebook(folder)
    try:
        opened.run(FABRICATE)
        yield opened
    finally:
        opened.close()
        shutil.rmtree(folder)  # half a GB, that pytest would keep for three sessions
