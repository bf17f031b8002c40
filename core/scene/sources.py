"""From sources to channels: open what the user gave and find every band the model needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rasterio.crs import CRS
from rasterio.errors import CRSError

from ..contract.errors import CrsError, JobError, RadiometryError, SourceError
from ..contract.job import RasterSource
from ..contract.source_identity import without_credentials
from .files import raster_files
from .geometry import Geometry, crs_name
from .naming import band_names
from .pixels import Band, has_mask, open_raster
from .product import Product, read_product

# Pixel sizes that differ by less are equal.
_SAME_SIZE = 1e-6


@dataclass(frozen=True)
class Found:
    """What the sources of one sensor hold.

    ``bands`` are those that were asked for; ``other`` names every other recognised band,
    ``unnamed`` the files with bands that nothing names, ``foreign`` what looks like the
    other sensor.
    """

    bands: dict[str, Band] = field(default_factory=dict)
    other: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    product: Product | None = None


@dataclass
class _Collected:
    """Candidates of one source while its files are opened one by one."""

    bands: dict[str, list[Band]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    unnamed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)


def find_bands(sources: Sequence[RasterSource], sensor: str, wanted: Iterable[str]) -> Found:
    """Return where each wanted channel of ``sensor`` ("s2" or "s1") is found.

    Within one source the finest pixel size wins; the same band in two sources, or twice at
    one pixel size, is an error and never guessed. What is not found is simply absent.
    """
    channels = set(wanted)
    collected = [_collect(source, sensor, channels) for source in sources]
    bands: dict[str, Band] = {}
    for parts in collected:
        for channel in sorted(parts.bands):
            band = _finest(channel, parts.bands[channel])
            if channel in bands:
                raise _twice(channel, bands[channel], band)
            bands[channel] = band
            _check_dtype(band, sensor)
    names = {name for parts in collected for name in parts.names}
    return Found(
        bands=bands,
        other=tuple(sorted(names - channels)),
        unnamed=tuple(name for parts in collected for name in parts.unnamed),
        unreadable=tuple(name for parts in collected for name in parts.unreadable),
        foreign=tuple(sorted({name for parts in collected for name in parts.foreign})),
        product=_product(sources) if sensor == "s2" else None,
    )


def _collect(source: RasterSource, sensor: str, wanted: set[str]) -> _Collected:
    collected = _Collected()
    files = raster_files(source.path)
    single = len(files) == 1
    if source.bands and not single:
        raise JobError(
            f"A band map counts the bands of one file, but '{without_credentials(source.path)}' "
            f"holds {len(files)} rasters. Choose the files one by one, each with its own map."
        )
    for path in files:
        try:
            dataset = open_raster(path)
        except SourceError:
            if single:
                raise
            # One bad file in a folder matters only if its band is missed in the end.
            collected.unreadable.append(without_credentials(path))
            continue
        with dataset:
            names = _names(dataset, source, path, sensor)
            _note(collected, dataset, names, path, sensor)
            for index, channel in names.items():
                # Only of what is needed: an unplaced band that nobody wants does no harm.
                if channel in wanted:
                    band = _band(dataset, channel, index, path, source)
                    collected.bands.setdefault(channel, []).append(band)
    if len(collected.unreadable) == len(files):
        raise SourceError(
            f"None of the {len(files)} rasters in '{source.path}' can be opened. Unpack the "
            "archive and choose the folder, or download the scene again.",
            path=source.path,
        )
    return collected


def _names(dataset: Any, source: RasterSource, path: str, sensor: str) -> dict[int, str]:
    if dataset.count == 0:
        raise SourceError(
            f"'{without_credentials(path)}' holds no bands itself but {len(dataset.subdatasets)} "
            "rasters inside. Choose one of them, in QGIS as a layer of its own.",
            path=without_credentials(path),
        )
    return _with_map(band_names(dataset, sensor), dataset, source)


def _note(
    collected: _Collected, dataset: Any, names: dict[int, str], path: str, sensor: str
) -> None:
    """Remember what a message about missing bands should tell."""
    collected.names.update(names.values())
    if len(names) < dataset.count:
        collected.unnamed.append(f"'{without_credentials(path)}' ({dataset.count - len(names)})")
    if not names:
        other = "s1" if sensor == "s2" else "s2"
        collected.foreign.update(band_names(dataset, other).values())


def _with_map(names: dict[int, str], dataset: Any, source: RasterSource) -> dict[int, str]:
    """Return the names with the user's map laid over them: it wins over every name."""
    for channel, index in source.bands.items():
        if index > dataset.count:
            raise JobError(
                f"The band map says that {channel} is band {index}, but "
                f"'{without_credentials(source.path)}' has only {dataset.count} bands."
            )
    mapped = {index: channel for channel, index in source.bands.items()}
    if len(mapped) < len(source.bands):
        raise JobError("The band map gives the same band to two channels.")
    kept = {
        index: name
        for index, name in names.items()
        if index not in mapped and name not in source.bands
    }
    return {**kept, **mapped}


def _band(dataset: Any, channel: str, index: int, path: str, source: RasterSource) -> Band:
    nodata = dataset.nodatavals[index - 1]
    return Band(
        channel=channel,
        path=path,
        index=index,
        geometry=_geometry(dataset, source),
        dtype=dataset.dtypes[index - 1],
        nodata=None if nodata is None else float(nodata),
        scale=float(dataset.scales[index - 1]),
        offset=float(dataset.offsets[index - 1]),
        block=dataset.block_shapes[index - 1],
        has_mask=has_mask(dataset, index),
        has_overviews=bool(dataset.overviews(index)),
    )


def _geometry(dataset: Any, source: RasterSource) -> Geometry:
    shown = without_credentials(dataset.name)
    crs = _override(source) or dataset.crs
    unplaced = dataset.transform.is_identity
    if unplaced and dataset.gcps[0]:
        raise CrsError(
            f"'{shown}' is placed by ground control points only, not by a map grid. Terrain-"
            "correct it in SNAP, or warp it to UTM (in QGIS: Raster > Projections > Warp).",
            path=shown,
        )
    if not crs:
        raise CrsError(
            f"'{shown}' has no coordinate reference system. In QGIS set it by right click on the "
            "layer > Layer CRS; on the command line use gdal_edit.py -a_srs EPSG:code.",
            path=shown,
        )
    if unplaced:
        raise CrsError(
            f"'{shown}' has no position on Earth: it has no geotransform. Georeference it, or "
            "choose the raster it was made from.",
            path=shown,
        )
    if not (crs.is_projected or crs.is_geographic):
        raise CrsError(
            f"The CRS '{crs_name(crs)}' of '{shown}' is no map projection and no longitude and "
            "latitude. Assign the right CRS to the layer.",
            path=shown,
        )
    if dataset.transform.is_degenerate:
        raise SourceError(
            f"The pixels of '{shown}' have no area: its geotransform is damaged. Export the "
            "raster again.",
            path=shown,
        )
    return Geometry(crs, dataset.transform, dataset.width, dataset.height)


def _override(source: RasterSource) -> CRS | None:
    if not source.crs_wkt:
        return None
    try:
        return CRS.from_user_input(source.crs_wkt)
    except CRSError as problem:
        raise CrsError(
            f"The CRS given for '{without_credentials(source.path)}' is not understood "
            f"({problem}). Choose the layer's CRS again.",
        ) from problem


def _finest(channel: str, bands: list[Band]) -> Band:
    ordered = sorted(bands, key=lambda band: band.geometry.pixel_size_m)
    finest = ordered[0].geometry.pixel_size_m
    if len(ordered) > 1 and ordered[1].geometry.pixel_size_m < finest * (1 + _SAME_SIZE):
        raise _twice(channel, *ordered[:2])
    return ordered[0]


def _twice(channel: str, first: Band, second: Band) -> SourceError:
    if first.path == second.path:
        advice = f"Say which one it is with a band map, for example {channel}={first.index}."
        where = f"bands {first.index} and {second.index} of '{first.name}'"
    else:
        advice = (
            "If they are parts of a mosaic: build one virtual raster from them (in QGIS: Raster > "
            "Miscellaneous > Build Virtual Raster) and choose that; mosaics of several files "
            "are not read yet. Otherwise leave only one of them, or say which with a band map."
        )
        where = f"'{first.name}' and in '{second.name}'"
    return SourceError(f"{channel} was found twice, in {where}. {advice}", channel=channel)


def _check_dtype(band: Band, sensor: str) -> None:
    if band.dtype.startswith("complex"):
        raise RadiometryError(
            f"'{band.name}' holds complex numbers (a single look complex product). Calibrate it "
            "to sigma0 and terrain-correct it first, for example in SNAP."
        )
    if sensor == "s2" and band.dtype in ("uint8", "int8"):
        raise RadiometryError(
            f"{band.channel} in '{band.name}' has 8 bits: that is a rendered picture, its "
            "reflectance is lost. Choose the original Sentinel-2 bands."
        )


def _product(sources: Sequence[RasterSource]) -> Product | None:
    products = {product for source in sources if (product := read_product(source.path))}
    if len({(product.level, product.offset) for product in products}) > 1:
        raise RadiometryError(
            "The Sentinel-2 bands come from products of different level or offset. Use bands of "
            "one product."
        )
    return next(iter(products), None)
