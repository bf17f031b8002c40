"""Train the sample model on two of the sample scenes, score it on the third, save it.

    python sample_data/train_sample_model.py

A demonstration, not a classifier: a dozen labelled tiles cannot teach 19 classes. It needs
scikit-learn (the extra ``train``) beside the engine; about two minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from multimodal import MultiModalModel
from multimodal.checkpoint import file_sha256
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import ModelSpec, default_spec
from multimodal.contract.weights import WEIGHTS_FILE
from multimodal.scene import open_scene

HERE = Path(__file__).resolve().parent
TRAIN_SCENES = ("33UUP_26-27_55-59", "33UUP_33-35_69-71")
HELD_OUT_SCENE = "33UUP_37-38_87-90"
LICENSE = (
    "CDLA-Permissive-1.0 (trained on BigEarthNet v2; "
    "contains modified Copernicus Sentinel data 2017)"
)
CONFIG: dict[str, Any] = {
    "backbones": {
        "dinov3": {
            "pretrained": False,
            "lr": 1e-3,
            "config": {
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
            },
        },
        "resnet101": {"pretrained": False, "width": 8, "lr": 1e-3},
    },
    "fusion": {"type": "concat"},
    "classifier": {"type": "linear", "num_classes": 19, "drop_rate": 0.15, "lr": 2e-3},
    "image_size": 120,
}
SEED = 19
STEPS = 300
WEIGHT_DECAY = 0.05
THREADS = 2


@dataclass(frozen=True)
class Tiles:
    """Labelled tiles: s1 (N, 2, 120, 120), s2 (N, 14, 120, 120), both z-scored, y (N, 19)."""

    s1: Tensor
    s2: Tensor
    y: Tensor


def main() -> None:
    """Train, score, save and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, default=HERE / "scenes")
    parser.add_argument("--output", type=Path, default=HERE / "model")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()

    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    spec = default_spec()
    train = joined([read_tiles(arguments.scenes, name, spec) for name in TRAIN_SCENES])
    held_out = read_tiles(arguments.scenes, HELD_OUT_SCENE, spec)
    model = MultiModalModel(CONFIG, spec)
    print(f"{parameter_count(model):,} parameters; {len(train.y)} tiles to train on, "
          f"{len(held_out.y)} held out")  # fmt: skip

    started = time.monotonic()
    fit(model, train, arguments.steps)
    recalibrate_batch_norm(model, train)
    losses = {"train_loss": loss_of(model, train), "held_out_loss": loss_of(model, held_out)}
    metrics = {**score(model, train, held_out), **losses}
    model.save_pretrained(arguments.output, described(spec, metrics, train, arguments.steps))
    print(json.dumps(metrics, indent=2))
    weights = arguments.output / WEIGHTS_FILE
    print(f"{weights}: {weights.stat().st_size / 1e6:.2f} MB, sha256 {file_sha256(weights)}, "
          f"{time.monotonic() - started:.0f} s")  # fmt: skip


def read_tiles(folder: Path, name: str, spec: ModelSpec) -> Tiles:
    """Return the labelled tiles of one scene, read as the worker reads them."""
    labels = read_labels(folder / f"{name}_labels.geojson", spec)
    s2 = RasterSource(str(folder / f"{name}_S2_12band_10m.tif"))
    s1 = RasterSource(str(folder / f"{name}_S1_VV_VH_dB.tif"))
    pixels: list[tuple[np.ndarray, np.ndarray, list[float]]] = []
    with open_scene([s2], [s1], spec) as scene:
        tiles = [tile for tile in scene.select(None, None) if (tile.row, tile.col) in labels]
        for batch in scene.batches(tiles, 8, 1.0, lambda: False):
            complete = [read.tile for read in batch.reads if read.status == "ok"]
            targets = [labels[tile.row, tile.col] for tile in complete]
            pixels += zip(batch.s1, batch.s2, targets, strict=True)
    if len(pixels) != len(labels):
        raise SystemExit(f"{name}: {len(labels)} tiles have labels, {len(pixels)} were read.")
    s1_tiles, s2_tiles, targets = zip(*pixels, strict=True)
    return Tiles(*(torch.tensor(np.stack(part)) for part in (s1_tiles, s2_tiles)),
                 torch.tensor(targets))  # fmt: skip


def read_labels(path: Path, spec: ModelSpec) -> dict[tuple[int, int], list[float]]:
    """Return (row, col) of a tile -> 0 or 1 for each class of the spec."""
    labels = {}
    for feature in json.loads(path.read_text(encoding="utf-8"))["features"]:
        properties = feature["properties"]
        present = set(properties["labels19"].split("; "))
        if unknown := present - set(spec.class_names):
            raise SystemExit(f"{path.name}: unknown classes {', '.join(sorted(unknown))}.")
        labels[properties["row"], properties["col"]] = [
            float(name in present) for name in spec.class_names
        ]
    return labels


def joined(parts: list[Tiles]) -> Tiles:
    """Return the tiles of several scenes as one."""
    return Tiles(*(torch.cat([getattr(part, key) for part in parts]) for key in ("s1", "s2", "y")))


def dihedral(image: Tensor, turn: int) -> Tensor:
    """Return (..., H, W) in one of the 8 orientations of a square."""
    turned = torch.rot90(image, turn % 4, dims=(-2, -1))
    return turned.flip(-1) if turn >= 4 else turned


def augmented(tiles: Tiles) -> Tiles:
    """Return every tile in an orientation of its own, drawn at random; S1 and S2 alike."""
    turns = torch.randint(8, (len(tiles.y),)).tolist()
    s1, s2 = (
        torch.stack([dihedral(tile, turn) for tile, turn in zip(part, turns, strict=True)])
        for part in (tiles.s1, tiles.s2)
    )
    return Tiles(s1, s2, tiles.y)


def orientations(tiles: Tiles) -> Iterator[Tiles]:
    """Yield all tiles in each of the 8 orientations."""
    for turn in range(8):
        yield Tiles(dihedral(tiles.s1, turn), dihedral(tiles.s2, turn), tiles.y)


def fit(model: MultiModalModel, tiles: Tiles, steps: int) -> None:
    """Fit on full batches, the learning rate rising and falling once."""
    groups = model.get_parameter_groups()
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [group["lr"] for group in groups], total_steps=steps, pct_start=0.2
    )
    model.train()
    for step in range(1, steps + 1):
        batch = augmented(tiles)
        loss = bce(model(batch.s1, batch.s2), batch.y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step in (1, 5) or step % 20 == 0:
            print(f"step {step:4d}  loss {loss.item():.4f}", flush=True)


@torch.no_grad()
def recalibrate_batch_norm(model: MultiModalModel, tiles: Tiles) -> None:
    """Set BatchNorm statistics to their mean over the training set, for the final weights.

    The running ones lag behind weights that still move, and eval mode would not be the model
    that was trained.
    """
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    model.train()
    for batch in orientations(tiles):
        model(batch.s1, batch.s2)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


@torch.inference_mode()
def probabilities(model: MultiModalModel, tiles: Tiles) -> Tensor:
    """Return (N, classes) in eval mode."""
    return model.eval()(tiles.s1, tiles.s2).sigmoid()


@torch.inference_mode()
def loss_of(model: MultiModalModel, tiles: Tiles) -> float:
    """Return the mean binary cross-entropy in eval mode."""
    return round(bce(model.eval()(tiles.s1, tiles.s2), tiles.y).item(), 4)


def score(model: MultiModalModel, train: Tiles, held_out: Tiles) -> dict[str, Any]:
    """Return average precision on the held-out tiles, beside what no model at all would get.

    Micro: over all tiles and classes. Macro: mean over the classes that have positives and
    negatives among the held-out tiles. ``prevalence`` is what a random ranking gets; ``frequency``
    what the class frequencies of the training tiles get, without looking at any pixel.
    """
    truth = held_out.y.numpy().astype(int)
    frequency = train.y.mean(dim=0).expand_as(held_out.y)
    mixed = (truth.min(axis=0) == 0) & (truth.max(axis=0) == 1)
    found = probabilities(model, held_out)
    metrics = {
        "micro_ap": average_precision_score(truth, found, average="micro"),
        "micro_ap_frequency": average_precision_score(truth, frequency, average="micro"),
        "micro_prevalence": truth.mean(),
        "macro_ap": average_precision_score(truth[:, mixed], found[:, mixed], average="macro"),
        "macro_prevalence": truth[:, mixed].mean(),
        "train_micro_ap": average_precision_score(
            train.y.numpy(), probabilities(model, train), average="micro"
        ),
    }
    return {
        "held_out_scene": HELD_OUT_SCENE,
        "held_out_tiles": len(truth),
        "macro_classes": int(mixed.sum()),
        **{key: round(float(value), 4) for key, value in metrics.items()},
    }


def described(spec: ModelSpec, metrics: dict[str, Any], train: Tiles, steps: int) -> ModelSpec:
    """Return the spec with where the model comes from and how good it is."""
    provenance = {
        "purpose": f"demonstration, trained on {len(train.y)} tiles: not a classifier",
        "data": "BigEarthNet v2 (reBEN), https://bigearth.net",
        "attribution": "contains modified Copernicus Sentinel data 2017",
        "scenes": list(TRAIN_SCENES),
        "tiles": len(train.y),
        "script": "sample_data/train_sample_model.py",
        "steps": steps,
        "seed": SEED,
    }
    return replace(spec, license=LICENSE, provenance=provenance, metrics=metrics, calibrated=False)


def parameter_count(model: MultiModalModel) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
