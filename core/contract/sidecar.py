"""What decides a result in the .aux.xml that GDAL and QGIS leave beside a raster they draw."""

from __future__ import annotations

import os
import re
from pathlib import Path

SUFFIX = ".aux.xml"
_STATISTICS = re.compile(
    r"<MDI key=\"STATISTICS_[^<]*</MDI>|<Histograms>.*?</Histograms>|<\?xml[^>]*\?>", re.S
)
_HOLLOW = re.compile(r"<(\w+)[^<>/]*>\s*</\1>|<(?:PAMDataset|Metadata)\s*/>")
_NAME = re.compile(r'(<PAMRasterBand band="(\d+)">\s*)<Description>([^<]*)</Description>')
# Where a GeoTIFF keeps the names of its bands.
_END_BYTES = 256 * 1024


def deciding_part(sidecar: Path) -> str:
    """Return what a sidecar says beside statistics, and names that the raster gives itself.

    QGIS writes one when it draws a layer: that must not make another run of the same one.
    """
    text = _STATISTICS.sub("", sidecar.read_text(encoding="utf-8", errors="replace"))
    own = _ends(sidecar.with_name(sidecar.name[: -len(SUFFIX)]))
    kept, count = _NAME.sub(lambda found: _foreign_name(found, own), text), 1
    while count:
        kept, count = _HOLLOW.subn("", kept)
    return "".join(kept.split())


def _foreign_name(found: re.Match[str], own: str) -> str:
    start, band, name = found.groups()
    is_own = f'sample="{int(band) - 1}" role="description">{name}<' in own
    return start if is_own else found[0]


def _ends(raster: Path) -> str:
    try:
        with raster.open("rb") as file:
            head = file.read(_END_BYTES)
            file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
            return (head + file.read()).decode("utf-8", "replace")
    except OSError:
        return ""
