"""The algorithm ``multimodal:inspect``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qgis.core import QgsProcessingContext, QgsProcessingFeedback

from ..about import tr
from ..core.contract.job import ClassifyJob
from ..core.contract.model_folder import read_spec
from ..report import read_report
from ..report_text import lines
from ..worker import session_worker
from . import parameters as names
from .base import WorkerAlgorithm
from .reading import JobReader


class InspectAlgorithm(WorkerAlgorithm):
    """Tells what is understood of a Sentinel-2 / Sentinel-1 pair; computes and writes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._job: ClassifyJob | None = None

    def createInstance(self) -> InspectAlgorithm:
        """Return a fresh algorithm: one for every run."""
        return InspectAlgorithm()

    def name(self) -> str:
        """Return the stable id."""
        return "inspect"

    def displayName(self) -> str:
        """Return the name shown."""
        return tr("Inspect Sentinel-1 and Sentinel-2")

    def tags(self) -> list[str]:
        """Return the words by which the toolbox finds it."""
        return tr("sentinel,radar,SAR,optical,bands,offset,calibration,check,metadata").split(",")

    def shortHelpString(self) -> str:
        """Return the help beside the parameters."""
        return _help()

    def initAlgorithm(self, configuration: dict | None = None) -> None:
        """Declare parameters and outputs."""
        for definition in names.inspect_definitions():
            self.addParameter(definition)
        for output in names.inspect_outputs():
            self.addOutput(output)

    def check(self, reader: JobReader) -> None:
        """Raise a MultimodalError where the values do not fit together."""
        read_spec(reader.scene().model)

    def prepare(self, reader: JobReader) -> None:
        """Snapshot layers and area on the main thread."""
        self._job = reader.in_area(reader.scene())

    def work(
        self, parameters: dict, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Ask the worker, and tell its answer in the log."""
        assert self._job is not None
        feedback.setProgressText(tr("Opening the rasters"))
        payload = session_worker().inspect(self._job, feedback.isCanceled)
        report = read_report(payload)
        for line in lines(report):
            feedback.pushInfo(line)
        for warning in report.warnings:
            feedback.pushWarning(warning.message)
        return _outputs(payload)


def _outputs(payload: Mapping[str, Any]) -> dict[str, Any]:
    report = read_report(payload)
    return {
        names.REPORT: json.dumps(payload, sort_keys=True),
        names.TILES: report.grid.tiles,
        names.TILES_VALID: report.grid.tiles_valid,
        names.OVERLAP: report.overlap,
    }


def _help() -> str:
    return tr(
        "<p>Shows what 'Classify Sentinel-1 and Sentinel-2' would understand of the rasters: where "
        "each band was found, how the numbers are read and why, dates, coordinate reference "
        "system, tile grid, overlap, and how long a run would take. Nothing is computed or "
        "written.</p>"
        "<p>The log tells it in words, most costly warnings first; the output REPORT holds it "
        "as JSON. What the data leave open ends the run with the name of the advanced parameter "
        "that decides.</p>"
    )
