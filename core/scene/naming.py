"""Which Sentinel channel a band is, by what the file says of it; never by position or colour."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..contract.channels import (
    band_from_wavelength,
    mask_from_text,
    s1_band_from_text,
    s2_band_from_text,
)
from .files import stem
from .stac import StacAsset, stac_asset
from .virtual import Behind, behind, opened

USER = "band map"
BEHIND = "file of the virtual band"
_TAGS = (
    "DESCRIPTION", "BANDNAME", "BAND_NAME", "NAME", "LONG_NAME", "COMMON_NAME", "NETCDF_VARNAME",
    "POLARISATION", "POLARIZATION",
)  # fmt: skip
_COUNTED = re.compile(r"band[ _.-]*0*(\d+)", re.I)
# A variable of a file, not the file: NETCDF:"/data/cube.nc":B04
_VARIABLE = re.compile(r'(?:NETCDF|HDF5):.*["\w]:/*(\w+)', re.I | re.S)
# Virtual rasters of virtual rasters; what lies deeper is not looked at.
_DEPTH = 3

Parser = Callable[[str], "str | None"]
Texts = list[tuple[str, str]]


@dataclass(frozen=True)
class BandName:
    """The channel of a band, how it was found, and the text that told."""

    channel: str
    found_by: str
    label: str


@dataclass(frozen=True)
class Names:
    """The channels of a file's bands by band number from 1, and those whose names disagree."""

    named: dict[int, BandName] = field(default_factory=dict)
    disagreeing: dict[int, tuple[str, ...]] = field(default_factory=dict)


def _s2(text: str) -> str | None:
    # Masks first: the name of a mask may hold that of a band that it belongs to.
    return mask_from_text(text) or s2_band_from_text(text)


PARSERS: dict[str, Parser] = {"s2": _s2, "s1": s1_band_from_text, "mask": mask_from_text}


def band_names(
    dataset: Any, sensor: str, stac: StacAsset | None = None, depth: int = _DEPTH
) -> Names:
    """Return the channel of each band that is named.

    Description, tags, a STAC item, the files behind a virtual band and, of a file of one band,
    its own name: whatever speaks must say the same, else the band has no name. Where all are
    silent: what the files behind a virtual band say themselves, then the wavelength
    (Sentinel-2). "Band 1, Band 2, ..." only counts the bands and names none.
    """
    parse = PARSERS[sensor]
    counted = _only_counts(dataset.descriptions)
    files = behind(dataset)
    names, looked_at = Names(), dict[str, Names]()
    for index in dataset.indexes:
        texts: Texts = [] if counted else [("description", dataset.descriptions[index - 1] or "")]
        texts += _spoken(dataset, index, stac, files, parse)
        channels = sorted({channel for _, text in texts if (channel := parse(text))})
        if len(channels) > 1:
            names.disagreeing[index] = tuple(channels)
            continue
        found = _first(texts, parse) or _inherited(files.get(index, ()), sensor, depth, looked_at)
        if found is None and sensor == "s2":
            found = _by_wavelength(dataset, index)
        if found is not None:
            names.named[index] = found
    return names


def _spoken(
    dataset: Any, index: int, stac: StacAsset | None, files: dict[int, list[Behind]], parse: Parser
) -> Iterator[tuple[str, str]]:
    """Yield what tells the name of a band besides its description, and where it stands."""
    yield from (("tag", text) for text in _tag_texts(dataset, index))
    if stac is not None:
        yield "STAC item", stac.names.get(index, "")
    yield BEHIND, _common_stem(index, files, parse)
    if dataset.count == 1:
        yield "file name", _own_name(dataset.name)


def _own_name(path: str) -> str:
    """Return the name of a file, or of a variable: that of its file says nothing of it alone."""
    variable = _VARIABLE.fullmatch(path)
    if variable is None:
        return stem(path)
    return "" if _COUNTED.fullmatch(variable.group(1)) else variable.group(1)


def _first(texts: Texts, parse: Parser) -> BandName | None:
    named = ((parse(text), by, text) for by, text in texts)
    return next((BandName(channel, by, text) for channel, by, text in named if channel), None)


def _tags(dataset: Any, index: int) -> dict[str, str]:
    return {key.upper(): str(value) for key, value in dataset.tags(index).items()}


def _tag_texts(dataset: Any, index: int) -> list[str]:
    tags = _tags(dataset, index)
    # GDAL writes the variables Band1, Band2, ... where it knows no names.
    if _COUNTED.fullmatch(tags.get("NETCDF_VARNAME", "")):
        del tags["NETCDF_VARNAME"]
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


def _common_stem(index: int, files: dict[int, list[Behind]], parse: Parser) -> str:
    """Return a name of the files behind a band of a virtual raster, where all tell the same."""
    paths = {source.path for source in files.get(index, ())}
    others = {source.path for n, sources in files.items() if n != index for source in sources}
    stems = sorted(map(stem, paths))
    # A file behind several bands is not named after one of them.
    if paths & others or len({parse(name) for name in stems}) != 1:
        return ""
    return stems[0]


def _inherited(
    sources: Sequence[Behind], sensor: str, depth: int, looked_at: dict[str, Names]
) -> BandName | None:
    """Return what all files behind a band of a virtual raster say of the band of theirs."""
    found: dict[str | None, BandName | None] = {}
    for source in sources if depth else ():
        if source.path not in looked_at:
            looked_at[source.path] = _names_in(source.path, sensor, depth - 1)
        name = looked_at[source.path].named.get(source.band)
        found.setdefault(name.channel if name else None, name)
    name = next(iter(found.values()), None)
    return BandName(name.channel, BEHIND, name.label) if name and len(found) == 1 else None


def _names_in(path: str, sensor: str, depth: int) -> Names:
    with opened(path) as dataset:
        return band_names(dataset, sensor, stac_asset(path), depth) if dataset else Names()


def _only_counts(descriptions: tuple[str | None, ...]) -> bool:
    """Return whether the descriptions merely number the bands, as ENVI and SNAP files do."""
    matches = [_COUNTED.fullmatch((text or "").strip()) for text in descriptions]
    return all(match and int(match.group(1)) == n for n, match in enumerate(matches, start=1))
