"""Rasters stored in huge blocks: GDAL decodes a block as a whole, however little is read of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..contract.errors import SourceError
from ..memory import free_memory
from .pixels import Band

# Blocks of a file that take more than this are worth a thought; usual ones take up to 10 MB.
HUGE = 64 * 2**20
_ADVICE = (
    "Store it in tiles first: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE (in QGIS: Raster > "
    "Conversion > Translate, with these two as additional creation options)."
)


def huge_blocks(bands: Iterable[Band]) -> dict[str, int]:
    """Return the bytes of a block in all bands, by name of a file with huge ones."""
    sizes: dict[str, list[int]] = {}
    for band in bands:
        rows, columns = band.block
        own = rows * columns * np.dtype(band.dtype).itemsize
        sizes.setdefault(band.name, []).append(own)
        if band.interleaved > 1:  # all bands of the file are decoded together
            sizes[band.name] = [own * band.interleaved]
    return {name: sum(own) for name, own in sizes.items() if sum(own) > HUGE}


def check_blocks(bands: Iterable[Band]) -> None:
    """Refuse rasters of which not even one block fits into memory.

    Raises:
        SourceError: names the largest, how much it needs and how much there is.
    """
    huge, free = huge_blocks(bands), free_memory(with_swap=True)
    if free is not None and sum(huge.values()) > free:
        name = max(huge, key=lambda name: huge[name])
        raise SourceError(
            f"'{name}' is stored in blocks of {huge[name] / 1e9:.1f} GB, which must be decoded "
            f"whole, and {free / 1e9:.1f} GB of memory are free. {_ADVICE}",
            path=name,
        )


def blocks_text(bands: Iterable[Band]) -> str | None:
    """Return a warning of huge blocks, None where there are none."""
    huge = huge_blocks(bands)
    if not huge:
        return None
    name = max(huge, key=lambda name: huge[name])
    total = 2 * sum(huge.values()) / 1e9
    return (
        f"'{name}' is stored in blocks of {huge[name] / 1e6:.0f} MB: reading is slow and takes "
        f"about {total:.1f} GB of memory. {_ADVICE}"
    )


def with_room_for(bands: Iterable[Band], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return GDAL's options with a cache that keeps huge blocks too, where memory allows it.

    A block larger than the cache is thrown away with each read, and taken apart again for the
    next one.
    """
    huge, free = sum(huge_blocks(bands).values()), free_memory()
    fits = free is None or 4 * huge < free
    more = huge if fits else 0
    return {**options, "GDAL_CACHEMAX": options["GDAL_CACHEMAX"] + more}
