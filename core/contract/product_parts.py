"""Where in a Sentinel product the files lie that say how its rasters are to be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

PRODUCT_METADATA = re.compile(r"MTD_MSIL(1C|2A)\.xml", re.I)
"""The name of the metadata of a Sentinel-2 product, and its level."""
_INNER = re.compile(r"R[126]0m|IMG_DATA|QI_DATA|GRANULE", re.I)
_MEASUREMENT = re.compile(r"(.*)/measurement/([^/]+)\.tiff?", re.I)
# From R10m up to the .SAFE folder itself.
_LEVELS_UP = 5


def metadata_in(folder: Path) -> list[Path]:
    """Return the product metadata in a folder."""
    found = folder.glob("MTD_MSIL*.xml")
    return sorted(path for path in found if PRODUCT_METADATA.fullmatch(path.name))


def folders_above(raster: Path) -> list[Path]:
    """Return the folders above a raster, up to the .SAFE folder where there is one."""
    parents = list(raster.absolute().parents[:_LEVELS_UP])
    ends = [n for n, folder in enumerate(parents, 1) if folder.suffix.lower() == ".safe"]
    return parents[: ends[0]] if ends else parents


def product_folders(raster: Path) -> Iterator[Path]:
    """Yield the folders above a raster that its product is made of, and the first one around them.

    A product that was renamed has its own folders still; around a loose file anything may lie.
    """
    for folder in folders_above(raster):
        yield folder
        if not _INNER.fullmatch(folder.name) and folder.parent.name.upper() != "GRANULE":
            return


def calibration_place(path: str) -> str | None:
    """Return where the calibration of a Sentinel-1 measurement lies; None for another raster."""
    match = _MEASUREMENT.fullmatch(path.replace("\\", "/"))
    if match is None:
        return None
    return f"{match.group(1)}/annotation/calibration/calibration-{match.group(2)}.xml"
