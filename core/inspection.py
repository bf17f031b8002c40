"""What is understood of a job's scene, before a run and without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .contract.job import ClassifyJob
from .contract.model_folder import read_spec
from .contract.spec import ModelSpec
from .estimate import with_seconds
from .scene import Scene, open_scene


def inspect(job: ClassifyJob, is_cancelled: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Return what is understood of a job's scene, as plain values for JSON; writes nothing.

    Raises:
        MultimodalError: the scene is refused, or needs a decision of the user.
        CancelledError: ``is_cancelled`` said so.
    """
    with opened(job, read_spec(job.model), is_cancelled) as scene:
        report = described(job, scene, is_cancelled)
    return with_seconds(report, job.model, job.device)


def opened(job: ClassifyJob, spec: ModelSpec, is_cancelled: Callable[[], bool]) -> Scene:
    """Open the rasters of a job; CancelledError where ``is_cancelled`` said so."""
    return open_scene(
        job.s2, job.s1, spec, stride=job.stride, mask=job.mask, options=job.options,
        is_cancelled=is_cancelled,
    )  # fmt: skip


def described(job: ClassifyJob, scene: Scene, is_cancelled: Callable[[], bool]) -> dict[str, Any]:
    """Describe what a job takes of its scene; raises as :func:`opened`."""
    return scene.describe(job.extent_wkt, job.aoi_wkt, job.min_valid, is_cancelled)
