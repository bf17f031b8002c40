"""What decides a result in the .aux.xml that GDAL and QGIS leave beside a raster they draw."""

from __future__ import annotations

import os
import re
from pathlib import Path

SUFFIX = ".aux.xml"
# Anybody's file, read in QGIS's main thread: none of these may look at a text twice.
_STATISTICS = re.compile(r"<MDI key=\"STATISTICS_[^<]*</MDI>|<\?xml[^<>]*\?>")
_HISTOGRAMS = ("<Histograms>", "</Histograms>")
_HOLLOW = re.compile(r"<(\w+)\b[^<>/]*>\s*</\1>|<(?:PAMDataset|Metadata)\s*/>")
_NAME = re.compile(r'(<PAMRasterBand band="(\d{1,6})">\s*)<Description>([^<]*)</Description>')
_OWN_NAME = re.compile(r'sample="(\d{1,6})" role="description">([^<]*)<')
_MAX_BYTES = 5_000_000
_MOST_LEVELS = 10  # GDAL nests three
# Where a GeoTIFF keeps the names of its bands.
_END_BYTES = 256 * 1024


def deciding_part(sidecar: Path) -> str:
    """Return what a sidecar says beside statistics, and names that the raster gives itself.

    QGIS writes one when it draws a layer: that must not make another run of the same one.
    """
    with sidecar.open("rb") as stream:
        data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            state = os.fstat(stream.fileno())
            return f"{state.st_size} {state.st_mtime_ns}"
    text = _STATISTICS.sub("", _without_histograms(data.decode("utf-8", "replace")))
    own = _own_names(sidecar.with_name(sidecar.name[: -len(SUFFIX)]))
    kept = _NAME.sub(lambda found: _foreign_name(found, own), text)
    for _ in range(_MOST_LEVELS):
        kept = _HOLLOW.sub("", kept)
    return "".join(kept.split())


def _without_histograms(text: str) -> str:
    start, end = _HISTOGRAMS
    kept, at = [], 0
    while (begin := text.find(start, at)) >= 0 and (stop := text.find(end, begin)) >= 0:
        kept.append(text[at:begin])
        at = stop + len(end)
    return "".join(kept) + text[at:]


def _foreign_name(found: re.Match[str], own: set[tuple[int, str]]) -> str:
    start, band, name = found.groups()
    return start if (int(band) - 1, name) in own else found[0]


def _own_names(raster: Path) -> set[tuple[int, str]]:
    return {(int(sample), name) for sample, name in _OWN_NAME.findall(_ends(raster))}


def _ends(raster: Path) -> str:
    try:
        with raster.open("rb") as file:
            head = file.read(_END_BYTES)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
            return (head + file.read()).decode("utf-8", "replace")
    except OSError:
        return ""
