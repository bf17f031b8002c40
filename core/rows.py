"""From probabilities to the rows of a result; numbers that are not finite become no class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .contract.result import OK, TileResult
from .scene import Batch, Scene

NOT_FINITE = "skipped: not finite"

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


def to_rows(batch: Batch, probabilities: FloatArray, scene: Scene) -> list[TileResult]:
    """Return a result row for each tile read; numbers that are not finite become a skip."""
    rows = []
    given = iter(probabilities)
    for read in batch.reads:
        values = next(given) if read.status == OK else None
        status = read.status
        if values is not None and not np.isfinite(values).all():
            values, status = None, NOT_FINITE
        rows.append(
            TileResult(
                tile_id=read.tile.tile_id, row=read.tile.row, col=read.tile.col,
                corners=scene.grid.corners(read.tile), status=status,
                probabilities=None if values is None else tuple(map(float, values)),
                valid_s2=read.valid_s2, valid_s1=read.valid_s1, cloud=read.cloud,
            )
        )  # fmt: skip
    return rows


def not_finite_warning(skipped_reasons: Mapping[str, int]) -> str | None:
    """Return what to say of tiles without a class because of their numbers; None without any."""
    count = skipped_reasons.get(NOT_FINITE.removeprefix("skipped: "), 0)
    if not count:
        return None
    return (
        f"{count} of the tiles got numbers that are not finite from the model and have no class "
        f"('{NOT_FINITE}'): their rasters hold values far outside of what the model was trained "
        "on, or its training diverged."
    )
