"""The benchmark: runs, forward passes and their yardsticks in turns, medians of each."""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import rasterio
import torch
from torch import nn

from ..batching import BatchSize
from ..contract.benchmark import BenchmarkOrder
from ..contract.errors import CancelledError, JobError
from ..contract.job import ClassifyJob, RasterSource
from ..contract.messages import Message, Plan, Progress
from ..contract.model_folder import config_digest, read_config, read_spec
from ..contract.result import RunSummary
from ..devices import FP32, Device, choose_device
from ..effort import flop_per_tile
from ..fast_forward import Way
from ..inference import BatchStopped, Predictor
from ..model_cache import ModelCache
from ..pipeline import classify
from ..remembered import remembered_batch
from ..scene import open_scene
from ..stages import STAGES, StageClock
from ..versions import computing_versions
from ..way_choice import first_tiles, way_of
from .fabrication import fabricate_model, fabricate_scene
from .rates import PeakMemory, matmul_tflops, resident_mb, tiles_per_second
from .starts import CANCELLED, start_seconds

# A forward pass is timed over this part of a run's tiles.
_SHARE = 4
_WARM_UP = 40

Tell = Callable[[str], None]
IsCancelled = Callable[[], bool]


def run_benchmark(
    order: BenchmarkOrder, tell: Tell = lambda text: None, is_cancelled: IsCancelled = lambda: False
) -> dict[str, Any]:
    """Measure and return plain values for JSON; see docs/benchmarks.md for what they mean.

    Raises:
        MultimodalError: as a run would; CancelledError where ``is_cancelled`` said so.
    """
    with tempfile.TemporaryDirectory(prefix="mm_benchmark_") as folder:
        return _Benchmark(order, Path(folder), tell, is_cancelled).run()


@dataclass
class _Rates:
    """What each repeat gave."""

    runs: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    matmul: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)


@dataclass
class _Benchmark:
    order: BenchmarkOrder
    folder: Path
    tell: Tell
    is_cancelled: IsCancelled
    models: ModelCache = field(default_factory=ModelCache)
    rates: _Rates = field(default_factory=_Rates)
    plan: Plan | None = None
    summary: RunSummary | None = None

    def run(self) -> dict[str, Any]:
        job = self._job()
        device = choose_device(job.device)
        self.tell("Warming up")
        # Loads the model, and finds the fastest way and the size of batches.
        self._classify(job, "warm_up", _WARM_UP)
        way = way_of(device, config_digest(job.model), job.precision)
        forward, plain = self._forwards(job, device, way)
        forward()
        model_mb = resident_mb()
        with PeakMemory() as memory:
            for number in range(self.order.repeats):
                self._repeat(number, job, device, way, forward, plain)
        self.tell("Starting workers")
        first = replace(job, output=str(self.folder / "start"))
        starts = start_seconds(first, self.is_cancelled)
        return self._report(device, way, memory.mb, model_mb, starts, job.model)

    def _job(self) -> ClassifyJob:
        order = self.order
        s2, s1 = order.s2, order.s1
        if not s2:
            self.tell(f"Fabricating a scene of {order.tiles} tiles")
            s2, s1 = map(str, fabricate_scene(self.folder, order.tiles))
        model = order.model
        if not model:
            self.tell("Fabricating a model: ViT-B/16 and ResNet-101")
            model = str(fabricate_model(self.folder / "model"))
        return ClassifyJob(
            (RasterSource(s2),), (RasterSource(s1),) if s1 else (), model,
            str(self.folder / "out.gpkg"), device=order.device,
            precision=order.precision, batch_size=order.batch_size,
        )  # fmt: skip

    def _repeat(
        self, number: int, job: ClassifyJob, device: Device, way: Way,
        forward: Callable[[], int], plain: Callable[[], int],
    ) -> None:  # fmt: skip
        """Take each rate once, close together: what else the machine does changes with time."""
        rates, tiles = self.rates, max(1, self._tiles // _SHARE)
        self.tell(f"Repeat {number + 1} of {self.order.repeats}: {self._tiles} tiles end to end")
        rates.matmul.append(matmul_tflops(device, way.precision))
        rates.plain.append(tiles_per_second(plain, tiles))
        before = tiles_per_second(forward, tiles)
        start = time.perf_counter()
        with StageClock() as clock:
            summary = self._classify(job, f"run_{number}")
        rates.runs.append(summary.tiles / (time.perf_counter() - start))
        # Before and after, so that a machine that slows down or speeds up favours neither.
        after = tiles_per_second(forward, tiles)
        rates.forward.append(2 / (1 / before + 1 / after))
        rates.stages.append(clock.seconds())
        self.summary = summary
        if self.order.trace:
            clock.write_trace(Path(self.order.trace))

    @property
    def _tiles(self) -> int:
        assert self.plan is not None  # the warm-up has run
        return self.plan.tiles

    def _classify(self, job: ClassifyJob, name: str, most: int | None = None) -> RunSummary:
        """Run the job into a file of its own, over ``most`` tiles or all."""
        output = self.folder / f"{name}.gpkg"
        done: list[int] = [0]

        def note(message: Message) -> None:
            if isinstance(message, Plan):
                self.plan = message
            elif isinstance(message, Progress):
                done.append(message.done)

        def is_over() -> bool:
            return self.is_cancelled() or (most is not None and done[-1] >= most)

        summary = classify(replace(job, output=str(output)), note, is_over, self.models)
        output.unlink(missing_ok=True)
        self._check_cancel()
        return summary

    def _check_cancel(self) -> None:
        if self.is_cancelled():
            raise CancelledError(CANCELLED)

    def _forwards(
        self, job: ClassifyJob, device: Device, way: Way
    ) -> tuple[Callable[[], int], Callable[[], int]]:
        """Return what computes one batch: as a run does it, and as plain PyTorch does."""
        model, found = self.models.on_device(job.model, device, self.is_cancelled, self.tell)
        size = self._batch_size(device, way, config_digest(job.model))
        spec = read_spec(job.model)
        with open_scene(job.s2, job.s1, spec) as scene:
            s2, s1 = first_tiles(scene, scene.select(), size, job.min_valid)
        if not len(s2):
            raise JobError("The scene begins with tiles that have no data: choose another one.")

        def compute(network: nn.Module, precision: str) -> int:
            self._check_cancel()
            predictor = Predictor(
                model, found, BatchSize(size), precision=precision, is_cancelled=self.is_cancelled
            )
            try:
                return len(predictor.compute(network, s2, s1))
            except BatchStopped:
                raise CancelledError(CANCELLED) from None

        fast = self.models.network(way)
        return lambda: compute(fast, way.name), lambda: compute(model, FP32)

    def _batch_size(self, device: Device, way: Way, model: str) -> int:
        assert self.plan is not None  # the warm-up has run
        found = remembered_batch(model, f"{device.name} {way.name}")
        return self.order.batch_size or found or self.plan.batch_size

    def _report(
        self, device: Device, way: Way, peak_mb: float | None, model_mb: float | None,
        starts: tuple[float, float], model: str,
    ) -> dict[str, Any]:  # fmt: skip
        rates, summary = self.rates, self.summary
        assert summary is not None  # a repeat has run
        runs, forward = statistics.median(rates.runs), statistics.median(rates.forward)
        flop = flop_per_tile(read_config(model)) or 0.0
        matmul, achieved = statistics.median(rates.matmul), forward * flop / 1e12
        return {
            "tiles": summary.tiles,
            "classified": summary.classified,
            "repeats": self.order.repeats,
            "tiles_per_s": runs,
            "forward_tiles_per_s": forward,
            # Of pairs that were measured together: the medians may be of different minutes.
            "ratio": _median_of_ratios(rates.runs, rates.forward),
            "fp32_forward_tiles_per_s": statistics.median(rates.plain),
            "forward_gain": _median_of_ratios(rates.forward, rates.plain),
            "end_to_end_gain": _median_of_ratios(rates.runs, rates.plain),
            "matmul_tflops": matmul,
            "achieved_tflops": achieved,
            "achieved_share": achieved / matmul,
            "gflop_per_tile": flop / 1e9,
            "seconds": {
                name: statistics.median(run[name] for run in rates.stages) for name in STAGES
            },
            "rss_mb_peak": peak_mb,
            "rss_mb_model": model_mb,
            "cold_start_s": starts[0],
            "warm_start_s": starts[1],
            "device": summary.device,
            "precision": summary.precision,
            "batch_size": self._batch_size(device, way, config_digest(model)),
            "threads": torch.get_num_threads(),
            "versions": {
                **computing_versions(),
                "transformers": metadata.version("transformers"), "rasterio": rasterio.__version__,
                "gdal": rasterio.__gdal_version__, "system": platform.platform(),
                "machine": platform.machine(),
            },
        }  # fmt: skip


def _median_of_ratios(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))
