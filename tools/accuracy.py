"""Score the few-shot probe on the labelled sample scenes: two to train on, the third to test.

    .venv/bin/python tools/accuracy.py

The figures of docs/accuracy.md: the class shares alone, plain band statistics, and fused
embeddings of networks with random weights, all with the same probe on the same folds. With
``--model DIR`` a model folder's networks are scored too. A few minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from multimodal import MultiModalModel
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import ModelSpec, default_spec
from multimodal.contract.train_order import LabelOptions
from multimodal.devices import choose_device
from multimodal.scene import open_scene
from multimodal.training.blocks import block_numbers
from multimodal.training.embeddings import Embedder
from multimodal.training.figures import average_precision, macro_ap
from multimodal.training.labels import joined_classes, label_scene, lon_lat, read_labels
from multimodal.training.linear_head import LinearFitter
from multimodal.training.probabilities import probabilities, total_loss
from multimodal.training.validation import Tiles, tune

SCENES = Path(__file__).resolve().parents[1] / "sample_data" / "scenes"
NAMES = ("33UUP_26-27_55-59", "33UUP_33-35_69-71", "33UUP_37-38_87-90")
FIELD = "labels19"
TILE_M, BLOCK_M = 1200.0, 1200.0
SEEDS = range(5)


@dataclass(frozen=True)
class Data:
    """Tiles of all scenes: s2 and s1 (N, C, 120, 120) normalised, says (N, classes)."""

    s2: np.ndarray
    s1: np.ndarray
    says: np.ndarray
    places: np.ndarray
    scene: np.ndarray


@dataclass(frozen=True)
class Score:
    """Of one held-out scene: average precision, and the mean cross entropy of a pair in nats."""

    macro: float
    micro: float
    loss: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=Path, default=SCENES)
    parser.add_argument("--model", action="append", default=[], metavar="DIR")
    options = parser.parse_args()
    data = read(options.scenes, default_spec())
    counts = ", ".join(f"{name}: {(data.scene == n).sum()}" for n, name in enumerate(NAMES))
    print(f"{len(data.says)} tiles ({counts}), {data.says.shape[1]} classes\n")
    print("| features | macro AP by scene held out | macro AP | micro AP | cross entropy |")
    print("|---|---|---|---|---|")
    show("class shares of the other scenes", [shares(data)])
    show("mean and standard deviation of each channel", [probe(statistics(data), data)])
    show("fused, random weights, 5 seeds",
         [probe(embedded(random_model(seed), data), data) for seed in SEEDS])  # fmt: skip
    for folder in options.model:
        model = MultiModalModel.from_pretrained(folder)
        show(f"fused, {Path(folder).name}", [probe(embedded(model, data), data)])


def read(folder: Path, spec: ModelSpec) -> Data:
    """Return the labelled tiles, read as the worker reads them."""
    options = LabelOptions(
        tuple(str(folder / f"{name}_labels.geojson") for name in NAMES), (FIELD,), full_lists=True
    )
    source = read_labels(options)
    found, pixels, places = [], [], []
    for name in NAMES:
        s2 = RasterSource(str(folder / f"{name}_S2_12band_10m.tif"))
        s1 = RasterSource(str(folder / f"{name}_S1_VV_VH_dB.tif"))
        with open_scene([s2], [s1], spec, stride=1) as scene:
            labels, _ = label_scene(source, scene.grid)
            tiles = sorted(scene.grid.tile(*place) for place in labels.places.tolist())
            (batch,) = scene.batches(tiles, len(tiles), 1.0)
            order = np.lexsort((labels.places[:, 1], labels.places[:, 0]))
            labels = labels.kept(order)
            places.append(lon_lat(scene.grid, labels.places))
        assert len(batch.s2) == len(labels), f"{name} has tiles without pixels"
        found.append(labels)
        pixels.append((batch.s2, batch.s1))
    parts, _ = joined_classes(found, source.table, {})
    return Data(
        np.concatenate([s2 for s2, _ in pixels]), np.concatenate([s1 for _, s1 in pixels]),
        np.concatenate([part.says for part in parts]), np.concatenate(places),
        np.concatenate([np.full(len(part), n) for n, part in enumerate(parts)]),
    )  # fmt: skip


def statistics(data: Data) -> np.ndarray:
    """Return mean and standard deviation of each channel (N, 32)."""
    both = np.concatenate([data.s2, data.s1], axis=1).astype(np.float64)
    return np.concatenate([both.mean(axis=(2, 3)), both.std(axis=(2, 3))], axis=1)


def random_model(seed: int) -> MultiModalModel:
    """Return the default networks (ViT-B/16 and ResNet101) that have learned nothing."""
    torch.manual_seed(seed)
    nothing = {"pretrained": False}
    return MultiModalModel({"backbones": {"dinov3": nothing, "resnet101": nothing}}).eval()


def embedded(model: MultiModalModel, data: Data) -> np.ndarray:
    """Return fused embeddings (N, width)."""
    embedder = Embedder(model, choose_device("auto"))
    return embedder.embed(data.s2, data.s1)["fused"].astype(np.float64)


def shares(data: Data) -> list[Score]:
    """Score the share of each class in the other two scenes, the same for every tile."""
    scores = []
    for held_out in range(len(NAMES)):
        train, test = data.scene != held_out, data.scene == held_out
        present = (data.says[train].sum(axis=0) + 0.5) / (train.sum() + 1)
        logits = np.tile(np.log(present / (1 - present)), (int(test.sum()), 1))
        scores.append(scored(logits, data.says[test]))
    return scores


def probe(x: np.ndarray, data: Data) -> list[Score]:
    """Train on two scenes, C and calibration by blocks within them, and score the third."""
    blocks = block_numbers(data.places, BLOCK_M)
    tiles = Tiles(x, data.says, data.places, blocks, TILE_M, multi=True)
    fitter, scores = LinearFitter(multi=True), []
    for held_out in range(len(NAMES)):
        train, test = (np.flatnonzero(data.scene != held_out),
                       np.flatnonzero(data.scene == held_out))  # fmt: skip
        tuned = tune(tiles, fitter, train)
        (head,) = fitter.fit(x[train], data.says[train], [tuned.setting])
        logits = tuned.calibration.apply(head.logits(x[test]))
        scores.append(scored(logits, data.says[test]))
    return scores


def scored(logits: np.ndarray, says: np.ndarray) -> Score:
    """Score predictions for a scene."""
    found = probabilities(logits, True)
    micro = average_precision(found.ravel(), says.ravel() == 1)
    return Score(macro_ap(found, says), micro, total_loss(logits, says, True) / says.size)


def show(name: str, runs: Sequence[list[Score]]) -> None:
    """Print a row: means over scenes, and their spread over runs."""
    by_scene = np.array([[score.macro for score in run] for run in runs]).mean(axis=0)
    cells: list[Any] = [name, " / ".join(f"{value:.2f}" for value in by_scene)]
    for key in ("macro", "micro", "loss"):
        means = [np.mean([getattr(score, key) for score in run]) for run in runs]
        spread = f" ± {np.std(means):.3f}" if len(runs) > 1 else ""
        cells.append(f"{np.mean(means):.3f}{spread}")
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
