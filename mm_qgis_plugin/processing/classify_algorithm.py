"""The algorithm ``multimodal:classify``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsVectorLayer,
    QgsWkbTypes,
)

from .. import journals
from ..about import tr
from ..core.contract.errors import (
    CancelledError,
    MultimodalError,
    OutputError,
    WorkerCrashedError,
    WorkerSilentError,
)
from ..core.contract.job import ClassifyJob
from ..core.contract.messages import Plan
from ..core.contract.model_folder import read_spec
from ..core.contract.result import COMPLETE, PARTIAL
from ..core.contract.spec import ModelSpec
from ..core.contract.target import is_there
from ..progress_text import repeat_text, summary_text
from ..results import Journal, open_journal, qgis_fields
from ..style import ResultStyler, apply_style, save_default_style
from ..worker import session_worker
from . import parameters as names
from .base import WorkerAlgorithm
from .destination import Place, check_room_for, check_spares, check_written, fill, sink_place
from .reading import JobReader
from .reporter import Reporter


class ClassifyAlgorithm(WorkerAlgorithm):
    """Classifies the tiles of a Sentinel-2 / Sentinel-1 pair into a vector layer."""

    def __init__(self) -> None:
        super().__init__()
        self._job: ClassifyJob | None = None
        self._spec: ModelSpec | None = None
        self._aside = ""

    def createInstance(self) -> ClassifyAlgorithm:
        """Return a fresh algorithm: one for every run."""
        return ClassifyAlgorithm()

    def name(self) -> str:
        """Return the stable id."""
        return "classify"

    def displayName(self) -> str:
        """Return the name shown."""
        return tr("Classify Sentinel-1 and Sentinel-2")

    def tags(self) -> list[str]:
        """Return the words by which the toolbox finds it."""
        words = tr("land cover,deep learning,sentinel,radar,SAR,optical,dinov3,resnet,bigearthnet")
        return words.split(",")

    def shortHelpString(self) -> str:
        """Return the help beside the parameters."""
        return _help()

    def initAlgorithm(self, configuration: dict | None = None) -> None:
        """Declare parameters and outputs."""
        for definition in names.definitions():
            self.addParameter(definition)
        for output in names.outputs():
            self.addOutput(output)

    def check(self, reader: JobReader) -> None:
        """Raise a MultimodalError where the values do not fit together."""
        read_spec(reader.checked().model)

    def prepare(self, reader: JobReader) -> None:
        """Snapshot layers and area on the main thread."""
        self._job = reader.complete()
        self._spec = read_spec(self._job.model)
        self._aside = journals.set_damaged_aside(self._job)

    def work(
        self, parameters: dict, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run the worker, then copy its journal to the sink, also after a cancel or a failure."""
        assert self._job is not None
        state, failure = self._run(self._job, parameters, feedback)
        try:
            results = self._hand_over(Path(self._job.output), parameters, context, feedback)
        except OutputError as problem:
            # Why the run broke off comes first: without that there might have been room.
            raise problem if failure is None else _with(failure, problem.message) from problem
        if failure is not None:
            # Half a map must not pass for a result in a model or a script.
            raise _with(failure, _where_it_is(results, sink_place(parameters.get(names.OUTPUT))))
        return {**results, names.STATE: state}

    def _hand_over(
        self, path: Path, parameters: dict, context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:  # fmt: skip
        """Copy the tiles that a run has finished to the sink."""
        journal = open_journal(path)
        feedback.pushInfo(tr("Journal: {}").format(journal.path))
        destination, counts = self._copy(journal, parameters, context)
        self._style(destination, parameters, context)
        return {names.OUTPUT: destination, names.JOURNAL: str(journal.path), **counts}

    def _run(
        self, job: ClassifyJob, parameters: dict, feedback: QgsProcessingFeedback
    ) -> tuple[str, MultimodalError | None]:
        """Run the worker; returns how it ended, and what it failed of after tiles were finished."""
        place = sink_place(parameters.get(names.OUTPUT))
        if self._aside:
            feedback.pushWarning(self._aside)
        reporter = Reporter(feedback, lambda plan: self._check_room(plan, place))
        try:
            summary = session_worker().run(job, reporter.on_message, reporter.is_stopped)
        except MultimodalError as problem:
            return PARTIAL, self._kept(problem, reporter, feedback)
        if reporter.refusal is not None:
            raise reporter.refusal
        text = repeat_text if reporter.was_complete else summary_text
        feedback.pushInfo(text(summary))
        if summary.state != COMPLETE:
            feedback.pushWarning(_how_to_go_on(job))
        return summary.state, None

    def _check_room(self, plan: Plan, place: Place | None) -> None:
        assert self._spec is not None
        assert self._job is not None
        if place is not None and plan.todo:
            check_room_for(place, Path(self._job.output), plan, len(self._spec.classes))

    def _kept(
        self, problem: MultimodalError, reporter: Reporter, feedback: QgsProcessingFeedback
    ) -> MultimodalError | None:
        """Return a failure that leaves new tiles to copy, None for a cancel; raise any other."""
        assert self._job is not None
        if reporter.refusal is not None:
            raise reporter.refusal
        is_cancel = isinstance(problem, CancelledError)
        path = Path(self._job.output)
        is_told = reporter.has_new_tiles or is_cancel
        # A worker that dies may have finished tiles that it could not tell of.
        is_dead = isinstance(problem, (WorkerCrashedError, WorkerSilentError))
        may_have_more = is_dead and reporter.is_planned
        if not (is_there(path) and (is_told or (may_have_more and _holds_tiles(path)))):
            raise problem
        if not is_cancel:
            return problem
        feedback.pushWarning(problem.message)
        feedback.pushWarning(_how_to_go_on(self._job))
        return None

    def _copy(
        self, journal: Journal, parameters: dict, context: QgsProcessingContext
    ) -> tuple[str, dict[str, int]]:
        assert self._spec is not None
        fields = qgis_fields(self._spec)
        place = sink_place(parameters.get(names.OUTPUT))
        try:
            check_spares(place, journal.path)
            sink, destination = self.parameterAsSink(
                parameters, names.OUTPUT, context, fields, QgsWkbTypes.Type.Polygon, journal.crs
            )
            if sink is None:
                raise OutputError(self.invalidSinkError(parameters, names.OUTPUT))
            written = fill(sink, journal.features(fields))
            del sink  # closes the file
            check_written(place, written)
        except (QgsProcessingException, OutputError) as problem:
            raise OutputError(
                tr(
                    "The output cannot be written ({}). The tiles are kept in '{}': choose "
                    "another output and run again, nothing is computed twice."
                ).format(problem, journal.path)
            ) from problem
        return destination, {
            names.CLASSIFIED: journal.classified,
            names.SKIPPED: journal.count - journal.classified,
        }

    def _style(self, destination: str, parameters: dict, context: QgsProcessingContext) -> None:
        """Style the output in each way it may be met: loaded, handed on, opened later."""
        assert self._spec is not None
        if context.willLoadLayerOnCompletion(destination):
            details = context.layerToLoadOnCompletionDetails(destination)
            details.setPostProcessor(ResultStyler(self._spec))
        scratch = context.temporaryLayerStore().mapLayer(destination)
        if isinstance(scratch, QgsVectorLayer):
            apply_style(scratch, self._spec)
        elif sink_place(parameters.get(names.OUTPUT)) is not None:
            save_default_style(destination, self._spec)


def _holds_tiles(path: Path) -> bool:
    try:
        return open_journal(path).count > 0
    except OutputError:
        return False  # the failure itself is told, not what came of it


def _how_to_go_on(job: ClassifyJob) -> str:
    return tr(
        "Stopped before the end: the finished tiles are in the output, and in the journal '{}'. "
        "The same run again, with this journal, goes on from there."
    ).format(job.output)


def _with(failure: MultimodalError, more: str) -> MultimodalError:
    """Return the failure with another sentence; code and details stay."""
    return type(failure)(f"{failure.message}\n{more}", **failure.details)


def _where_it_is(results: dict[str, Any], place: Place | None) -> str:
    """Say after a failure where the finished tiles are; a scratch layer goes with the run."""
    text = tr(
        "The finished tiles ({}) are in the journal '{}': the same run again, with this journal, "
        "goes on from there."
    ).format(results[names.CLASSIFIED] + results[names.SKIPPED], results[names.JOURNAL])
    if place is None:
        return text
    return text + tr(" The output '{}' has them too; it is not the whole map.").format(place.path)


def _help() -> str:
    return tr(
        "<p>Cuts a Sentinel-2 and a Sentinel-1 raster into tiles (120 x 120 pixels of 10 m) and "
        "gives each tile the land cover that a trained model sees there: the most probable "
        "class, the probability of every class, and how sure the answer is.</p>"
        "<p><b>Rasters</b>: several files of one sensor are used together, one per band or one "
        "per part of the area. Bands are found by their names (B02, VV ...). Where files have no "
        "names, give them by number in the advanced parameters.</p>"
        "<p><b>What the data leave open</b>, such as the offset of Sentinel-2, is asked for: the "
        "run stops and names the advanced parameter that decides. 'Inspect Sentinel-1 and "
        "Sentinel-2' shows beforehand what is understood.</p>"
        "<p><b>Model folder</b>: a folder with config.json and model.safetensors.</p>"
        "<p><b>Extent and polygons</b>: a tile is classified when its centre lies inside.</p>"
        "<p><b>Stride</b>: smaller than the tile size makes tiles overlap.</p>"
        "<p><b>Journal</b>: finished tiles are written there at once. The same run again goes on "
        "where it was stopped. Give a new or an earlier GeoPackage, or nothing: then it lies in "
        "your user folder for 30 days.</p>"
        "<p>The model runs in a Python environment of its own. The panel of the plugin sets it "
        "up and chooses it.</p>"
    )
