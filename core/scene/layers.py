"""The parts of a mosaic while they are open: windows of them, in physical units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from ..contract.errors import RadiometryError
from .assemble import Layer, valid_s1, valid_s2
from .geometry import Geometry
from .mask import CloudMask
from .optical import S2Verdict
from .pixels import FloatArray
from .warp import Stack, StackReader, open_stacks

Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class PartPlan:
    """One part of a mosaic of one sensor; ``verdict`` says how its Sentinel-2 becomes DN.

    ``is_judged`` is False where the sample held no valid pixel, and the unit is not known.
    """

    stacks: tuple[Stack, ...]
    verdict: S2Verdict | None = None
    is_judged: bool = True


@dataclass(frozen=True)
class OpenPart:
    """A part with its files open, for one reading thread."""

    readers: list[StackReader]
    plan: PartPlan


def open_parts(parts: Sequence[PartPlan], grid: Geometry, exits: ExitStack) -> list[OpenPart]:
    """Open the files of all parts; ``exits`` closes them."""
    return [OpenPart(open_stacks(part.stacks, grid, exits), part) for part in parts]


def layers(parts: Sequence[OpenPart], window: Window) -> Iterator[Layer]:
    """Read each part that has pixels in the window, in physical units; of one alone always."""
    for part in parts:
        if len(parts) > 1 and not any(reader.reaches(*window) for reader in part.readers):
            continue
        raw = _read(part.readers, window)
        verdict = part.plan.verdict
        if verdict is None:
            layer = raw, valid_s1(raw)
        else:
            dn = {name: verdict.dn(values) for name, values in raw.items()}
            layer = dn, valid_s2(dn)
        if not part.plan.is_judged and layer[1].any():
            raise _unjudged(part.plan)
        yield layer


def _unjudged(plan: PartPlan) -> RadiometryError:
    name = plan.stacks[0].bands[0].name
    return RadiometryError(
        f"'{name}' has valid pixels where the sample that its unit is judged by had none: cut the "
        "raster to the part with data (in QGIS: Raster > Extraction > Clip) and choose that."
    )


def _read(readers: list[StackReader], window: Window) -> dict[str, FloatArray]:
    found: dict[str, FloatArray] = {}
    for reader in readers:
        values = reader.read(*window)
        found.update({b.channel: v for b, v in zip(reader.stack.bands, values, strict=True)})
    return found


def read_clouds(
    mask: CloudMask | None, readers: list[StackReader], window: Window
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if mask is None:
        return None, None
    values = np.full(window[2:], np.nan, dtype=np.float32)
    for reader in readers:
        if reader.reaches(*window):
            values = np.where(np.isnan(values), reader.read(*window)[0], values)
    return mask.clouds(values), ~np.isnan(values)
