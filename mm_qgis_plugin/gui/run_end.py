"""How a run ended, in words."""

from __future__ import annotations

from qgis.core import QgsVectorLayer
from qgis.gui import QgisInterface

from ..about import tr
from ..core.contract.errors import (
    CancelledError,
    MultimodalError,
    WorkerCrashedError,
    WorkerSilentError,
)
from ..core.contract.result import RunSummary
from ..progress_text import counts_text, repeat_text, summary_text, tiles_text
from . import status_panel as status
from .run import Run


def end_of(run: Run, summary: RunSummary) -> tuple[str, str, str]:
    """Return the kind of the end, a few words for the message bar, and the whole text."""
    complete = summary.state == "complete"
    if complete:
        kind = status.SUCCESS
        text, short = summary_text(summary), counts_text(summary)
        if run.was_complete:
            text, short = repeat_text(summary), tr("Complete already: nothing was computed")
    else:
        finished = summary.classified + summary.skipped
        text = tr("Stopped. {} of {} are kept; the same run again goes on from there.")
        text = text.format(finished, tiles_text(summary.tiles))
        kind, short = status.WARNING, tr("Stopped; finished tiles are kept")
        if not finished:
            text = short = tr("Stopped before the first tile was finished: nothing to show.")
    if run.lost_project:
        text = f"{text} {whereabouts(run, complete=summary.state == 'complete')}"
    return kind, short, text


def present(iface: QgisInterface, layer: QgsVectorLayer | None) -> None:
    """Switch map tips on, which QGIS shows for the active layer alone."""
    if layer is None:
        return
    active = iface.activeLayer()
    if active is not None and active.isEditable():
        return  # Somebody is drawing.
    iface.setActiveLayer(layer)
    if not iface.actionMapTips().isChecked():
        iface.actionMapTips().trigger()


def whereabouts(run: Run, *, complete: bool) -> str:
    """Return where the result is of a run whose project was closed."""
    closed = tr("The project was closed meanwhile")
    if not run.is_temporary:
        return closed + tr(": the result is in '{}'.").format(run.path)
    if complete:
        return closed + tr(": the same run again, on the same rasters, shows the result at once.")
    return closed + "."


def problem_of(run: Run, problem: MultimodalError) -> MultimodalError:
    """Return what went wrong, with what a user of the dock wants to know of a cancel."""
    if not isinstance(problem, CancelledError):
        return _with_what_is_kept(run, problem)
    text = problem.message
    if run.is_temporary:  # The journal is nobody's file.
        text = tr("Cancelled. Finished tiles are kept; the same run again goes on from there.")
        if not run.has_new_tiles:
            text = tr("Cancelled before a tile was finished: nothing new to show.")
    if run.lost_project and run.path.exists():
        text = f"{text} {whereabouts(run, complete=False)}"
    return CancelledError(text)


def _with_what_is_kept(run: Run, problem: MultimodalError) -> MultimodalError:
    """Say of a worker that broke down that its tiles are there."""
    is_worker = isinstance(problem, (WorkerCrashedError, WorkerSilentError))
    if not is_worker or not run.has_new_tiles:
        return problem
    kept = tr("Finished tiles are kept and shown; the same run again goes on from there.")
    # First: what follows quotes the worker at length.
    return type(problem)(f"{kept} {problem.message}", **problem.details)
