"""The 24 real BigEarthNet patches: the way of a pixel by hand, and a model that learns them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from sklearn.metrics import average_precision_score
from torch.utils.data import DataLoader, TensorDataset

from multimodal.contract.classes import BIGEARTHNET19_NAMES
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import default_spec
from multimodal.scene import Batch, open_scene
from multimodal.training import MultiModalLightningModule
from multimodal.training.lightning_door import pl

REPOSITORY = Path(__file__).parents[2]
SIZE = 120
EPOCHS = 40
# Over the BigEarthNet v2 train split, `120_nearest` of ConfigILM (Clasen et al. 2024).
PUBLISHED = {
    "B01": (361.0768, 575.0687), "B02": (438.3721, 607.0269), "B03": (614.0557, 603.2968),
    "B04": (588.4096, 684.5688), "B05": (942.8433, 738.4327), "B06": (1769.9316, 1100.4561),
    "B07": (2049.5515, 1275.8054), "B08": (2193.2920, 1369.3717), "B8A": (2235.5566, 1356.5441),
    "B09": (2241.4553, 1316.3933), "B11": (1568.2268, 1070.1613), "B12": (997.7325, 813.5276),
    "VH": (-19.352558, 5.590506), "VV": (-12.643864, 5.133493),
}  # fmt: skip
# Named here once more, by hand: what the model is fed with must not change unnoticed.
PRESETS = {
    "s2-14": "B04 B03 B02 B01 B05 B06 B07 B08 B8A B09 B11 B12 NDVI NDWI",
    "s2-12": "B04 B03 B02 B01 B05 B06 B07 B08 B8A B09 B11 B12",
    "s2-10": "B04 B03 B02 B05 B06 B07 B08 B8A B11 B12",
}


@pytest.fixture(scope="module")
def patches() -> list[dict[str, Any]]:
    """Return name, folder and labels of every patch."""
    data = Path(os.environ.get("MM_TEST_DATA") or REPOSITORY / ".." / "shared" / "data")
    folder = data / "ben_v2"
    if not folder.is_dir():
        pytest.skip("the BigEarthNet patches are not here (set MM_TEST_DATA to the shared data)")
    listed = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    assert len(listed) == 24
    return [{**patch, "folder": folder / "patches" / patch["patch"]} for patch in listed]


def assembled(folder: Path, preset: str) -> Batch:
    """Return the one tile of a patch as the scene reader makes it from the folder."""
    source = (RasterSource(str(folder)),)
    with open_scene(source, source, default_spec(s2_preset=preset)) as scene:
        (batch,) = scene.batches(scene.select(), 1, 1.0)
    return batch


def raw(folder: Path, band: str) -> np.ndarray:
    """Return a band by its file name, (120, 120) float64, coarser pixels repeated."""
    (path,) = folder.glob(f"*_{band}.tif")
    with rasterio.open(path) as dataset:
        values = dataset.read(1).astype(np.float64)
    times = SIZE // len(values)
    return values.repeat(times, axis=0).repeat(times, axis=1)


def by_hand(folder: Path, channel: str) -> np.ndarray:
    """Return (x - mean) / std of a channel, from the formulas alone."""
    if channel in ("NDVI", "NDWI"):
        first, second = {"NDVI": ("B08", "B04"), "NDWI": ("B03", "B08")}[channel]
        a, b = raw(folder, first), raw(folder, second)
        total = a + b
        return np.where(total == 0, 0, (a - b) / np.where(total == 0, 1, total)) / 0.5
    mean, std = PUBLISHED[channel]
    return (raw(folder, channel) - mean) / std


def tiny_config() -> dict[str, Any]:
    vit = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    rate = {"pretrained": False, "lr": 3e-3}
    return {
        "backbones": {
            "dinov3": {**rate, "config": vit, "input_size": 64},
            "resnet101": {**rate, "arch": "resnet18", "width": 8},
        },
        "fusion": {"lr": 3e-3},
        "classifier": {"lr": 3e-3},
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_assembled_tensors_are_the_normalised_raw_bands(
    patches: list[dict[str, Any]], preset: str
) -> None:
    for patch in patches:
        batch = assembled(patch["folder"], preset)
        expected = np.stack([by_hand(patch["folder"], name) for name in PRESETS[preset].split()])
        assert batch.s2.shape == (1, *expected.shape)
        np.testing.assert_allclose(batch.s2[0], expected, atol=2e-5, rtol=0)
        radar = np.stack([by_hand(patch["folder"], name) for name in ("VH", "VV")])
        np.testing.assert_allclose(batch.s1[0], radar, atol=2e-5, rtol=0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Use one thread: two that wait for each other on a busy machine take 20 times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_tiny_model_learns_the_patches_by_heart(
    patches: list[dict[str, Any]], tmp_path: Path
) -> None:
    """A pipeline that mixes up tiles, channels or labels, or does not learn, ends far below."""
    tiles = [assembled(patch["folder"], "s2-14") for patch in patches]
    s1_data = torch.from_numpy(np.concatenate([tile.s1 for tile in tiles]))
    s2_data = torch.from_numpy(np.concatenate([tile.s2 for tile in tiles]))
    truth = torch.tensor([[n in p["labels19"] for n in BIGEARTHNET19_NAMES] for p in patches])
    data = TensorDataset(s1_data, s2_data, truth)
    pl.seed_everything(0, verbose=False)
    module = MultiModalLightningModule(tiny_config())
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, check_val_every_n_epoch=EPOCHS, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    shuffled = DataLoader(data, batch_size=8, shuffle=True)
    trainer.fit(module, shuffled, DataLoader(data, batch_size=24))
    module.eval()
    with torch.no_grad():
        probabilities = module(s1_data, s2_data).sigmoid()
    told = truth.any(dim=0) & ~truth.all(dim=0)
    assert int(told.sum()) == 12
    macro = average_precision_score(truth[:, told], probabilities[:, told], average="macro")
    assert macro >= 0.99
    assert float(trainer.callback_metrics["val_ap_macro"]) == pytest.approx(macro, abs=1e-6)
