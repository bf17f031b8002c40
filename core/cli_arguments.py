"""What the arguments of the command line mean."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from .cli_area import aoi_wkt, extent_wkt
from .cli_scene import mask_source, scene_options
from .contract.band_map import read_band_map
from .contract.job import ClassifyJob, RasterSource

_SIDECARS = (".aux.xml", ".ovr", ".msk")
_NEGATIVE = re.compile(r"-(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.I)


def plain_numbers(arguments: Sequence[str]) -> list[str]:
    """Return arguments with numbers like -1e6 and -5. written out: argparse calls them options."""
    return [format(Decimal(a), "f") if _NEGATIVE.fullmatch(a) else a for a in arguments]


def add_area_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what chooses the tiles of a scene."""
    parser.add_argument("--extent", nargs=4, type=float, metavar=("XMIN", "YMIN", "XMAX", "YMAX"),
                        help="in the CRS of Sentinel-2")  # fmt: skip
    parser.add_argument("--aoi", metavar="WKT|FILE", help="polygons: WKT in the CRS of "
                        "Sentinel-2, or a GeoJSON file")  # fmt: skip
    parser.add_argument("--stride", type=int, metavar="PX", help="default: the tile size")


def job(options: argparse.Namespace) -> ClassifyJob:
    """Return the job that ``multimodal classify`` was asked for."""
    return ClassifyJob(
        s2=sources(options, "s2"),
        s1=sources(options, "s1"),
        model=options.model,
        output=str(Path(options.output).absolute()),
        extent_wkt=extent_wkt(options.extent),
        aoi_wkt=aoi_wkt(options.aoi),
        stride=options.stride,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
        min_valid=options.min_valid,
        overwrite=options.overwrite,
        mask=mask_source(options),
        options=scene_options(options),
    )


def sources(options: argparse.Namespace, sensor: str) -> tuple[RasterSource, ...]:
    """Return the rasters of ``s2`` or ``s1``."""
    bands = read_band_map(getattr(options, f"{sensor}_bands") or "")
    paths = _without_sidecars(getattr(options, sensor) or ())
    return tuple(RasterSource(path, bands=bands) for path in paths)


def _without_sidecars(paths: Sequence[str]) -> list[str]:
    """Leave out what GDAL and QGIS put beside a raster: ``*.tif*`` in a shell names it too."""
    beside = {path + suffix for path in paths for suffix in _SIDECARS}
    return [path for path in paths if path not in beside]
