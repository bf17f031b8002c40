"""Files whose variables are rasters of their own: NetCDF and HDF5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Any

from ..contract.errors import JobError, SourceError
from ..contract.job import RasterSource
from ..contract.source_identity import without_credentials
from .naming import Names

_DRIVERS = ("netCDF", "HDF5", "HDF5Image")
_MAX_VARIABLES = 200


def variables(dataset: Any, source: RasterSource) -> list[str]:
    """Return the GDAL names of a file's variables; none where it is a raster itself.

    Raises JobError for a band map: it cannot say which variable's bands it counts.
    """
    if dataset.count or dataset.driver not in _DRIVERS or not dataset.subdatasets:
        return []
    if source.bands:
        shown = without_credentials(source.path)
        raise JobError(
            f"A band map counts the bands of one raster, but '{shown}' holds "
            f"{len(dataset.subdatasets)} variables, each a raster of its own. Leave the band map "
            "away where they are named after their bands, else export them to one GeoTIFF and "
            "choose that."
        )
    return list(dataset.subdatasets[:_MAX_VARIABLES])


def check_one_date(dataset: Any, names: Names, wanted: Container[str], path: str) -> None:
    """Refuse a variable that shows a wanted channel on several days: a scene has one."""
    if dataset.driver not in _DRIVERS:
        return
    counted = Counter(name.channel for name in names.named.values() if name.channel in wanted)
    for channel, count in counted.items():
        if count > 1:
            shown = without_credentials(path)
            raise SourceError(
                f"{channel} was found {'twice' if count == 2 else f'{count} times'} in '{shown}': "
                "it holds several dates. Export one date to a file of its own and choose that.",
                path=shown,
                channel=channel,
            )
