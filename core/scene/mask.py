"""Clouds: which raster tells them, and which of its values count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.channels import MASKS
from ..contract.errors import DecisionError, JobError, SourceError
from ..contract.job import RasterSource
from .parts import arrange
from .pixels import Band, FloatArray, open_raster, read_bands
from .sampling import Sample, read_cells
from .sources import Found, find_mask

# Level-2A scene classes: cloud shadow, cloud of medium and high probability, thin cirrus.
# Source: ESA, Sentinel-2 Products Specification Document, scene classification.
_SCL_CLASSES = (3, 8, 9, 10)
# Bits of QA60 for opaque clouds and cirrus.
_QA60_BITS = (10, 11)
_LAST_BIT = 15
_LOOK = 500
_MOST_CHOICES = 32


@dataclass(frozen=True)
class CloudMask:
    """Mask rasters of one kind; ``classes`` count as cloud, as bits where the kind is QA60.

    Without classes every value but 0 counts.
    """

    kind: str
    bands: tuple[Band, ...]
    classes: tuple[int, ...]

    def clouds(self, values: FloatArray) -> np.ndarray:
        """Return where values of the mask, NaN for none, say cloud."""
        known = np.nan_to_num(values, nan=0.0)
        if self.kind == "QA60":
            bits = sum(1 << bit for bit in self.classes)
            return np.asarray(known.astype(np.int64) & bits) != 0
        if not self.classes:
            return np.asarray(known != 0)
        return np.isin(known, self.classes) & ~np.isnan(values)


def choose_mask(
    s2: Found, explicit: RasterSource | None, classes: tuple[int, ...]
) -> CloudMask | None:
    """Return the mask that the user names, else one found beside Sentinel-2, else None.

    Raises DecisionError where a mask of an unknown kind holds several values.
    """
    bands = find_mask(explicit) if explicit else [b for group in s2.masks.values() for b in group]
    if not bands:
        return None
    kind = next(kind for kind in (*MASKS,) if any(band.channel == kind for band in bands))
    members = [band for band in bands if band.channel == kind]
    found = tuple(part.bands[kind] for part in arrange(members, (kind,)))
    if kind == "QA60" and any(bit > _LAST_BIT for bit in classes):
        raise JobError(
            "The classes of QA60 are bits from 0 to 15: 10 is opaque cloud, 11 cirrus. Give 10,11 "
            "instead of the values."
        )
    usual = {"SCL": _SCL_CLASSES, "QA60": _QA60_BITS}.get(kind, ())
    if kind == "CLOUD" and not classes:
        _check_binary(found)
    return CloudMask(kind, found, classes or usual)


def sample_clouds(mask: CloudMask) -> tuple[Sample, ...]:
    """Return for each raster of the mask which share of its cells is cloud, from a sample."""
    found = []
    for band in mask.bands:
        cells = read_cells([band])[0]
        share = mask.clouds(cells).mean(axis=(2, 3)).astype(np.float32)
        found.append(Sample({}, band.geometry, share))
    return tuple(found)


def _check_binary(bands: Sequence[Band]) -> None:
    for band in bands:
        height, width = band.geometry.height, band.geometry.width
        step = max(1, math.ceil(max(height, width) / _LOOK))
        shape = (math.ceil(height / step), math.ceil(width / step))
        with open_raster(band.path) as dataset:
            values = np.unique(read_bands(dataset, [band], shape=shape))
        values = values[~np.isnan(values)]
        if len(values) > 2 and (values != np.round(values)).any():
            raise SourceError(
                f"The mask '{band.name}' holds measured values, such as {values[1]:.4g}, not "
                "classes. Choose a raster of classes, or one in which 0 is clear and anything "
                'else is cloud (in QGIS the raster calculator makes it, for example "a@1" > 0.4).',
                path=band.name,
            )
        if len(values) > 2:
            raise DecisionError(
                f"The mask '{band.name}' holds {len(values)} values or more, and nothing says "
                "which of them are cloud. Decide: the values that count, for example 8,9,10 "
                "(--mask-classes; in QGIS 'Cloud classes').",
                decision="mask_classes",
                choices=[float(value) for value in values[:_MOST_CHOICES]],
            )
