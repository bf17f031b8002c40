"""Progress in words, the same in the dock and in the log of Processing."""

from __future__ import annotations

from .about import tr
from .core.contract.messages import Plan, Progress
from .core.contract.result import RunSummary


def plan_text(plan: Plan) -> str:
    """Return what the run is going to be."""
    text = tr("{} on {} ({})").format(tiles_text(plan.tiles), plan.device, plan.precision)
    done = plan.tiles - plan.todo
    return text + tr(", {} of them done before").format(done) if done else text


def progress_text(progress: Progress) -> str:
    """Return tiles done, speed and time left in one line."""
    text = tr("{} of {}, {:.1f} tiles/s").format(
        progress.done, tiles_text(progress.total), progress.tiles_per_second
    )
    if progress.eta_seconds is None or progress.done >= progress.total:
        return text
    return text + tr(", {} left").format(duration_text(progress.eta_seconds))


def summary_text(summary: RunSummary) -> str:
    """Return how the run ended."""
    text = tr("{} in {}: {:.1f} tiles/s on {} ({})").format(
        counts_text(summary),
        duration_text(summary.seconds),
        summary.tiles_per_second,
        summary.device,
        summary.precision,
    )
    return text + _reasons(summary)


def repeat_text(summary: RunSummary) -> str:
    """Return that a run was complete before, and what would compute it again."""
    text = tr("This run was complete already ({}): nothing was computed. To compute it again, "
              "tick 'Start over' under Advanced.")  # fmt: skip
    return text.format(counts_text(summary))


def counts_text(summary: RunSummary) -> str:
    """Return how many tiles have a class, and how many have none."""
    return tr("{} classified, {} skipped").format(tiles_text(summary.classified), summary.skipped)


def tiles_text(count: int) -> str:
    """Return ``1 tile`` or ``8 tiles``."""
    return tr("1 tile") if count == 1 else tr("{} tiles").format(count)


def _reasons(summary: RunSummary) -> str:
    reasons = ", ".join(f"{count} x {why}" for why, count in summary.skipped_reasons.items())
    return tr(". Skipped: {}").format(reasons) if reasons else ""


def duration_text(seconds: float) -> str:
    """Return seconds as ``0.4 s``, ``12 s``, ``3 min 20 s`` or ``2 h 05 min``."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
