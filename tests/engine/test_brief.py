"""Every example of the brief, as it was written, with the weights that it asks for by default.

The examples run in a process of their own (see conftest.py), where random weights of the true
size lie in the caches of the Hugging Face hub and of torch: the real loading code runs, and no
network is there.
"""

from __future__ import annotations

from typing import Any

import pytest

from multimodal import MultiModalModel

# --- the examples, word for word -----------------------------------------------------------------

BASIC = """
import torch
from multimodal import MultiModalModel

# Create model with default configuration
model = MultiModalModel()

# Example input data
batch_size = 4
image_size = 120
s1_data = torch.randn(batch_size, 2, image_size, image_size)  # S1: 2 channels
s2_data = torch.randn(batch_size, 14, image_size, image_size)  # S2: 14 channels (3 RGB + 11 non-RGB)

# Forward pass
logits = model(s1_data, s2_data)
print(f"Logits shape: {logits.shape}")  # (batch_size, num_classes)

# Get embeddings as well
logits, embeddings = model(s1_data, s2_data, return_embeddings=True)
print(f"DINOv3 embeddings: {embeddings['dinov3'].shape}")
print(f"ResNet embeddings: {embeddings['resnet'].shape}")
print(f"Fused embeddings: {embeddings['fused'].shape}")
"""  # noqa: E501

CUSTOM = """
config = {
    "backbones": {
        "dinov3": {
            "model_name": "facebook/dinov3-vitb16-pretrain-lvd1689m",  # Base model
            "pretrained": True,
            "freeze": False,  # Fine-tune DINOv3
            "lr": 1e-4,  # Lower learning rate for pretrained backbone
        },
        "resnet101": {
            "pretrained": True,
            "freeze": False,  # Fine-tune ResNet101
            "lr": 1e-4,
        },
    },
    "fusion": {
        "type": "weighted",  # Options: "concat", "weighted", "linear_projection"
    },
    "classifier": {
        "type": "mlp",  # Options: "linear", "mlp"
        "hidden_dim": 512,
        "num_classes": 19,
        "drop_rate": 0.15,
    },
    "image_size": 120,
}

model = MultiModalModel(config=config)
"""

LEARNING_RATES = """
import torch.optim as optim

model = MultiModalModel(config=config)

# Get parameter groups with different learning rates
param_groups = model.get_parameter_groups()

# Create optimizer with parameter groups
optimizer = optim.AdamW(param_groups)

# Or manually specify learning rates
optimizer = optim.AdamW([
    {"params": model.dinov3_backbone.parameters(), "lr": 1e-4},
    {"params": model.resnet_backbone.parameters(), "lr": 1e-4},
    {"params": model.fusion.parameters(), "lr": 1e-3},
    {"params": model.classifier.parameters(), "lr": 1e-3},
])
"""

CONCAT = """
"fusion": {
    "type": "concat",
}
"""
WEIGHTED = """
"fusion": {
    "type": "weighted",
}
"""
LINEAR_PROJECTION = """
"fusion": {
    "type": "linear_projection",
    "output_dim": 512,  # Optional, defaults to max(input_dims)
}
"""
LINEAR_HEAD = """
"classifier": {
    "type": "linear",
    "num_classes": 19,
    "drop_rate": 0.15,
}
"""
MLP_HEAD = """
"classifier": {
    "type": "mlp",
    "hidden_dim": 512,
    "num_classes": 19,
    "drop_rate": 0.15,
}
"""

CONFIGURATION_1 = """
config = {
    "backbones": {
        "dinov3": {"pretrained": True, "freeze": False, "lr": 1e-4},
        "resnet101": {"pretrained": True, "freeze": False, "lr": 1e-4},
    },
    "fusion": {"type": "concat"},
    "classifier": {"type": "linear", "num_classes": 19, "drop_rate": 0.15},
    "image_size": 120,
}
"""
CONFIGURATION_2 = """
config = {
    "backbones": {
        "dinov3": {"pretrained": True, "freeze": False, "lr": 1e-4},
        "resnet101": {"pretrained": True, "freeze": False, "lr": 1e-4},
    },
    "fusion": {"type": "weighted"},
    "classifier": {"type": "mlp", "hidden_dim": 512, "num_classes": 19, "drop_rate": 0.15},
    "image_size": 120,
}
"""
CONFIGURATION_3 = """
config = {
    "backbones": {
        "dinov3": {"pretrained": True, "freeze": True, "lr": 1e-4},
        "resnet101": {"pretrained": True, "freeze": True, "lr": 1e-4},
    },
    "fusion": {"type": "linear_projection", "output_dim": 512},
    "classifier": {"type": "mlp", "hidden_dim": 256, "num_classes": 19, "drop_rate": 0.2},
    "image_size": 120,
}
"""

LIGHTNING = """
import pytorch_lightning as pl
import torch.nn.functional as F

class MultiModalLightningModule(pl.LightningModule):
    def __init__(self, config):
        super().__init__()
        self.model = MultiModalModel(config=config)
        self.config = config
    
    def forward(self, s1_data, s2_data):
        return self.model(s1_data, s2_data)
    
    def training_step(self, batch, batch_idx):
        s1_data, s2_data, labels = batch
        logits = self.model(s1_data, s2_data)
        loss = F.cross_entropy(logits, labels)
        self.log("train_loss", loss)
        return loss
    
    def configure_optimizers(self):
        param_groups = self.model.get_parameter_groups()
        optimizer = torch.optim.AdamW(param_groups)
        return optimizer
"""  # noqa: W293

# --- what stands around them ---------------------------------------------------------------------

# The brief's later examples go on from its first.
IMPORTS = """
import copy
import torch
from multimodal import MultiModalModel
"""
BUILD = """
as_given = copy.deepcopy(config)
model = MultiModalModel(config=config)
"""
LOOK = """
with torch.no_grad():
    logits, embeddings = model.eval()(
        torch.randn(2, 2, 120, 120), torch.randn(2, 14, 120, 120), return_embeddings=True
    )
shapes = {name: list(value.shape) for name, value in embeddings.items()}
groups = {group["name"]: group["lr"] for group in model.get_parameter_groups()}
"""
TRAIN = """
def seen(part):
    return {key: value.clone() for key, value in part.state_dict().items()}

def changed(part, before):
    return sum(not torch.equal(value, before[key]) for key, value in part.state_dict().items())

torch.manual_seed(0)
module = MultiModalLightningModule(config)
parts = ("dinov3_backbone", "resnet_backbone", "fusion", "classifier")
before = {name: seen(getattr(module.model, name)) for name in parts}
tiles = torch.utils.data.TensorDataset(
    torch.randn(4, 2, 120, 120), torch.randn(4, 14, 120, 120), torch.tensor([3, 18, 0, 7])
)
trainer = pl.Trainer(
    accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False,
)
trainer.fit(module, torch.utils.data.DataLoader(tiles, batch_size=2))
moved = {name: changed(getattr(module.model, name), before[name]) for name in parts}
"""
TRAINED = """{
    "steps": trainer.global_step, "moved": moved,
    "loss": float(trainer.callback_metrics["train_loss"]),
}"""
TINY = """
config = {
    "backbones": {
        "dinov3": {"pretrained": False, "config": {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2}},
        "resnet101": {"pretrained": False, "arch": "resnet18", "width": 4},
    },
}
"""


def tiny_config() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(TINY, names)
    return names["config"]


def test_basic_usage(notebook: Any) -> None:
    """The example prints its own shapes; every group has its default rate."""
    printed, facts = notebook.run(
        BASIC + "groups = model.get_parameter_groups()",
        """{
    "keys": list(embeddings), "classes": model.spec.class_names,
    "groups": {group["name"]: group["lr"] for group in groups},
}""",
    )
    assert printed.splitlines() == [
        "Logits shape: torch.Size([4, 19])",
        "DINOv3 embeddings: torch.Size([4, 768])",
        "ResNet embeddings: torch.Size([4, 2048])",
        "Fused embeddings: torch.Size([4, 2816])",
    ]
    assert facts["keys"] == ["dinov3", "resnet", "fused"]
    assert facts["classes"][0] == "Agro-forestry areas"
    assert facts["groups"] == {
        "dinov3_backbone": 1e-4, "resnet_backbone": 1e-4, "fusion": 1e-3, "classifier": 1e-3,
    }  # fmt: skip


def test_the_default_weights_are_those_of_the_files(notebook: Any) -> None:
    code = """
import pathlib
from safetensors.torch import load_file
model = MultiModalModel()
hub = load_file(next(pathlib.Path("hub").rglob("model.safetensors")))
vit = {key.removeprefix("model."): value
       for key, value in model.dinov3_backbone.model.state_dict().items()}
file = torch.load("torch/hub/checkpoints/resnet101-cd907fc2.pth", weights_only=True)
imagenet = {key: value for key, value in file.items() if not key.startswith("fc.")}
stem = imagenet.pop("conv1.weight")
resnet = model.resnet_backbone.state_dict()
wide = resnet.pop("conv1.weight")
"""
    facts = """{
    "vit": sorted(vit) == sorted(hub) and all(vit[key].equal(hub[key]) for key in hub),
    "resnet": list(resnet) == list(imagenet)
    and all(resnet[key].equal(imagenet[key]) for key in imagenet),
    "stem": torch.allclose(wide, stem.mean(1, keepdim=True).expand(-1, 13, -1, -1) * 3 / 13),
    "revision": model.config.backbones.dinov3.revision,
    "tensors": len(hub) + len(imagenet),
}"""
    found = notebook.run(IMPORTS + code, facts)[1]
    assert found.pop("tensors") > 700
    commit = next((notebook.folder / "hub").rglob("refs/main")).read_text()
    assert found == {"vit": True, "resnet": True, "stem": True, "revision": commit}


def test_custom_configuration(notebook: Any) -> None:
    facts = """{
    "shapes": shapes, "logits": list(logits.shape), "untouched": config == as_given,
    "head": [type(model.classifier).__name__, model.classifier.hidden.out_features,
             model.classifier.dropout.p],
}"""
    code = CUSTOM.replace("\nmodel =", "\nas_given = copy.deepcopy(config)\nmodel =")
    assert notebook.run(IMPORTS + code + LOOK, facts)[1] == {
        "shapes": {"dinov3": [2, 768], "resnet": [2, 2048], "fused": [2, 2048]},
        "logits": [2, 19],
        "untouched": True,
        "head": ["MLPHead", 512, 0.15],
    }


def test_training_with_different_learning_rates(notebook: Any) -> None:
    config = CUSTOM.split("\nmodel =")[0]
    facts = """{
    "rates": [[group["name"], group["lr"]] for group in param_groups],
    "each_once": sorted(id(p) for group in param_groups for p in group["params"])
    == sorted(id(p) for p in model.parameters()),
    "by_hand": [group["lr"] for group in optimizer.param_groups],
    "same": [[id(p) for p in a["params"]] for a in param_groups]
    == [[id(p) for p in b["params"]] for b in optimizer.param_groups],
}"""
    assert notebook.run(IMPORTS + config + LEARNING_RATES, facts)[1] == {
        "rates": [
            ["dinov3_backbone", 1e-4],
            ["resnet_backbone", 1e-4],
            ["fusion", 1e-3],
            ["classifier", 1e-3],
        ],
        "each_once": True,
        "by_hand": [1e-4, 1e-4, 1e-3, 1e-3],
        "same": True,
    }


def test_learning_rates_of_fusion_and_classifier_can_be_set() -> None:
    config = {**tiny_config(), "fusion": {"lr": 5e-4}, "classifier": {"lr": 2e-3}}
    groups = MultiModalModel(config).get_parameter_groups()
    assert [(g["name"], g["lr"]) for g in groups[2:]] == [("fusion", 5e-4), ("classifier", 2e-3)]


@pytest.mark.parametrize(
    ("fragment", "width"), [(CONCAT, 64), (WEIGHTED, 32), (LINEAR_PROJECTION, 512)]
)
def test_fusion_options(fragment: str, width: int) -> None:
    config = {**tiny_config(), **eval(f"{{{fragment}}}")}
    assert MultiModalModel(config).fusion.output_dim == width


@pytest.mark.parametrize(("fragment", "kind"), [(LINEAR_HEAD, "LinearHead"), (MLP_HEAD, "MLPHead")])
def test_classifier_options(fragment: str, kind: str) -> None:
    model = MultiModalModel({**tiny_config(), **eval(f"{{{fragment}}}")})
    assert type(model.classifier).__name__ == kind
    assert model.classifier.fc.out_features == 19
    assert model.classifier.dropout.p == 0.15


@pytest.mark.parametrize(
    ("example", "fused", "head", "groups"),
    [
        (CONFIGURATION_1, 2816, "LinearHead", 4),
        (CONFIGURATION_2, 2048, "MLPHead", 4),
        (CONFIGURATION_3, 512, "MLPHead", 2),
    ],
)
def test_example_configurations(
    notebook: Any, example: str, fused: int, head: str, groups: int
) -> None:
    facts = """{
    "fused": shapes["fused"], "logits": list(logits.shape), "groups": list(groups),
    "head": type(model.classifier).__name__, "untouched": config == as_given,
    "left_out": sum(p.requires_grad for p in model.parameters())
    - sum(len(group["params"]) for group in model.get_parameter_groups()),
}"""
    parts = ["dinov3_backbone", "resnet_backbone", "fusion", "classifier"]
    assert notebook.run(IMPORTS + example + BUILD + LOOK, facts)[1] == {
        "fused": [2, fused],
        "logits": [2, 19],
        "groups": parts[-groups:],
        "head": head,
        "untouched": True,
        "left_out": 0,
    }


def test_the_lightning_module_trains_all_parts(notebook: Any) -> None:
    facts = notebook.run(IMPORTS + TINY + LIGHTNING + TRAIN, TRAINED)[1]
    assert facts["steps"] == 2
    assert 1 < facts["loss"] < 10
    assert all(facts["moved"].values()), facts


def test_the_lightning_module_trains_on_frozen_pretrained_backbones(notebook: Any) -> None:
    facts = notebook.run(IMPORTS + CONFIGURATION_3 + LIGHTNING + TRAIN, TRAINED)[1]
    assert facts["steps"] == 2
    assert facts["moved"]["dinov3_backbone"] == facts["moved"]["resnet_backbone"] == 0
    assert facts["moved"]["fusion"] > 0
    assert facts["moved"]["classifier"] > 0
