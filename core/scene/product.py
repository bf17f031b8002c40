"""What the xml of a Sentinel-2 product says about its numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from ..contract.errors import SourceError
from ..contract.product_parts import (
    PRODUCT_METADATA,
    folders_above,
    metadata_in,
    product_folders,
)
from .dates import iso_date
from .files import (
    archive_member,
    archive_names,
    content_state,
    in_same_archive,
    is_gdal_name,
    parse_xml,
)
from .xml_text import Element

_DRIVER = re.compile(r"SENTINEL2_L\w+:(.+\.xml)(:.*)?", re.I)
_OFFSETS = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
_BASELINE = ("PROCESSING_BASELINE",)
FIRST_OFFSET_BASELINE = 4.0
"""Since then the numbers of a product hold an offset."""
_DATES = ("DATATAKE_SENSING_START", "PRODUCT_START_TIME", "SENSING_TIME")
_MAX_BYTES = 10_000_000


@dataclass(frozen=True)
class Product:
    """What is stated about a raster's numbers.

    ``level`` is ``L1C``, ``L2A`` or None; ``offset`` is what to add to DN before division by
    10000, None where nothing is said; ``name`` is the file that says so.
    """

    level: str | None
    offset: float | None
    name: str
    date: str | None = None


def product_of(path: str, source: str) -> Product | None:
    """Return what the product metadata say of a raster; None without any.

    Args:
        path: the raster as GDAL opens it.
        source: the file, folder or archive that the user chose and that holds it.

    Raises SourceError where the xml is damaged or contradicts itself.
    """
    by_driver = _DRIVER.fullmatch(path)
    place = by_driver.group(1) if by_driver else path
    inside = archive_member(place)
    if inside is not None:
        archive, member = inside
        found = _in_archive(archive_names(archive), member)
        return _stated(in_same_archive(place, found)) if found else None
    if is_gdal_name(place):
        return None
    hit = _near(Path(place), Path(source))
    return _stated(str(hit)) if hit else None


def _near(path: Path, source: Path) -> Path | None:
    parents = folders_above(path)
    is_chosen = source.is_dir() or PRODUCT_METADATA.fullmatch(source.name) is not None
    root = source.absolute() if source.is_dir() else source.absolute().parent
    folders = {folder for folder in parents if is_chosen and root in (folder, *folder.parents)}
    # A file made from a product may have lost its offset on the way: it must lie in what was
    # chosen. A band as it was delivered belongs to its product, wherever that lies.
    if path.suffix.lower() in (".jp2", ".xml"):
        folders.update(product_folders(path))
    return next((hit for f in parents if f in folders for hit in metadata_in(f)), None)


def _in_archive(names: list[str], member: str) -> str | None:
    """Return the metadata file in the innermost folder that also holds the member."""
    above = {str(folder) for folder in PurePosixPath(member).parents}
    files = (PurePosixPath(name) for name in names)
    hits = [f for f in files if PRODUCT_METADATA.fullmatch(f.name) and str(f.parent) in above]
    return str(max(hits, key=lambda file: len(file.parts))) if hits else None


def _stated(path: str) -> Product:
    return _parse(path, content_state(path))


@lru_cache(maxsize=16)
def _parse(path: str, _state: tuple[int, int]) -> Product:
    """Asked for every band of a product."""
    match = PRODUCT_METADATA.fullmatch(PurePosixPath(path.replace("\\", "/")).name)
    root = parse_xml(path, _MAX_BYTES)
    try:
        offsets = {float(text) for text in _texts(root, _OFFSETS)}
    except ValueError as problem:
        raise _unreadable(path, problem) from problem
    if len(offsets) > 1:
        raise SourceError(
            f"'{path}' gives a different radiometric offset for each band, which no known "
            "Sentinel-2 product does. Check the file.",
            path=path,
        )
    if not all(map(math.isfinite, offsets)):
        raise _unreadable(path, "an offset that is no number")
    level = f"L{match.group(1).upper()}" if match else None
    date = next(filter(None, map(iso_date, _texts(root, _DATES))), None)
    offset = next(iter(offsets), _unstated_offset(root))
    return Product(level, offset, match.group(0) if match else path, date)


def baseline_of(text: str) -> float | None:
    """Return a processing baseline such as ``05.09`` as a number, None where it is none."""
    try:
        baseline = float(text)
    except ValueError:
        return None
    return baseline if math.isfinite(baseline) else None


def _unstated_offset(root: Element) -> float | None:
    """Return the offset of metadata without one: 0 of old products, else it was lost."""
    baseline = baseline_of(next(_texts(root, _BASELINE), ""))
    return 0.0 if baseline is not None and baseline < FIRST_OFFSET_BASELINE else None


def _unreadable(path: str, problem: object) -> SourceError:
    return SourceError(
        f"The product metadata '{path}' cannot be read ({problem}). Download it again.", path=path
    )


def _texts(root: Element, tags: tuple[str, ...]) -> Iterator[str]:
    for node in root.iter():
        if node.tag in tags:
            yield node.text or ""
