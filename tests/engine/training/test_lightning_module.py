"""MultiModalLightningModule: really trained by a Trainer, and what its checkpoints hold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.utils.data import DataLoader, TensorDataset

from multimodal.contract.errors import ConfigError
from multimodal.contract.spec import ModelSpec, default_spec
from multimodal.training import AveragePrecision, MultiModalLightningModule
from multimodal.training.lightning_door import pl
from multimodal.training.lightning_module import task_loss

CLASSES = ("field", "forest", "water")
SIZE = 32


@pytest.fixture
def config(tiny_config: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return tiny_config(dinov3={"input_size": SIZE})


def small_spec(task: str = "multilabel", **options: Any) -> ModelSpec:
    return default_spec(CLASSES, tile_size=SIZE, task=task, **options)


def batches(task: str, tiles: int = 8) -> DataLoader:
    random = torch.Generator().manual_seed(1)
    shape = (tiles, 3) if task == "multilabel" else (tiles,)
    labels = torch.randint(0, 2 if task == "multilabel" else 3, shape, generator=random)
    s1_data = torch.randn(tiles, 2, SIZE, SIZE, generator=random)
    s2_data = torch.randn(tiles, 14, SIZE, SIZE, generator=random)
    return DataLoader(TensorDataset(s1_data, s2_data, labels), batch_size=4)


def trained(module: pl.LightningModule, data: DataLoader, folder: Path) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, data, data)
    return trainer


@pytest.fixture(params=["multilabel", "multiclass"])
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def module(config: dict[str, Any], task: str) -> MultiModalLightningModule:
    torch.manual_seed(0)
    return MultiModalLightningModule(config, small_spec(task))


def test_a_trainer_trains_it_and_the_figures_are_those_of_scikit_learn(
    module: MultiModalLightningModule, task: str, tmp_path: Path
) -> None:
    before = {key: value.clone() for key, value in module.model.named_parameters()}
    data = batches(task)
    found = trained(module, data, tmp_path).callback_metrics
    unused = {"dinov3_backbone.model.embeddings.mask_token"}  # masks are for pre-training
    still = {key for key, value in module.model.named_parameters() if value.equal(before[key])}
    assert still <= unused
    module.eval()
    with torch.no_grad():
        logits = torch.cat([module(s1_data, s2_data) for s1_data, s2_data, _ in data])
    labels = torch.cat([labels for _, _, labels in data])
    if task == "multilabel":
        truth, probabilities = labels.numpy(), logits.sigmoid().numpy()
    else:
        truth, probabilities = np.eye(3)[labels.numpy()], logits.softmax(dim=1).numpy()
    for average in ("micro", "macro"):
        expected = average_precision_score(truth, probabilities, average=average)
        assert float(found[f"val_ap_{average}"]) == pytest.approx(expected, abs=1e-6)
    assert float(found["val_loss"]) == pytest.approx(
        float(task_loss(logits, labels, module.spec)), abs=1e-5
    )


def test_the_loss_follows_the_task() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
    truth = torch.tensor([[1, 0, 1], [0, 1, 0]])
    p = logits.double().sigmoid()
    by_hand = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()
    assert float(task_loss(logits, truth, small_spec())) == pytest.approx(float(by_hand), abs=1e-6)
    p = logits.double().softmax(dim=1)
    by_hand = -(p[0, 2].log() + p[1, 1].log()) / 2
    found = task_loss(logits, torch.tensor([2, 1]), small_spec("multiclass"))
    assert float(found) == pytest.approx(float(by_hand), abs=1e-6)


@pytest.mark.parametrize(
    ("task_of_spec", "labels", "said"),
    [
        ("multilabel", torch.zeros(2, dtype=torch.long), r"\(2, 3\).*0 or 1 for each class"),
        ("multilabel", torch.zeros(2, 4), r"\(2, 3\)"),
        ("multiclass", torch.zeros(2, 3), r"\(2,\).*one class number"),
    ],
)
def test_labels_of_the_other_task_are_refused(
    task_of_spec: str, labels: torch.Tensor, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        task_loss(torch.zeros(2, 3), labels, small_spec(task_of_spec))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32])
def test_labels_of_any_kind_of_number_validate(
    module: MultiModalLightningModule, task: str, dtype: torch.dtype
) -> None:
    s1_data, s2_data, labels = next(iter(batches(task)))
    logged: dict[str, torch.Tensor] = {}
    module.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[method-assign]
    module.validation_step((s1_data, s2_data, labels.to(dtype)), 0)
    assert bool(logged["val_loss"].isfinite())


def test_macro_is_over_the_classes_with_positives_and_negatives() -> None:
    truth = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1], [0, 1, 0, 1]])
    probabilities = torch.rand(4, 4, generator=torch.Generator().manual_seed(3))
    metric = AveragePrecision()
    for rows in (slice(0, 1), slice(1, 4)):
        metric.update(probabilities[rows], truth[rows])
    found = metric.compute()
    macro = average_precision_score(truth[:, 2:], probabilities[:, 2:], average="macro")
    micro = average_precision_score(truth, probabilities, average="micro")
    assert float(found["macro"]) == pytest.approx(macro)
    assert float(found["micro"]) == pytest.approx(micro)


def test_macro_of_one_class_and_of_none() -> None:
    truth = torch.tensor([[0, 1], [0, 0], [0, 1]])
    probabilities = torch.tensor([[0.1, 0.2], [0.1, 0.6], [0.1, 0.9]])
    metric = AveragePrecision()
    metric.update(probabilities, truth)
    expected = average_precision_score(truth[:, 1], probabilities[:, 1])
    assert float(metric.compute()["macro"]) == pytest.approx(expected)
    metric.reset()
    metric.update(probabilities, torch.zeros_like(truth))
    assert metric.compute()["macro"].isnan()


def test_the_optimizer_has_the_groups_of_the_model(
    tiny_config: Callable[..., dict[str, Any]],
) -> None:
    config = {**tiny_config(resnet101={"freeze": True, "lr": 3e-4}), "classifier": {"lr": 5e-3}}
    module = MultiModalLightningModule(config, small_spec(), weight_decay=0.2)
    optimizer = module.configure_optimizers()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
        "dinov3_backbone": 1e-4,
        "fusion": 1e-3,
        "classifier": 5e-3,
    }
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.2}


def test_a_checkpoint_is_plain_and_comes_back_bit_for_bit(
    module: MultiModalLightningModule, task: str, tmp_path: Path
) -> None:
    trainer = trained(module, batches(task), tmp_path)
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    assert all(key.startswith("model.") for key in content["state_dict"])
    plain = content["hyper_parameters"]
    assert type(plain["config"]) is dict
    assert json.loads(json.dumps(plain)) == plain
    assert plain["config"]["backbones"]["resnet101"]["width"] == 2
    assert plain["spec"] == module.spec.to_dict()
    again = MultiModalLightningModule.load_from_checkpoint(path, weights_only=True)
    assert again.spec == module.spec
    assert again.model.config == module.model.config
    for key, value in module.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    again.model.save_pretrained(tmp_path / "folder")
    assert (tmp_path / "folder" / "model.safetensors").is_file()


def test_a_checkpoint_is_loaded_without_the_pretrained_files(
    config: dict[str, Any], tmp_path: Path
) -> None:
    source = MultiModalLightningModule(config, small_spec())
    weights = tmp_path / "vit"
    source.model.dinov3_backbone.model.save_pretrained(weights)
    config["backbones"]["dinov3"] = {"model_name": str(weights), "input_size": 32}
    module = MultiModalLightningModule(config, small_spec())
    trained(module, batches("multilabel"), tmp_path).save_checkpoint(tmp_path / "last.ckpt")
    for file in weights.iterdir():
        file.unlink()
    weights.rmdir()
    again = MultiModalLightningModule.load_from_checkpoint(tmp_path / "last.ckpt")
    assert again.model.dinov3_backbone.output_dim == 16


def without_lightning(code: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys\nsys.modules['pytorch_lightning'] = None\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )


def test_without_lightning_the_error_says_what_to_install() -> None:
    result = without_lightning("""
import multimodal.training
from multimodal.contract.errors import MultimodalError
try:
    multimodal.training.MultiModalLightningModule
except MultimodalError as problem:
    print(problem.message)
""")
    assert result.returncode == 0, result.stderr
    assert "pip install 'mm-sentinel-fusion[train]'" in result.stdout


def test_importing_the_package_loads_no_torch() -> None:
    result = without_lightning(
        "import multimodal.training\nassert 'torch' not in sys.modules\n"
        "assert 'MultiModalLightningModule' in dir(multimodal.training)"
    )
    assert result.returncode == 0, result.stderr
