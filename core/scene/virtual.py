"""The files behind the bands of a virtual raster (VRT)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..contract.errors import SourceError
from .pixels import open_raster
from .special import source_name
from .xml_text import Element, root_of

_MAX_BYTES = 20_000_000


@dataclass(frozen=True)
class Behind:
    """A band (from 1) of a file that a virtual raster shows."""

    path: str
    band: int


def behind(dataset: Any) -> dict[int, list[Behind]]:
    """Return the sources of each band of a virtual raster; nothing of any other raster."""
    if dataset.driver != "VRT":
        return {}
    text = str(dataset.tags(ns="xml:VRT").get("xml:VRT", ""))
    try:
        bands = root_of(text[:_MAX_BYTES]).findall("VRTRasterBand")
        return {int(band.get("band", "0")): list(_sources(band, dataset.name)) for band in bands}
    except ValueError:
        return {}


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open the file, None where that cannot be: reading its pixels will say so."""
    try:
        dataset = open_raster(path)
    except SourceError:
        yield None
        return
    with dataset:
        yield dataset


def _sources(band: Element, vrt: str) -> Iterator[Behind]:
    for node in band:
        file = node.find("SourceFilename")
        if file is None or not file.text:
            continue
        number = node.findtext("SourceBand") or "1"
        # "mask,1" is the mask of a band, which has no name of its own.
        if number.isdigit():
            yield Behind(source_name(file, vrt), int(number))
