"""classify(job): scene, model, predictions. The one use case that both doors call."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .checkpoint import from_pretrained
from .contract.drive import check_room
from .contract.errors import CancelledError, ModelFolderError
from .contract.job import ClassifyJob, check_sensors, fingerprint
from .contract.messages import Log, Message, Phase, Plan, Progress, Rows
from .contract.model_folder import config_digest, read_spec
from .contract.result import COMPLETE, OK, PARTIAL, RunSummary, TileResult, result_bytes
from .contract.source_identity import without_credentials
from .contract.spec import ModelSpec
from .contract.target import check_output, real_path
from .contract.version import version
from .estimate import with_seconds
from .inference import (
    BatchStopped,
    FloatArray,
    Predictor,
    choose_device,
    choose_precision,
    default_batch_size,
    describe_device,
)
from .model import MultiModalModel
from .predictions import Journal, JournalState
from .predictions.journal import held_state
from .remembered import remember_speed
from .scene import Batch, Scene, Tile, open_scene

NOT_FINITE = "skipped: not finite"

Emit = Callable[[Message], None]
IsCancelled = Callable[[], bool]


@dataclass
class ModelCache:
    """Keeps the last model loaded: a second run in a warm worker starts at once."""

    _key: tuple[str, str, str] | None = None
    _model: MultiModalModel | None = None

    def get(
        self, folder: str, device: torch.device, is_cancelled: IsCancelled = lambda: False
    ) -> MultiModalModel:
        """Return the model of a folder on a device, loaded anew only if something changed."""
        key = (str(Path(folder).resolve()), config_digest(folder), str(device))
        if self._model is None or key != self._key:
            self._model = None
            self._model = from_pretrained(folder, device=device, is_cancelled=is_cancelled)
            self._key = key
        return self._model


def classify(
    job: ClassifyJob,
    emit: Emit = lambda message: None,
    is_cancelled: IsCancelled = lambda: False,
    models: ModelCache | None = None,
) -> RunSummary:
    """Run a job to its end, or to its cancel, and return what stands in ``job.output``.

    The output is a GeoPackage; every emitted row is committed in it. A run with the same
    fingerprint goes on where the file ends.

    Raises:
        MultimodalError: what went wrong and what to do; finished tiles are kept.
    """
    return _Run(job, emit, is_cancelled, models or ModelCache()).run()


def inspect(job: ClassifyJob) -> dict[str, Any]:
    """Return what is understood of a job's scene, as plain values for JSON; writes nothing.

    Raises:
        MultimodalError: the scene is refused, or needs a decision of the user.
    """
    with _open(job, read_spec(job.model)) as scene:
        report = scene.describe(job.extent_wkt, job.aoi_wkt, job.min_valid)
    return with_seconds(report, job.model, job.device)


def _open(job: ClassifyJob, spec: ModelSpec) -> Scene:
    return open_scene(job.s2, job.s1, spec, stride=job.stride, mask=job.mask, options=job.options)


@dataclass
class _Run:
    job: ClassifyJob
    emit: Emit
    is_cancelled: IsCancelled
    models: ModelCache
    started: float = field(default_factory=time.monotonic)
    device: str = ""
    precision: str = ""
    done_now: int = 0
    report: dict[str, Any] = field(default_factory=dict)

    def run(self) -> RunSummary:
        self.emit(Phase("open", "Opening the rasters"))
        spec = read_spec(self.job.model)
        _check_trained(spec, self.job.model)
        check_sensors(self.job.s1, spec)
        identity = fingerprint(self.job)
        check_output(self.job)
        device = choose_device(self.job.device)
        self.device = describe_device(device)
        self.precision = choose_precision(self.job.precision, device)
        with _open(self.job, spec) as scene:
            for warning in scene.warnings:
                self.emit(Log("warning", warning))
            tiles = scene.select(self.job.extent_wkt, self.job.aoi_wkt)
            held = held_state(self.job.output, self.job.overwrite)
            todo = [tile for tile in tiles if held is None or tile.tile_id not in held.finished]
            size = min(self.job.batch_size or default_batch_size(device), max(len(todo), 1))
            self.emit(Plan(len(tiles), len(todo), scene.crs_wkt, self.device, self.precision, size))
            if held is not None and held.state == COMPLETE and not todo:
                return self._summary(scene, tiles, held, held.state)
            self.report = scene.describe(self.job.extent_wkt, self.job.aoi_wkt, self.job.min_valid)
            self._check_room(len(todo), len(spec.classes))
            predictor = self._predictor(device, size) if todo else None
            return self._write(scene, tiles, todo, predictor, spec, identity)

    def _check_room(self, todo: int, classes: int) -> None:
        """Refuse a run that the drive cannot hold, before any work is done."""
        skipped = self.report["expected_skipped"] / max(self.report["selected"], 1)
        target = real_path(self.job.output)
        replaced = target.stat().st_size if self.job.overwrite and target.exists() else 0
        needed = result_bytes(todo, round(todo * (1 - skipped)), classes)
        check_room(target, max(needed - replaced, 0))

    def _predictor(self, device: torch.device, size: int) -> Predictor | None:
        """Load the model before the output is touched; None where the run was cancelled."""
        if self.is_cancelled():
            return None
        self.emit(Phase("model", "Loading the model"))
        try:
            model = self.models.get(self.job.model, device, self.is_cancelled)
        except CancelledError:
            return None
        tell = self._tell_shrink
        return Predictor(model, device, size, tell, self.precision, self.is_cancelled)

    def _write(
        self, scene: Scene, tiles: Sequence[Tile], todo: Sequence[Tile],
        predictor: Predictor | None, spec: ModelSpec, identity: dict[str, object],
    ) -> RunSummary:  # fmt: skip
        if todo and self.is_cancelled() and self.job.overwrite and Path(self.job.output).exists():
            raise CancelledError("Cancelled before the first tile; the existing file is unchanged.")
        run = {
            "device": self.device, "precision": self.precision, "versions": _versions(),
            "parameters": shown(self.job),
            "scene": self.report,
        }  # fmt: skip
        journal = Journal.open(
            self.job.output, spec, identity, scene.crs_wkt, run, overwrite=self.job.overwrite
        )
        try:
            # The same run may have gone on elsewhere before this one held the file.
            finished = journal.state().finished
            todo = [tile for tile in todo if tile.tile_id not in finished]
            if predictor is not None:
                self._fill(journal, scene, tiles, todo, predictor)
            self.emit(Phase("finish", "Closing the result"))
            held = journal.state()
        except BaseException:
            journal.abandon()
            raise
        state = COMPLETE if self.done_now == len(todo) else PARTIAL
        summary = self._summary(scene, tiles, held, state)
        journal.close(state, scene.warnings)
        model = str(identity["model"])
        remember_speed(model, self.job.device, self.done_now, summary.seconds)
        return summary

    def _fill(
        self, journal: Journal, scene: Scene, tiles: Sequence[Tile], todo: Sequence[Tile],
        predictor: Predictor,
    ) -> None:  # fmt: skip
        """Classify tiles batch by batch, each one committed before it is told."""
        self.emit(Phase("classify", f"Classifying {len(todo)} tiles on {self.device}"))
        self.started = time.monotonic()
        batches = scene.batches(todo, predictor.limit, self.job.min_valid, self.is_cancelled)
        with suppress(BatchStopped), closing(batches):  # type: ignore[type-var]  # a generator
            for batch in batches:
                self._classify_batch(batch, predictor, scene, journal, len(tiles), len(todo))
                if self.is_cancelled():
                    break

    def _classify_batch(
        self, batch: Batch, predictor: Predictor, scene: Scene, journal: Journal,
        total: int, todo: int,
    ) -> None:  # fmt: skip
        probabilities = predictor.probabilities(batch.s2, batch.s1)
        rows = to_rows(batch, probabilities, scene)
        journal.append(rows)
        self.done_now += len(rows)
        rate = self.done_now / max(time.monotonic() - self.started, 1e-9)
        self.emit(Rows(tuple(rows)))
        done = total - todo + self.done_now
        self.emit(Progress(done, total, rate, (todo - self.done_now) / rate))

    def _summary(
        self, scene: Scene, tiles: Sequence[Tile], held: JournalState, state: str
    ) -> RunSummary:
        seconds = time.monotonic() - self.started
        return RunSummary(
            output=self.job.output, tiles=len(tiles), classified=held.classified,
            skipped=sum(held.skipped_reasons.values()), device=self.device,
            precision=self.precision, seconds=seconds,
            tiles_per_second=self.done_now / seconds if seconds > 0 else 0.0,
            state=state, skipped_reasons=dict(held.skipped_reasons), warnings=scene.warnings,
        )  # fmt: skip

    def _tell_shrink(self, limit: int) -> None:
        text = f"{self.device} ran out of memory; going on with batches of {limit}."
        self.emit(Log("warning", text))


def to_rows(batch: Batch, probabilities: FloatArray, scene: Scene) -> list[TileResult]:
    """Return a result row for each tile read; numbers that are not finite become a skip."""
    rows = []
    given = iter(probabilities)
    for read in batch.reads:
        values = next(given) if read.status == OK else None
        status = read.status
        if values is not None and not np.isfinite(values).all():
            values, status = None, NOT_FINITE
        rows.append(
            TileResult(
                tile_id=read.tile.tile_id, row=read.tile.row, col=read.tile.col,
                corners=scene.grid.corners(read.tile), status=status,
                probabilities=None if values is None else tuple(map(float, values)),
                valid_s2=read.valid_s2, valid_s1=read.valid_s1, cloud=read.cloud,
            )
        )  # fmt: skip
    return rows


def _check_trained(spec: ModelSpec, folder: str) -> None:
    if not spec.provenance:
        raise ModelFolderError(
            f"The model in '{folder}' says nothing about its training ('provenance' is empty): "
            "an untrained head would give numbers without meaning. Train it, and save it with a "
            "spec that names its origin.",
            path=folder,
        )


def _versions() -> dict[str, str]:
    return {
        "multimodal": version(), "torch": torch.__version__, "numpy": np.__version__,
        "python": platform.python_version(),
    }  # fmt: skip


def shown(job: ClassifyJob) -> dict[str, object]:
    """Return the job for the record, without credentials."""
    shown = job.to_dict()
    masks = [shown["mask"]] if shown["mask"] else []
    for source in (*shown["s2"], *shown["s1"], *masks):
        source["path"] = without_credentials(source["path"])
    return shown
