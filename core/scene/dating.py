"""On which day a band was taken, by all that its raster holds."""

from __future__ import annotations

from typing import Any

from ..contract.source_identity import without_credentials
from .dates import axis_date, behind_date, named_date, tagged_date
from .virtual import behind


def band_date(dataset: Any, index: int, path: str) -> str | None:
    """Return the day that the band's own place on an axis or file tells, else the raster."""
    files = [without_credentials(source.path) for source in behind(dataset).get(index, ())]
    return (
        axis_date(dataset.tags(), dataset.tags(index))
        or behind_date(files)
        or tagged_date(dataset.tags())
        or named_date(without_credentials(path))
    )
