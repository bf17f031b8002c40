"""Which Sentinel channel a band is, by what the file says of it; never by its position."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from rasterio.enums import ColorInterp

from ..contract.channels import (
    band_from_wavelength,
    mask_from_text,
    s1_band_from_text,
    s2_band_from_text,
)
from .files import stem
from .stac import StacAsset

USER = "band map"
_TAGS = (
    "DESCRIPTION", "BANDNAME", "BAND_NAME", "NAME", "LONG_NAME", "COMMON_NAME", "NETCDF_VARNAME",
    "POLARISATION", "POLARIZATION",
)  # fmt: skip
_COLORS = {ColorInterp.red: "B04", ColorInterp.green: "B03", ColorInterp.blue: "B02"}
_COUNTED = re.compile(r"band[ _.-]*0*(\d+)", re.I)
_MAX_VRT = 20_000_000

Parser = Callable[[str], "str | None"]


@dataclass(frozen=True)
class BandName:
    """The channel of a band, how it was found, and the text that told."""

    channel: str
    found_by: str
    label: str


def _s2(text: str) -> str | None:
    # Masks first: the name of a mask may hold that of a band that it belongs to.
    return mask_from_text(text) or s2_band_from_text(text)


PARSERS: dict[str, Parser] = {"s2": _s2, "s1": s1_band_from_text, "mask": mask_from_text}


def band_names(dataset: Any, sensor: str, stac: StacAsset | None = None) -> dict[int, BandName]:
    """Return the channel of each band that is named, by band number from 1.

    In this order: description, tags, a STAC item, the file behind a virtual band, the wavelength,
    colour (Sentinel-2, not of 8-bit pictures), and for a file of one band its file name. "Band 1,
    Band 2, ..." only counts the bands and names none.
    """
    counted = _only_counts(dataset.descriptions)
    behind = _behind(dataset, PARSERS[sensor])
    names: dict[int, BandName] = {}
    for index in dataset.indexes:
        texts = [] if counted else [("description", dataset.descriptions[index - 1] or "")]
        texts += [("tag", text) for text in _tag_texts(dataset, index)]
        if stac is not None:
            texts.append(("STAC item", stac.names.get(index, "")))
        texts.append(("file of the virtual band", behind.get(index, "")))
        if dataset.count == 1:
            texts.append(("file name", stem(dataset.name)))
        found = _first(texts, PARSERS[sensor])
        if found is None and sensor == "s2":
            found = _by_wavelength(dataset, index) or _by_color(dataset, index)
        if found is not None:
            names[index] = found
    return names


def _first(texts: list[tuple[str, str]], parse: Parser) -> BandName | None:
    named = ((parse(text), by, text) for by, text in texts)
    return next((BandName(channel, by, text) for channel, by, text in named if channel), None)


def _tags(dataset: Any, index: int) -> dict[str, str]:
    return {key.upper(): str(value) for key, value in dataset.tags(index).items()}


def _tag_texts(dataset: Any, index: int) -> list[str]:
    tags = _tags(dataset, index)
    return [tags[key] for key in _TAGS if key in tags]


def _by_wavelength(dataset: Any, index: int) -> BandName | None:
    """Use ENVI's wavelength of a band; without a unit micrometres are those below 100."""
    tags = _tags(dataset, index)
    try:
        value = float(tags.get("WAVELENGTH", ""))
    except ValueError:
        return None
    is_micro = tags.get("WAVELENGTH_UNITS", "").lower().startswith(("micro", "um", "µm"))
    channel = band_from_wavelength(value * 1000 if is_micro or value < 100 else value)
    return BandName(channel, "wavelength", f"{value:g}") if channel else None


def _by_color(dataset: Any, index: int) -> BandName | None:
    if dataset.count < 3 or dataset.dtypes[index - 1] == "uint8":
        return None
    color = dataset.colorinterp[index - 1]
    return BandName(_COLORS[color], "colour", color.name) if color in _COLORS else None


def _behind(dataset: Any, parse: Parser) -> dict[int, str]:
    """Return a name of the files behind each band of a virtual raster, where all tell the same."""
    if dataset.driver != "VRT":
        return {}
    text = str(dataset.tags(ns="xml:VRT").get("xml:VRT", ""))
    try:
        bands = list(ElementTree.fromstring(text[:_MAX_VRT]).iter("VRTRasterBand"))
    except ElementTree.ParseError:
        return {}
    found = {}
    for band in bands:
        stems = [stem(node.text) for node in band.iter("SourceFilename") if node.text]
        if len({parse(name) for name in stems}) == 1:
            found[int(band.get("band", "0"))] = stems[0]
    return found


def _only_counts(descriptions: tuple[str | None, ...]) -> bool:
    """Return whether the descriptions merely number the bands, as ENVI and SNAP files do."""
    matches = [_COUNTED.fullmatch((text or "").strip()) for text in descriptions]
    return all(match and int(match.group(1)) == n for n, match in enumerate(matches, start=1))
