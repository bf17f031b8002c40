"""classify(job): scene, model, predictions. The one use case that both doors call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .batching import MOST, BatchSize
from .computing import Computed, compute_ahead, reading_threads
from .contract.drive import check_room
from .contract.errors import CancelledError, SourceError
from .contract.job import MAX_BATCH, ClassifyJob, check_sensors, fingerprint, for_record
from .contract.messages import Log, Message, Phase, Plan, Progress, rows_in_lines
from .contract.model_folder import check_trained, read_spec
from .contract.result import COMPLETE, PARTIAL, RunSummary, TileResult, result_bytes
from .contract.spec import ModelSpec
from .contract.target import check_output, real_path
from .devices import CPU, Device, choose_device, choose_precision, gpu_errors_told
from .inference import Predictor
from .inspection import described, opened
from .model_cache import ModelCache
from .predictions import Journal, JournalState
from .predictions.journal import held_state
from .remembered import remember_batch, remember_speed, remembered_batch
from .room import out_of_memory, tight_memory
from .row_writer import RowWriter
from .rows import not_finite_warning, to_rows
from .scene import Scene, Tile
from .versions import computing_versions
from .watching import SourceWatch, taken_out
from .way_choice import on_fastest_way, some_tiles, way_of

Emit = Callable[[Message], None]
IsCancelled = Callable[[], bool]


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
        CancelledError: cancelled while the rasters were opened, before there was an output.
    """
    try:
        return _Run(job, emit, is_cancelled, models or ModelCache()).run()
    except MemoryError as problem:
        raise out_of_memory() from problem


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
    warnings: list[str] = field(default_factory=list)
    watch: SourceWatch = field(init=False)
    # Committed since the last look at the sources: a slow drive is not asked for each batch.
    unproven: list[int] = field(default_factory=list)
    rows: RowWriter = field(init=False)

    def run(self) -> RunSummary:
        self.emit(Phase("open", "Opening the rasters"))
        spec = read_spec(self.job.model)
        check_trained(spec, self.job.model)
        check_sensors(self.job.s1, spec)
        # The files as they are before anything is read of them.
        self.watch = SourceWatch(source.path for source in self.job.sources)
        identity = fingerprint(self.job)
        check_output(self.job)
        with gpu_errors_told():
            device = choose_device(self.job.device)
            self.precision = way_of(device, str(identity["model"]), self.job.precision).name
        self.device = device.name
        with opened(self.job, spec, self.is_cancelled) as scene:
            self.watch.narrow(scene.files)
            for warning in scene.warnings:
                self._warn(warning)
            tiles = scene.select(self.job.extent_wkt, self.job.aoi_wkt)
            held = held_state(self.job.output, self.job.overwrite)
            todo = [tile for tile in tiles if held is None or tile.tile_id not in held.finished]
            size = self._batch_size(device, str(identity["model"]))
            read = min(size.limit, max(len(todo), 1))
            is_whole = held is not None and held.state == COMPLETE and not todo
            self.report = {} if is_whole else described(self.job, scene, self.is_cancelled)
            self.emit(Plan(
                len(tiles), len(todo), scene.crs_wkt, self.device, self.precision, read,
                self.report.get("expected_skipped", 0),
            ))  # fmt: skip
            if held is not None and held.finished:
                self._go_on_from(held)
            if held is not None and is_whole:
                return self._summary(tiles, held, held.state)
            self._check_room(len(todo), len(spec.classes))
            predictor = self._predictor(device, size, spec, read) if todo else None
            if predictor is not None:
                predictor = self._on_fastest_way(
                    predictor, scene, todo, held, str(identity["model"])
                )
            return self._write(scene, tiles, todo, predictor, spec, identity)

    def _go_on_from(self, held: JournalState) -> None:
        """Keep with what device the earlier tiles were computed."""
        before = held.device or self.device
        is_same = before.endswith(self.device) or held.state == COMPLETE
        self.device = before if is_same else f"{before}, then {self.device}"

    def _check_room(self, todo: int, classes: int) -> None:
        """Refuse a run that the drive cannot hold, before any work is done."""
        skipped = self.report["expected_skipped"] / max(self.report["selected"], 1)
        target = real_path(self.job.output)
        replaced = target.stat().st_size if self.job.overwrite and target.exists() else 0
        needed = result_bytes(todo, round(todo * (1 - skipped)), classes)
        check_room(target, max(needed - replaced, 0))

    def _batch_size(self, device: Device, model: str) -> BatchSize:
        if self.job.batch_size:
            return BatchSize(self.job.batch_size)
        known = remembered_batch(model, f"{device.name} {self.precision}")
        if known is None:
            return BatchSize.on_trial(device.kind, MAX_BATCH)
        return BatchSize(min(known, MOST.get(device.kind, known)), is_remembered=True)

    def _predictor(
        self, device: Device, size: BatchSize, spec: ModelSpec, read: int
    ) -> Predictor | None:
        """Load the model before the output is touched; None where the run was cancelled."""
        if self.is_cancelled():
            return None
        self.emit(Phase("model", "Loading the model"))
        if not self.models.holds(self.job.model, device):
            is_here = not device.has_own_memory
            tight = tight_memory(self.job.model, spec, read, computes_here=is_here)
            if tight:
                self._warn(tight)
        most = self.job.batch_size or MAX_BATCH
        try:
            model, found = self.models.on_device(
                self.job.model, device, self.is_cancelled, self._warn
            )
        except CancelledError:
            return None
        if found != device:
            self.device, size = f"{self.device}, then {found.name}", BatchSize.on_trial(CPU, most)
            self.precision = choose_precision(self.job.precision, found)
        return Predictor(model, found, size, self._warn, self.precision, self.is_cancelled, most)

    def _on_fastest_way(
        self, predictor: Predictor, scene: Scene, todo: Sequence[Tile],
        held: JournalState | None, model: str,
    ) -> Predictor:  # fmt: skip
        """Compute as earlier tiles of the result were, else as is fastest here."""
        only = held.precision.rpartition(", then ")[2] if held and held.finished else None
        found = on_fastest_way(
            predictor, self.models, model, self.job.precision, only,
            some_tiles(scene, todo, self.job.min_valid), len(todo),
            lambda text: self.emit(Log("info", text)),
        )  # fmt: skip
        self.precision = found.precision
        if held is not None and only not in (None, self.precision):
            self._warn(
                f"The {len(held.finished)} tiles that are there were computed in {only}, the rest "
                f"is in {self.precision}: their last digits differ. For one precision start over, "
                "or choose another file."
            )
            self.precision = f"{held.precision}, then {self.precision}"
        return found

    def _write(
        self, scene: Scene, tiles: Sequence[Tile], todo: Sequence[Tile],
        predictor: Predictor | None, spec: ModelSpec, identity: dict[str, object],
    ) -> RunSummary:  # fmt: skip
        if todo and self.is_cancelled() and self.job.overwrite and Path(self.job.output).exists():
            raise CancelledError("Cancelled before the first tile; the existing file is unchanged.")
        run = {
            "device": self.device, "precision": self.precision, "versions": computing_versions(),
            "parameters": for_record(self.job),
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
                self._look(journal, at_once=True)
            self.emit(Phase("finish", "Closing the result"))
            held = journal.state()
        except BaseException:
            journal.abandon()
            raise
        state = COMPLETE if self.done_now == len(todo) else PARTIAL
        spoiled = not_finite_warning(held.skipped_reasons)
        if spoiled:
            self._warn(spoiled)
        summary = self._summary(tiles, held, state)
        journal.close(state, self.warnings)
        self._remember(str(identity["model"]), predictor, summary.seconds)
        return summary

    def _fill(
        self, journal: Journal, scene: Scene, tiles: Sequence[Tile], todo: Sequence[Tile],
        predictor: Predictor,
    ) -> None:  # fmt: skip
        """Classify tiles piece by piece, each tile committed before it is told."""
        self.emit(Phase("classify", f"Classifying {len(todo)} tiles on {predictor.device.name}"))
        self.started = time.monotonic()
        size = min(predictor.size.limit, max(len(todo), 1))
        batches = scene.batches(
            todo, size, self.job.min_valid, self.is_cancelled, reading_threads(predictor.device)
        )
        told: list[str] = []
        predictor.tell = told.append  # of another thread: messages come from this one
        self.rows = RowWriter(partial(self._commit, journal), partial(self._say, tiles, todo))
        try:
            with self.rows, closing(compute_ahead(batches, predictor)) as results:  # type: ignore[type-var]
                self._take(results, predictor.device, told, scene, journal)
        except SourceError:
            # That a file was exchanged says more than what was met in it.
            self._look(journal, at_once=True)
            raise
        finally:
            self._warn_all(told)

    def _take(
        self, results: Iterator[Computed], device: Device, told: list[str], scene: Scene,
        journal: Journal,
    ) -> None:  # fmt: skip
        for result in results:
            self._warn_all(told)
            if result.device != device:
                device = result.device
                self.device = f"{self.device}, then {device.name}"
                journal.set_device(self.device)
            self.rows.add(to_rows(result.batch, result.probabilities, scene))

    def _commit(self, journal: Journal, rows: Sequence[TileResult]) -> None:
        is_proven = self._look(journal)
        journal.append(rows)
        self.unproven += [] if is_proven else [row.tile_id for row in rows]

    def _say(self, tiles: Sequence[Tile], todo: Sequence[Tile], rows: Sequence[TileResult]) -> None:
        self.done_now += len(rows)
        rate = self.done_now / max(time.monotonic() - self.started, 1e-9)
        for line in rows_in_lines(rows):
            self.emit(line)
        left = len(todo) - self.done_now
        self.emit(Progress(len(tiles) - left, len(tiles), rate, left / rate))

    def _look(self, journal: Journal, *, at_once: bool = False) -> bool:
        """Look whether the sources are the same; what may be of others leaves the journal."""
        try:
            is_proven = self.watch.check(at_once=at_once)
        except SourceError as problem:
            self.rows.drop()
            journal.remove(self.unproven)
            raise taken_out(problem, len(self.unproven)) from problem
        if is_proven:
            self.unproven.clear()
        return is_proven

    def _summary(self, tiles: Sequence[Tile], held: JournalState, state: str) -> RunSummary:
        seconds = time.monotonic() - self.started
        return RunSummary(
            output=self.job.output, tiles=len(tiles), classified=held.classified,
            skipped=sum(held.skipped_reasons.values()), device=self.device,
            precision=self.precision, seconds=seconds,
            tiles_per_second=self.done_now / seconds if seconds > 0 else 0.0,
            state=state, skipped_reasons=dict(held.skipped_reasons),
            warnings=tuple(self.warnings),
        )  # fmt: skip

    def _remember(self, model: str, predictor: Predictor | None, seconds: float) -> None:
        remember_speed(model, self.job.device, self.done_now, seconds)
        found = predictor.size.to_remember if predictor else None
        if predictor and found is not None:
            # After a handover these are the device and the precision that it was found with.
            remember_batch(model, f"{predictor.device.name} {predictor.precision}", found)

    def _warn_all(self, told: list[str]) -> None:
        while told:
            self._warn(told.pop(0))

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.emit(Log("warning", text))
