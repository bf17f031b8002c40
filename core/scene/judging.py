"""A part of a scene with what its numbers are: sampled once, judged once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..contract.channels import INDEX_BANDS
from ..contract.errors import DecisionError, MissingChannelsError
from ..contract.scene_options import SceneOptions
from ..contract.spec import ModelSpec
from .optical import SAMPLED, judge_s2
from .parts import Part
from .pixels import FloatArray
from .radar import judge_s1
from .sampling import GLANCE, sample_bands
from .understood import Judged


def judged_s2(parts: Sequence[Part], options: SceneOptions) -> tuple[Judged, ...]:
    """Return the parts of Sentinel-2 with their verdicts; bands without a pixel are left out.

    In a mosaic the user's offset is for the parts about which it was asked: another one may be
    of another baseline.

    Raises MissingChannelsError for such a band, unless the user fills what is missing.
    """
    return tuple(_judged_s2(part, options, is_alone=len(parts) == 1) for part in parts)


def _judged_s2(part: Part, options: SceneOptions, *, is_alone: bool) -> Judged:
    deciding = [part.bands[name] for name in SAMPLED if name in part.bands]
    deciding = deciding or list(part.bands.values())[:1]
    others = [band for band in part.bands.values() if band not in deciding]
    sample = sample_bands(deciding, "s2")
    values = dict(sample.values)
    if others:
        values.update(sample_bands(others, "s2", GLANCE).values)
    part = _without_empty(part, values, options)
    bands = tuple(part.bands.values())
    values = {name: values[name] for name in part.bands}
    if is_alone or options.s2_offset is None:
        return Judged(part, sample, judge_s2(values, bands, part.product, options.s2_offset))
    try:
        verdict = judge_s2(values, bands, part.product)
    except DecisionError:
        verdict = judge_s2(values, bands, part.product, options.s2_offset)
    return Judged(part, sample, verdict)


def judged_s1(part: Part, options: SceneOptions) -> Judged:
    """Return a part of Sentinel-1 with its verdict; as :func:`judged_s2`."""
    sample = sample_bands(tuple(part.bands.values()), "s1")
    kept = _without_empty(part, sample.values, options)
    bands = tuple(kept.bands.values())
    if kept is not part:
        # A pixel is measured where all bands are: those that are left say where that is.
        part, sample = kept, sample_bands(bands, "s1")
    return Judged(part, sample, judge_s1(sample.values, bands, options.s1_unit))


def constant_channels(
    spec: ModelSpec, found: Iterable[Judged], lacking: Sequence[str]
) -> tuple[str, ...]:
    """Return the channels that the model sees as constant: missing, empty, or made from such."""
    wanted = {*spec.s2_names, *spec.s1_names}
    for judged in found:
        bands = judged.part.bands
        sensor = spec.s1_names if {*bands} & {*spec.s1_names} else spec.s2_names
        lacking = [*lacking, *(n for n in sensor if n not in INDEX_BANDS and n not in bands)]
    gone = set(lacking)
    made = [name for name, parts in INDEX_BANDS.items() if name in wanted and gone & {*parts}]
    return tuple(dict.fromkeys([*lacking, *made]))


def _without_empty(part: Part, values: Mapping[str, FloatArray], options: SceneOptions) -> Part:
    # All values are 0, too, where nothing was written to a band.
    empty = [name for name in part.bands if not values[name].any()]
    if not empty or len(empty) == len(part.bands):
        return part
    if not options.fill_missing:
        raise MissingChannelsError(
            f"{', '.join(empty)} in {part.bands[empty[0]].name} holds no valid pixel. Choose the "
            "raster that has it, or have it filled with its training mean (--fill-missing; in QGIS "
            "'Fill missing channels'), which costs accuracy.",
            missing=empty,
            found=[name for name in part.bands if name not in empty],
        )
    return Part({name: band for name, band in part.bands.items() if name not in empty})
