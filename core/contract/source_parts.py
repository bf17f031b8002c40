"""The files of a source: what is read for its pixels, and what decides how they are read."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from .product_parts import calibration_place, metadata_in, product_folders
from .sidecar import SUFFIX
from .stac_item import find_item

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".nc")
"""What is read of a folder."""
SCENE_METADATA = re.compile(r"MTD_\w+\.xml|manifest\.safe", re.I)
"""The files of a SAFE product that stand for its folder."""
_FILE_SYSTEM = re.compile(r"/vsi\w+/")
_DRIVER = re.compile(r"[A-Za-z]\w+:")
# A mosaic has names of files, a warped raster that of its dataset.
_VRT_SOURCE = re.compile(r"<(?:SourceFilename|SourceDataset)\b([^<>]*)>([^<]+)<", re.I)
_RELATIVE = re.compile(r"relativetovrt\s*=\s*[\"']1", re.I)
_MAX_VRT = 20_000_000
# What GDAL reads beside a raster: masks after its whole name; places, and what raw pixels mean,
# after its stem. Not overviews: they say nothing that the raster does not.
_MASK = ".msk"
_BESIDE = (".wld", ".tab", ".prj", ".hdr", ".ige")
_PLACES = (".tfw", ".tifw", ".tiffw", ".j2w", ".jp2w")
# In a folder nothing else counts: results, logs and tables may come to lie there.
_COUNTED = (*RASTER_SUFFIXES, ".xml", ".json", ".safe", _MASK, *_PLACES, *_BESIDE)


def local_part(name: str) -> Path | None:
    """Return the file or folder on disk that a GDAL name speaks of, None for what is remote."""
    if os.path.exists(name):
        return Path(name)
    rest = name
    while found := _FILE_SYSTEM.match(rest):
        rest = rest[found.end() :]
    rest = _DRIVER.sub("", rest, count=1) if _DRIVER.match(rest) else rest
    rest = rest.strip('"')
    while rest and not os.path.exists(rest):
        rest = rest[: max(rest.rfind(mark) for mark in '/:"')] if re.search('[/:"]', rest) else ""
    return Path(rest) if os.path.isfile(rest) else None


def parts_of(local: Path) -> Iterator[Path]:
    """Yield the files beside, above or behind a source that change what is read from it."""
    if SCENE_METADATA.fullmatch(local.name):
        local = local.parent
    if os.path.isdir(local):
        yield from _in_folder(local)
        return
    sidecar = local.with_name(f"{local.name}{SUFFIX}")
    if os.path.isfile(sidecar):  # unlike Path.is_file no error for a name that is too long
        yield sidecar
    yield from _beside(local)
    yield from _described_in(local)
    yield from _metadata_above([local])
    if local.suffix.lower() == ".vrt":
        yield from _vrt_sources(local)


def _in_folder(folder: Path) -> Iterator[Path]:
    files = [path for path in folder.rglob("*") if _counts(path) and os.path.isfile(path)]
    yield from files
    yield from _metadata_above(files)
    for path in files:
        if path.suffix.lower() == ".vrt":
            yield from _vrt_sources(path)


def _counts(path: Path) -> bool:
    return path.suffix.lower() in _COUNTED and not path.name.startswith(".")


def _beside(raster: Path) -> Iterator[Path]:
    """Yield masks, world files and the like; GDAL finds them in any case of letters."""
    name, stem, end = raster.name.lower(), raster.stem.lower(), raster.suffix.lower()
    # A world file takes the first and the last letter: .tif has .tfw, and also .tifw
    world = [f"{stem}{end[:2]}{end[-1]}w", f"{name}w"] if len(end) > 1 else []
    wanted = {f"{name}{_MASK}", *world, *(stem + more for more in _BESIDE)} - {name}
    try:
        with os.scandir(raster.parent) as entries:
            found = sorted(entry.path for entry in entries if entry.name.lower() in wanted)
    except OSError:
        return  # who opens the raster says so
    yield from (Path(path) for path in found if os.path.isfile(path))


def _described_in(raster: Path) -> Iterator[Path]:
    """Yield what tells bands, offset and calibration of a raster that was chosen by itself."""
    item = find_item(raster)
    if item is not None:
        yield item.file
    vectors = calibration_place(str(raster.absolute()))
    if vectors is not None and os.path.isfile(vectors):
        yield Path(vectors)


def _metadata_above(files: Iterable[Path]) -> Iterator[Path]:
    """Yield the metadata of the products that JPEG 2000 files lie in."""
    images = (path for path in files if path.suffix.lower() == ".jp2")
    # Those of one folder have the same.
    for image in {image.absolute().parent: image for image in images}.values():
        yield from next(filter(None, map(metadata_in, product_folders(image))), ())


def _vrt_sources(vrt: Path) -> Iterator[Path]:
    """Yield the files of a virtual raster, and of those within it, each once."""
    seen, waiting = {vrt}, [vrt]
    while waiting:
        outer = waiting.pop()
        for path in _named_in(outer):
            if path not in seen and os.path.isfile(path):
                seen.add(path)
                yield path
                yield from _beside(path)
                if path.suffix.lower() == ".vrt":
                    waiting.append(path)


def _named_in(vrt: Path) -> Iterator[Path]:
    try:
        with vrt.open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_MAX_VRT)
    except OSError:
        return  # who opens it says so
    for attributes, name in _VRT_SOURCE.findall(text):
        inner = html.unescape(name)
        yield vrt.parent / inner if _RELATIVE.search(attributes) else Path(inner)
