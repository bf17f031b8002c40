"""train(order): few labels and frozen networks become a model folder, with honest figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..contract.errors import CancelledError
from ..contract.messages import Log, Message, Phase, Progress
from ..contract.source_identity import without_credentials
from ..contract.spec import ModelSpec, default_spec
from ..contract.train_order import TrainOrder
from ..devices import choose_device, gpu_errors_told
from ..model import MultiModalModel
from ..versions import computing_versions
from .base import doubts, load_base, spec_of, with_head
from .calibration import FEW
from .embeddings import Embedder
from .extras import load_extra
from .gathering import Gathered, gather, sample
from .labels import read_labels
from .linear_head import LinearFitter
from .mlp_head import MlpFitter
from .probabilities import probabilities
from .report import (
    REPORT_FORMAT,
    classes_part,
    errors_part,
    spec_metrics,
    validation_part,
)
from .trained_folder import check_target, write_folder
from .validation import Fitter, Tuned, tune, validate

FOLD_TOLERANCE = 1e-5

Emit = Callable[[Message], None]


def train(
    order: TrainOrder,
    emit: Emit = lambda message: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    cache: str | Path | None = None,
) -> dict[str, Any]:
    """Train a head and write the model folder; return the report as plain values.

    Args:
        order: scenes, labels, base and output.
        emit: gets phases, progress and warnings.
        is_cancelled: asked between the layers of the network, and between folds.
        cache: folder of the embedding caches; by default in the user's cache folder.

    Raises:
        MultimodalError: what is wrong and what to do; nothing is written.
        CancelledError: stopped; embeddings that were computed are kept, nothing else is.
    """
    started = time.monotonic()
    check_target(order)
    load_extra("sklearn.linear_model")  # what is missing is told before any work is done
    emit(Phase("open", "Reading the labels"))
    source = read_labels(order.labels)
    emit(Phase("model", "Loading the base"))
    base = load_base(order.base, is_cancelled)
    warnings = doubts(base)
    with gpu_errors_told():
        embedder = Embedder(
            base, choose_device(order.device), lambda text: emit(Log("warning", text)), is_cancelled
        )
        emit(Phase("open", "Opening the scenes"))
        gathered = gather(order, source, embedder, cache, progress(emit))
    warnings += [*gathered.warnings, *gathered.sampling["warnings"]]
    for text in warnings:
        emit(Log("warning", text))
    report, model = _fitted(order, base, gathered, emit, is_cancelled)
    report["warnings"] = warnings + report["warnings"]
    report["seconds"] = round(time.monotonic() - started, 1)
    emit(Phase("finish", "Writing the model"))
    write_folder(order, model, report, gathered)
    return report


def preview_labels(
    order: TrainOrder, is_cancelled: Callable[[], bool] = lambda: False
) -> dict[str, Any]:
    """Return what there is to train on, without training; see :mod:`.sampling`.

    Whether tiles have enough valid pixels is not looked at. Raises as :func:`train`.
    """
    source = read_labels(order.labels)
    return sample(order, source, spec_of(order.base), is_cancelled)


def progress(emit: Emit) -> Callable[[int, int], None]:
    """Return what turns counts of tiles into messages."""
    started = time.monotonic()

    def tell(done: int, total: int) -> None:
        rate = done / max(time.monotonic() - started, 1e-9)
        emit(Progress(done, total, rate, (total - done) / rate if rate else None))

    return tell


def _fitted(
    order: TrainOrder, base: MultiModalModel, gathered: Gathered, emit: Emit,
    is_cancelled: Callable[[], bool],
) -> tuple[dict[str, Any], MultiModalModel]:  # fmt: skip
    def go_on(share: float = 0.0) -> None:
        if is_cancelled():
            raise CancelledError("Cancelled. The embeddings are kept; nothing was written.")

    tiles, fitter = gathered.tiles, _fitter(order, base, gathered)
    go_on()
    emit(Phase("classify", f"Validating on blocks of {gathered.block_m:.0f} m"))
    done = validate(tiles, fitter, go_on)
    go_on()
    emit(Phase("classify", f"Fitting the head on {len(tiles.x)} tiles"))
    tuned = tune(tiles, fitter, np.arange(len(tiles.x)))
    go_on()
    (plain,) = fitter.fit(tiles.x, tiles.says, [tuned.setting])
    head = plain.calibrated(tuned.calibration.scale, tuned.calibration.bias)
    validation = validation_part(gathered, done)
    report: dict[str, Any] = {
        "format": REPORT_FORMAT,
        "kind": "training",
        "output": order.output,
        "task": "multilabel" if tiles.multi else "multiclass",
        "tiles": len(tiles.x),
        "classes": classes_part(gathered, tuned),
        "head": {"type": order.head, _setting_name(order): tuned.setting,
                 "tuned": tuned.is_tuned, "balanced": order.balanced},
        "sampling": gathered.sampling,
        "validation": validation,
        "tested_tiles": errors_part(gathered, done),
        "scenes": [_names(pair.s2) + _names(pair.s1) for pair in order.scenes],
        "labels": [Path(path).name for path in order.labels.paths],
        "versions": {**computing_versions(), "scikit-learn": load_extra("sklearn").__version__},
    }  # fmt: skip
    spec = _spec(order, base, gathered, tuned, report)
    model = with_head(base, spec, head)
    report["head"]["folding_error"] = _folding_error(model, plain, tuned, gathered)
    report["warnings"] = _warnings(report, gathered, tuned)
    return report, model


def _fitter(order: TrainOrder, base: MultiModalModel, gathered: Gathered) -> Fitter:
    if order.head == "linear":
        return LinearFitter(gathered.tiles.multi, order.balanced)
    config = replace(
        base.config.classifier, type="mlp", num_classes=len(gathered.classes.names)
    )  # fmt: skip
    return MlpFitter(gathered.tiles.multi, config, order.balanced)


def _setting_name(order: TrainOrder) -> str:
    return "C" if order.head == "linear" else "epochs"


def _spec(
    order: TrainOrder, base: MultiModalModel, gathered: Gathered, tuned: Tuned,
    report: dict[str, Any],
) -> ModelSpec:  # fmt: skip
    own = default_spec(gathered.classes.names, gathered.classes.colors)
    before = base.spec
    return replace(
        before,
        classes=own.classes,
        thresholds=tuple(map(float, tuned.thresholds)),
        task=report["task"],
        temperature=1.0,
        calibrated=bool(tuned.calibration.fitted.any()),
        license=order.license or before.license,
        provenance={
            "method": f"few-shot: {order.head} head on frozen embeddings",
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "tiles": report["tiles"],
            "scenes": report["scenes"],
            "labels": report["labels"],
            "head": report["head"],
            "versions": report["versions"],
            "base": {
                "name": Path(order.base).name,
                "weights_sha256": before.weights_sha256,
                "provenance": dict(before.provenance),
                "license": before.license,
            },
        },
        metrics=spec_metrics(report["validation"]),
        weights_sha256="",
    )


def _folding_error(model: MultiModalModel, plain: Any, tuned: Tuned, gathered: Gathered) -> float:
    """Return how far the module's probabilities are from those that were fitted, at most."""
    expected = probabilities(
        tuned.calibration.apply(plain.logits(gathered.tiles.x)), gathered.tiles.multi
    )  # fmt: skip
    with torch.inference_mode():
        logits = model.classifier(torch.from_numpy(gathered.vectors["fused"])).double().numpy()
    return float(np.abs(probabilities(logits, gathered.tiles.multi) - expected).max())


def _warnings(report: dict[str, Any], gathered: Gathered, tuned: Tuned) -> list[str]:
    found = []
    validation = report["validation"]
    if validation["folds"] < 3:
        found.append(validation["note"])
    if report["head"]["folding_error"] > FOLD_TOLERANCE:
        found.append(
            f"The head in the module is {report['head']['folding_error']:.1e} from the one that "
            "was fitted: some embeddings hardly vary. Train over another base."
        )
    blocks = gathered.tiles.blocks
    for n, name in enumerate(gathered.classes.names):
        there = np.unique(blocks[gathered.tiles.says[:, n] == 1])
        if len(there) == 1 and len(np.unique(blocks)) > 1:
            found.append(f"'{name}' lies in one block: what is said of it was never tested.")
    kept = [row["name"] for row in report["classes"] if not row["calibrated"]]
    if kept:
        found.append(
            f"Not calibrated, threshold 0.5 (fewer than {FEW} tiles with or without the class, or "
            f"too few blocks): {', '.join(kept)}."
        )
    return found


def _names(sources: Any) -> list[str]:
    return [Path(without_credentials(source.path)).name for source in sources]
