"""The algorithm ``multimodal:benchmark``."""

from __future__ import annotations

import json
from typing import Any

from qgis.core import QgsProcessingContext, QgsProcessingFeedback

from ..about import tr
from ..core.contract.benchmark import BenchmarkOrder, benchmark_lines
from ..core.contract.model_folder import read_spec
from ..worker import session_worker
from . import parameters as names
from .base import WorkerAlgorithm
from .reading import JobReader
from .reporter import Reporter


class BenchmarkAlgorithm(WorkerAlgorithm):
    """Measures how fast this machine classifies; leaves nothing behind."""

    def __init__(self) -> None:
        super().__init__()
        self._order: BenchmarkOrder | None = None

    def createInstance(self) -> BenchmarkAlgorithm:
        """Return a fresh algorithm: one for every run."""
        return BenchmarkAlgorithm()

    def name(self) -> str:
        """Return the stable id."""
        return "benchmark"

    def displayName(self) -> str:
        """Return the name shown."""
        return tr("Benchmark of this machine")

    def tags(self) -> list[str]:
        """Return the words by which the toolbox finds it."""
        return tr("speed,performance,GPU,CPU,tiles per second,time").split(",")

    def shortHelpString(self) -> str:
        """Return the help beside the parameters."""
        return _help()

    def initAlgorithm(self, configuration: dict | None = None) -> None:
        """Declare parameters and outputs."""
        for definition in names.benchmark_definitions():
            self.addParameter(definition)
        for output in names.benchmark_outputs():
            self.addOutput(output)

    def check(self, reader: JobReader) -> None:
        """Raise a MultimodalError where the values do not fit together."""
        order = reader.benchmark()
        if order.model:
            read_spec(order.model)

    def prepare(self, reader: JobReader) -> None:
        """Read the parameters on the main thread."""
        self._order = reader.benchmark()

    def work(
        self, parameters: dict, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Have the worker measure, and tell the figures so that they can be pasted."""
        assert self._order is not None
        reporter = Reporter(feedback)
        result = session_worker().measure(self._order, reporter.on_message, feedback.isCanceled)
        for line in benchmark_lines(result):
            feedback.pushInfo(line)
        report = json.dumps(result, sort_keys=True)
        feedback.pushInfo(report)
        return {
            names.REPORT: report,
            names.TILES_PER_S: result["tiles_per_s"],
            names.RATIO: result["ratio"],
        }


def _help() -> str:
    return tr(
        "<p>Measures how fast this machine classifies, from rasters to results, beside the bare "
        "network and plain PyTorch, with a scene that is fabricated for it. The log holds the "
        "figures in words and as JSON: paste them into a report of a slow machine.</p>"
        "<p>With 400 tiles it takes seconds on a GPU and several minutes on a CPU. Other work on "
        "the machine falsifies the figures: close what is not needed. Nothing is kept, but the "
        "fastest way of computing that was found.</p>"
    )
