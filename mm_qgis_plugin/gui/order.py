"""From what the dock shows to the job that it means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..about import tr
from ..core.contract.errors import JobError
from ..core.contract.job import ClassifyJob

if TYPE_CHECKING:
    from .dock import ClassifyDock

# The job cannot be without an output; which one is known when the rest is.
LATER = "later.gpkg"


class NotReadyError(JobError):
    """Something is still to be chosen before a scene can be looked at."""


def scene_job(dock: ClassifyDock) -> ClassifyJob:
    """Return what is to be computed, without where it goes; MultimodalError explains."""
    rasters, advanced, controls = dock.rasters, dock.advanced, dock.preflight.controls
    rasters.check_order()
    s2 = rasters.sources("s2", controls.band_map("s2"))
    s1 = rasters.sources("s1", controls.band_map("s1"))
    extent, polygons = None, None
    if not dock.area.is_whole_scene():
        extent, polygons = dock.area.wkt(rasters.crs("s2"), rasters.extent("s2"))
    return ClassifyJob(
        s2=s2,
        s1=s1,
        model=str(Path(dock.model.path()).absolute()),
        output=LATER,
        extent_wkt=extent,
        aoi_wkt=polygons,
        stride=advanced.stride.value() or None,
        device=dock.device.currentData(),
        precision=advanced.precision.currentData(),
        batch_size=advanced.batch_size.value(),
        min_valid=advanced.min_valid.value() / 100.0,
        mask=controls.mask_source(),
        options=controls.options(),
    )


def question(dock: ClassifyDock) -> ClassifyJob:
    """Return the job to ask the worker about; NotReadyError where too little is chosen."""
    if not dock.rasters.is_complete() or not dock.model.path():
        raise NotReadyError(tr("Choose the rasters of both sensors and a model folder."))
    dock.model.spec()
    return scene_job(dock)


def without_output(job: ClassifyJob) -> ClassifyJob:
    """Return what of a job decides what is understood, to compare it with a question."""
    return replace(job, output=LATER, overwrite=False)
