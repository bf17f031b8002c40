"""Bands that belong together: one scene, or the parts of a mosaic in the order given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..contract.channels import MASKS, S1_BANDS
from ..contract.errors import RadiometryError, SourceError
from .geometry import Geometry, shared
from .pixels import Band
from .product import Product

# Pixel sizes that differ by less are equal.
_SAME_SIZE = 1e-6
# Two rasters that share this part of both together show the same place.
_SAME_PLACE = 0.9
# Bands that share this part of the smaller one may belong together.
_BELONGS = 0.5


@dataclass
class Part:
    """One raster of a mosaic, made of bands from one file or from many."""

    bands: dict[str, Band] = field(default_factory=dict)

    @property
    def geometry(self) -> Geometry:
        """Where it lies: its finest band; among equals the first in model order."""
        return min((b.geometry for b in self.bands.values()), key=lambda g: g.pixel_size_m)

    @property
    def product(self) -> Product | None:
        """What the metadata of its bands say; RadiometryError where they contradict each other."""
        products = {band.product for band in self.bands.values() if band.product}
        if len({(product.level, product.offset) for product in products}) > 1:
            raise RadiometryError(
                "The Sentinel-2 bands come from products of different level or offset. Use bands "
                "of one product."
            )
        return min(products, key=lambda product: product.name, default=None)

    @property
    def dates(self) -> tuple[str, ...]:
        """The days on which its bands were taken, where that is known."""
        return tuple(sorted({band.date for band in self.bands.values() if band.date}))

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files, as they may be shown."""
        return tuple(dict.fromkeys(band.name for band in self.bands.values()))


def arrange(bands: Iterable[Band], order: Sequence[str]) -> tuple[Part, ...]:
    """Return the parts of a mosaic, each with its own bands, in the order of the sources.

    The same band at the same place: the finest one; where two are equally fine nobody can know
    which is meant, and that is an error. At another place it begins another part.
    """
    by_channel: dict[str, list[Band]] = {channel: [] for channel in order}
    for band in bands:
        _add(by_channel.setdefault(band.channel, []), band)
    parts: list[Part] = []
    for channel, members in by_channel.items():
        for band in members:
            _home(parts, channel, band).bands[channel] = band
    for part in parts:
        part.bands = {name: part.bands[name] for name in by_channel if name in part.bands}
    return tuple(parts)


def _add(members: list[Band], band: Band) -> None:
    """Put a band beside those of its channel, or in the place of a coarser one."""
    for place, other in enumerate(members):
        if shared(other.geometry, band.geometry)[1] < _SAME_PLACE:
            continue
        size, known = band.geometry.pixel_size_m, other.geometry.pixel_size_m
        if abs(size / known - 1) < _SAME_SIZE:
            raise _twice(band.channel, other, band)
        if size < known:
            members[place] = band
        return
    members.append(band)


def _home(parts: list[Part], channel: str, band: Band) -> Part:
    """Return the part that a band belongs to; a new one where it lies apart from all."""
    lacking = [part for part in parts if channel not in part.bands]
    shares = [shared(part.geometry, band.geometry) for part in lacking]
    ranked = sorted(zip(shares, range(len(shares))), key=lambda item: -item[0][1])
    for (of_smaller, _), place in ranked:
        if of_smaller >= _BELONGS:
            return lacking[place]
    parts.append(Part())
    return parts[-1]


def _twice(channel: str, first: Band, second: Band) -> SourceError:
    if (first.path, first.index) == (second.path, second.index):
        return SourceError(f"'{first.name}' was given twice: leave it once.", path=first.name)
    if first.path == second.path:
        return _twice_in_one(channel, first, second)
    return SourceError(
        f"{channel} was found twice, in '{first.name}' and in '{second.name}'. Rasters that lie "
        "beside each other are a mosaic, but these two lie at the same place: leave only one of "
        "them, or merge them first.",
        channel=channel,
        paths=[first.name, second.name],
    )


def _twice_in_one(channel: str, first: Band, second: Band) -> SourceError:
    numbers = [first.index, second.index]
    where = f"{channel} was found twice, in bands {numbers[0]} and {numbers[1]} of '{first.name}'."
    if channel in MASKS:
        return SourceError(
            f"{where} Name the file as the cloud mask and say which band it is (--mask and "
            "--mask-band; in QGIS 'Cloud mask' and 'Band' beside it).",
            channel=channel,
        )
    return SourceError(
        f"{where} Say which one it is with a band map, for example {channel}={first.index}.",
        channel=channel,
        decision="s1_bands" if channel in S1_BANDS else "s2_bands",
        choices=[{channel: number} for number in numbers],
    )
