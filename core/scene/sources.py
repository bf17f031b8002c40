"""From sources to channels: open what the user gave and find every band the model needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rasterio.crs import CRS
from rasterio.enums import Interleaving
from rasterio.errors import CRSError

from ..contract.channels import CLOUD_MASK, MASKS
from ..contract.errors import CrsError, JobError, RadiometryError, SourceError
from ..contract.job import RasterSource
from ..contract.source_identity import without_credentials
from .calibration import calibration_file
from .dating import band_date
from .files import is_gdal_name, raster_files
from .naming import USER, BandName, Names, band_names
from .parts import Part, arrange
from .pixels import Band, has_mask, open_raster
from .placing import geometry_of
from .product import Product, product_of
from .stac import StacAsset, stac_asset
from .variables import check_one_date, variables

_LEVEL = re.compile(r"(?<![A-Z0-9])(?:MSI|S2)?_?L(1C|2A)(?![A-Z0-9])", re.I)
# Contradictions of one file that a message tells.
_MOST_SAID = 3


@dataclass(frozen=True)
class Found:
    """What the sources of one sensor hold.

    ``parts`` have the bands that were asked for; ``other`` names every other recognised band,
    ``unnamed`` the files with bands that nothing names, ``foreign`` what looks like the other
    sensor, ``masks`` the cloud masks by kind.
    """

    parts: tuple[Part, ...] = ()
    other: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    masks: dict[str, list[Band]] = field(default_factory=dict)
    names_level: str | None = None
    is_given: bool = True

    @property
    def bands(self) -> dict[str, Band]:
        """The bands of the first part."""
        return self.parts[0].bands if self.parts else {}

    @property
    def all_bands(self) -> tuple[Band, ...]:
        """The bands of all parts."""
        return tuple(band for part in self.parts for band in part.bands.values())

    @property
    def level(self) -> str | None:
        """``L1C`` or ``L2A`` where metadata, the band B10 or names tell."""
        stated = {part.product.level for part in self.parts if part.product} - {None}
        if "L1C" in stated or (not stated and "B10" in self.other):
            return "L1C"
        return next(iter(stated), self.names_level)

    @property
    def dates(self) -> tuple[str, ...]:
        """The days of acquisition, where known."""
        return tuple(sorted({date for part in self.parts for date in part.dates}))


@dataclass
class _Collected:
    """What the files hold while they are opened one by one."""

    bands: list[Band] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    unnamed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)
    paths: list[str] = field(default_factory=list)


def find_bands(sources: Sequence[RasterSource], sensor: str, wanted: Iterable[str]) -> Found:
    """Return where each wanted channel of ``sensor`` ("s2" or "s1") is found.

    At one place the finest pixel size wins; the same band twice at one pixel size there is an
    error and never guessed, at another place it is a part of a mosaic. What is not found is
    simply absent.
    """
    channels = tuple(wanted)
    collected = _Collected()
    for source in sources:
        _collect(collected, source, sensor, {*channels, *MASKS})
    masks: dict[str, list[Band]] = {}
    for band in collected.bands:
        if band.channel in MASKS:
            masks.setdefault(band.channel, []).append(band)
        else:
            _check_dtype(band, sensor)
    bands = [band for band in collected.bands if band.channel in channels]
    return Found(
        parts=arrange(bands, channels),
        other=tuple(sorted(collected.names - {*channels})),
        unnamed=tuple(collected.unnamed),
        unreadable=tuple(collected.unreadable),
        foreign=tuple(sorted(collected.foreign)),
        masks=masks,
        names_level=_named_level(collected.paths),
        is_given=bool(sources),
    )


def find_mask(source: RasterSource) -> list[Band]:
    """Return the bands of a raster that the user names as a cloud mask.

    Its kind is told by its name, or by a band map; a raster of one band is a mask of any kind.
    """
    collected = _Collected()
    _collect(collected, source, "mask", set(MASKS))
    if not collected.bands:
        path = raster_files(source.path)[0]
        with open_raster(path) as dataset:
            if dataset.count == 1:
                name = BandName(CLOUD_MASK, USER, "")
                return [_band(dataset, name, 1, path, source, None)]
        raise SourceError(
            f"No band of the mask '{without_credentials(source.path)}' is known as SCL, QA60 or a "
            "cloud mask. Say which one it is (--mask-band; in QGIS 'Band' beside the cloud mask).",
            decision="mask_band",
        )
    return collected.bands


def _collect(collected: _Collected, source: RasterSource, sensor: str, wanted: set[str]) -> None:
    files = raster_files(source.path)
    single = len(files) == 1
    if source.bands and not single:
        raise JobError(
            f"A band map counts the bands of one file, but '{without_credentials(source.path)}' "
            f"holds {len(files)} rasters. Choose the files one by one, each with its own map."
        )
    bad = 0
    for path in files:
        try:
            dataset = open_raster(path)
        except SourceError:
            if single:
                raise
            # One bad file in a folder matters only if its band is missed in the end.
            collected.unreadable.append(without_credentials(path))
            bad += 1
            continue
        with dataset:
            _take(collected, dataset, source, path, sensor, wanted)
    if bad == len(files):
        raise SourceError(
            f"None of the {len(files)} rasters in '{source.path}' can be opened. Unpack the "
            "archive and choose the folder, or download the scene again.",
            path=source.path,
        )


def _take(
    collected: _Collected, dataset: Any, source: RasterSource, path: str, sensor: str,
    wanted: set[str],
) -> None:  # fmt: skip
    """Take the bands of an open file, or of each of its variables."""
    inner = variables(dataset, source)
    for place in inner:
        with open_raster(place) as variable:
            _take(collected, variable, source, place, sensor, wanted)
    if inner:
        return
    stac = None if is_gdal_name(path) else stac_asset(path)
    names = _names(dataset, source, path, sensor, stac)
    collected.paths.append(path)
    _note(collected, dataset, names, path, sensor)
    check_one_date(dataset, names, wanted, path)
    for index, name in names.named.items():
        # Only of what is needed: an unplaced band that nobody wants does no harm.
        if name.channel in wanted:
            collected.bands.append(_band(dataset, name, index, path, source, stac))


def _names(
    dataset: Any, source: RasterSource, path: str, sensor: str, stac: StacAsset | None
) -> Names:
    if dataset.count == 0:
        raise SourceError(
            f"'{without_credentials(path)}' holds no bands itself but {len(dataset.subdatasets)} "
            "rasters inside. Choose one of them, in QGIS as a layer of its own.",
            path=without_credentials(path),
        )
    found = band_names(dataset, sensor, stac)
    return replace(found, named=_with_map(found.named, dataset, source))


def _note(collected: _Collected, dataset: Any, names: Names, path: str, sensor: str) -> None:
    """Remember what a message about missing bands should tell."""
    collected.names.update(name.channel for name in names.named.values())
    if len(names.named) < dataset.count:
        collected.unnamed.append(_unnamed(dataset, names, path))
    if not names.named and sensor != "mask":
        other = "s1" if sensor == "s2" else "s2"
        found = band_names(dataset, other).named.values()
        collected.foreign.update(name.channel for name in found)


def _unnamed(dataset: Any, names: Names, path: str) -> str:
    """Return a file with the number of its bands that have no name, and why."""
    without = [index for index in dataset.indexes if index not in names.named]
    said = dict.fromkeys(names.disagreeing[n] for n in without if n in names.disagreeing)
    why = "".join(
        f"; names disagree: {', '.join(channels)}" for channels in list(said)[:_MOST_SAID]
    )
    return f"'{without_credentials(path)}' ({len(without)}{why})"


def _with_map(
    names: dict[int, BandName], dataset: Any, source: RasterSource
) -> dict[int, BandName]:
    """Return the names with the user's map laid over them: it wins over every name."""
    for channel, index in source.bands.items():
        if index > dataset.count:
            raise JobError(
                f"The band map says that {channel} is band {index}, but "
                f"'{without_credentials(source.path)}' has only {dataset.count} bands."
            )
    mapped = {index: BandName(channel, USER, "") for channel, index in source.bands.items()}
    if len(mapped) < len(source.bands):
        raise JobError("The band map gives the same band to two channels.")
    kept = {
        index: name
        for index, name in names.items()
        if index not in mapped and name.channel not in source.bands
    }
    return {**kept, **mapped}


def _band(
    dataset: Any, name: BandName, index: int, path: str, source: RasterSource,
    stac: StacAsset | None,
) -> Band:  # fmt: skip
    nodata = dataset.nodatavals[index - 1]
    product: Product | None = product_of(path, source.path) or (stac.product if stac else None)
    return Band(
        channel=name.channel,
        path=path,
        index=index,
        geometry=geometry_of(dataset, _override(source)),
        dtype=dataset.dtypes[index - 1],
        nodata=None if nodata is None else float(nodata),
        scale=float(dataset.scales[index - 1]),
        offset=float(dataset.offsets[index - 1]),
        block=dataset.block_shapes[index - 1],
        interleaved=dataset.count if dataset.interleaving == Interleaving.pixel else 1,
        has_mask=has_mask(dataset, index),
        has_overviews=bool(dataset.overviews(index)),
        is_wavelet=dataset.driver.startswith("JP2"),
        found_by=name.found_by,
        label=name.label,
        calibration=calibration_file(path),
        product=product,
        date=(product and product.date) or band_date(dataset, index, path),
    )


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


def _named_level(paths: Sequence[str]) -> str | None:
    levels = {f"L{match.upper()}" for path in paths for match in _LEVEL.findall(path)}
    return levels.pop() if len(levels) == 1 else None


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
