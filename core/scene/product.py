"""What the xml of a Sentinel-2 product says about its numbers."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from ..contract.errors import SourceError
from .files import archive_names, archive_prefix, is_gdal_name

_NAME = re.compile(r"MTD_MSIL(1C|2A)\.xml", re.I)
_OFFSETS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
# From R10m up to the .SAFE folder itself.
_LEVELS_UP = 5
_MAX_BYTES = 20_000_000


@dataclass(frozen=True)
class Product:
    """Level (``L1C`` or ``L2A``) and the offset to add to DN before division by 10000."""

    level: str
    offset: float
    name: str


def read_product(path: str) -> Product | None:
    """Return what the product metadata beside, in or above ``path`` says; None without any.

    Raises SourceError where the xml is damaged or contradicts itself.
    """
    if is_gdal_name(path):
        return None
    local = Path(path)
    if archive_prefix(local.name) == "/vsizip/":
        return _from_zip(local)
    found = _near(local)
    return _parse(found.name, found.read_bytes()[:_MAX_BYTES], str(found)) if found else None


def _near(path: Path) -> Path | None:
    if path.is_dir():
        return _first(path.rglob("MTD_MSIL*.xml"))
    if path.suffix.lower() not in (".jp2", ".xml"):
        return None  # a file made from the product may have lost its offset on the way
    folders = path.resolve().parents[:_LEVELS_UP]
    return next((hit for folder in folders if (hit := _first(folder.glob("MTD_MSIL*.xml")))), None)


def _first(paths: Iterable[Path]) -> Path | None:
    return min((path for path in paths if _NAME.fullmatch(path.name)), default=None)


def _from_zip(path: Path) -> Product | None:
    names = sorted(n for n in archive_names(path) if _NAME.fullmatch(PurePosixPath(n).name))
    if not names:
        return None
    with zipfile.ZipFile(path) as archive, archive.open(names[0]) as file:
        return _parse(PurePosixPath(names[0]).name, file.read(_MAX_BYTES), f"{path}/{names[0]}")


def _parse(name: str, text: bytes, where: str) -> Product:
    match = _NAME.fullmatch(name)
    try:
        nodes = list(ElementTree.fromstring(text).iter())
        offsets = {float(node.text or "") for node in nodes if node.tag in _OFFSETS}
    except (ElementTree.ParseError, ValueError) as problem:
        raise SourceError(
            f"The product metadata '{where}' cannot be read ({problem}). Download the product "
            "again.",
            path=where,
        ) from problem
    if len(offsets) > 1:
        raise SourceError(
            f"'{where}' gives a different radiometric offset for each band, which no known "
            "Sentinel-2 product does. Check the file.",
            path=where,
        )
    return Product(f"L{match.group(1).upper()}" if match else "", next(iter(offsets), 0.0), name)
