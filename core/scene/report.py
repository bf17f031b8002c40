"""What was understood of a scene, as plain values: for ``inspect scene --json`` and the dock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..contract.result import result_bytes
from .expectation import expected_valid
from .geometry import crs_name
from .mask import CloudMask, sample_clouds
from .optical import S2Verdict
from .pixels import Band
from .radar import S1Verdict
from .radiometry import SceneWarning
from .sources import Found
from .understood import Judged, Understood


def describe(
    scene: Understood, warnings: Sequence[SceneWarning], extent_wkt: str | None,
    aoi_wkt: str | None, min_valid: float,
) -> dict[str, Any]:  # fmt: skip
    """Return what was understood.

    Physical Sentinel-2 reflectance = (DN + ``s2.offset``) * ``s2.scale``; ``overlap`` is the
    share of Sentinel-2 that Sentinel-1 covers; ``grid.tiles_valid`` and ``expected_skipped``
    come from a sample. What differs between the parts of a mosaic stands under ``parts``.
    """
    grid = scene.grid
    tiles = range(len(grid))  # of a small stride there may be billions
    chosen = np.array([t.tile_id for t in scene.select(extent_wkt, aoi_wkt)])
    samples = [j.sample for j in scene.optical], [j.sample for j in scene.radar]
    limit = scene.options.max_cloud
    clouds = sample_clouds(scene.mask) if scene.mask and limit < 1 else ()
    valid = expected_valid(grid, tiles, *samples, min_valid)
    good = valid
    if len(chosen) < len(tiles) or clouds:
        good = expected_valid(grid, chosen, *samples, min_valid, clouds, limit)
    return {
        "s2": _optical(scene),
        "s1": _radar(scene),
        "mask": _mask(scene.mask),
        "grid": _grid(scene, valid),
        "overlap": round(scene.overlap, 6),
        "selected": len(chosen),
        "expected_skipped": len(chosen) - good,
        "estimate": {
            "seconds": None,
            "basis": None,
            "output_bytes": result_bytes(len(chosen), good, len(scene.spec.classes)),
        },
        "warnings": [{"code": w.code, "message": w.message} for w in warnings],
    }


def _optical(scene: Understood) -> dict[str, Any]:
    first = scene.optical[0].verdict
    assert isinstance(first, S2Verdict)
    filled = [name for name in scene.filled if name not in ("VV", "VH")]
    return {
        **_sensor(scene.s2, scene.optical, filled), "level": scene.s2.level,
        "offset": first.offset, "scale": first.scale, "evidence": first.evidence,
    }  # fmt: skip


def _radar(scene: Understood) -> dict[str, Any]:
    first = scene.radar[0].verdict if scene.radar else None
    assert first is None or isinstance(first, S1Verdict)
    filled = [name for name in scene.filled if name in ("VV", "VH")]
    return {
        **_sensor(scene.s1, scene.radar, filled), "unit": first.unit if first else None,
        "calibration": first.calibration if first else None,
        "evidence": first.evidence if first else "the model needs no Sentinel-1",
    }  # fmt: skip


def _sensor(found: Found, judged: tuple[Judged, ...], filled: list[str]) -> dict[str, Any]:
    crs = sorted({crs_name(band.geometry.crs) for band in found.all_bands})
    described: dict[str, Any] = {
        "bands": {name: _band(band) for name, band in found.bands.items()},
        "missing": filled,
        "filled": filled,
        "other": list(found.other),
        "crs": ", ".join(crs) or None,
        "dates": list(found.dates),
    }
    if len(judged) > 1:
        described["parts"] = [_part(item) for item in judged]
    return described


def _band(band: Band) -> dict[str, Any]:
    return {
        "path": band.name, "band": band.index,
        "pixel_size_m": round(band.geometry.pixel_size_m, 6), "found_by": band.found_by,
    }  # fmt: skip


def _part(judged: Judged) -> dict[str, Any]:
    verdict = judged.verdict
    own: dict[str, Any] = {"evidence": verdict.evidence}
    if isinstance(verdict, S2Verdict):
        own.update(offset=verdict.offset, scale=verdict.scale)
    else:
        own.update(unit=verdict.unit, calibration=verdict.calibration)
    return {
        "files": list(judged.part.files), "crs": crs_name(judged.part.geometry.crs),
        "dates": list(judged.part.dates), **own,
    }  # fmt: skip


def _mask(mask: CloudMask | None) -> dict[str, Any] | None:
    if mask is None:
        return None
    band = mask.bands[0]
    return {
        "kind": mask.kind, "path": band.name, "band": band.index, "classes": list(mask.classes),
    }  # fmt: skip


def _grid(scene: Understood, valid: int) -> dict[str, Any]:
    grid = scene.grid
    return {
        "crs": crs_name(grid.geometry.crs), "crs_wkt": grid.crs_wkt,
        "transform": list(grid.transform)[:6], "width": grid.width, "height": grid.height,
        "tiles": len(grid), "tiles_valid": valid, "tile_size": grid.tile_size,
        "stride": grid.stride, "columns": grid.columns, "rows": grid.rows,
    }  # fmt: skip
