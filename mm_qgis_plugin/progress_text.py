"""Progress in words, the same in the dock and in the log of Processing."""

from __future__ import annotations

from .about import tr
from .core.contract.messages import Plan, Progress
from .core.contract.result import RunSummary


def plan_text(plan: Plan) -> str:
    """Return what the run is going to be."""
    text = tr("{} tiles on {} ({})").format(plan.tiles, plan.device, plan.precision)
    done = plan.tiles - plan.todo
    return text + tr(", {} of them done before").format(done) if done else text


def progress_text(progress: Progress) -> str:
    """Return tiles done, speed and time left in one line."""
    text = tr("{} of {} tiles, {:.1f} tiles/s").format(
        progress.done, progress.total, progress.tiles_per_second
    )
    if progress.eta_seconds is None or progress.done >= progress.total:
        return text
    return text + tr(", {} left").format(duration_text(progress.eta_seconds))


def summary_text(summary: RunSummary) -> str:
    """Return how the run ended."""
    text = tr("{} tiles classified, {} skipped in {}: {:.1f} tiles/s on {} ({})").format(
        summary.classified,
        summary.skipped,
        duration_text(summary.seconds),
        summary.tiles_per_second,
        summary.device,
        summary.precision,
    )
    reasons = ", ".join(f"{count} x {why}" for why, count in summary.skipped_reasons.items())
    return text + tr(". Skipped: {}").format(reasons) if reasons else text


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
