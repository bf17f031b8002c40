"""Which Sentinel channel a band is, by what the file says of it; never by its position."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rasterio.enums import ColorInterp

from ..contract.channels import s1_band_from_text, s2_band_from_text
from .files import stem

_TAGS = (
    "DESCRIPTION", "BANDNAME", "BAND_NAME", "NAME", "LONG_NAME", "COMMON_NAME", "NETCDF_VARNAME",
    "POLARISATION", "POLARIZATION",
)  # fmt: skip
_COLORS = {ColorInterp.red: "B04", ColorInterp.green: "B03", ColorInterp.blue: "B02"}
_COUNTED = re.compile(r"band[ _.-]*0*(\d+)", re.I)

Parser = Callable[[str], "str | None"]
PARSERS: dict[str, Parser] = {"s2": s2_band_from_text, "s1": s1_band_from_text}


def band_names(dataset: Any, sensor: str) -> dict[int, str]:
    """Return the channel of each band that is named, by band number from 1.

    In this order: description, tags, colour (Sentinel-2, not of 8-bit pictures), and for a
    file of one band its file name. "Band 1, Band 2, ..." only counts the bands and names none.
    """
    counted = _only_counts(dataset.descriptions)
    names: dict[int, str] = {}
    for index in dataset.indexes:
        texts = [] if counted else [dataset.descriptions[index - 1] or ""]
        texts += _tag_texts(dataset, index)
        if dataset.count == 1:
            texts.append(stem(dataset.name))
        found = next(filter(None, map(PARSERS[sensor], texts)), None)
        found = found or (_color_name(dataset, index) if sensor == "s2" else None)
        if found:
            names[index] = found
    return names


def _tag_texts(dataset: Any, index: int) -> list[str]:
    tags = {key.upper(): str(value) for key, value in dataset.tags(index).items()}
    return [tags[key] for key in _TAGS if key in tags]


def _color_name(dataset: Any, index: int) -> str | None:
    if dataset.count < 3 or dataset.dtypes[index - 1] == "uint8":
        return None
    return _COLORS.get(dataset.colorinterp[index - 1])


def _only_counts(descriptions: tuple[str | None, ...]) -> bool:
    """Return whether the descriptions merely number the bands, as ENVI and SNAP files do."""
    matches = [_COUNTED.fullmatch((text or "").strip()) for text in descriptions]
    return all(match and int(match.group(1)) == n for n, match in enumerate(matches, start=1))
