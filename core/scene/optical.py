"""Are the numbers of Sentinel-2 DN or reflectance, and is an offset in them?

The user's word first, then metadata, then the histogram; and say what was decided. Where a
histogram suggests an offset that nothing states, the user decides: snow and cloud lift minima
too. It is decided once a scene, never by extent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.channels import RGB
from ..contract.errors import DecisionError
from ..contract.scene_options import S2_OFFSETS
from .copies import copies
from .pixels import SATURATED, Band, FloatArray
from .product import Product
from .radiometry import EMPTY, SceneWarning, stated_scale
from .reflectance import DN_PER_REFLECTANCE, check_clipped, check_same_unit, is_reflectance

# Bands whose histograms are looked at; snow and cloud are dark in the last one.
SAMPLED = (*RGB, "B12")
# Reflectance below -0.2 does not occur.
_MIN_REFLECTANCE = -0.2
_DARK_DN = 400.0
# The offset is 1000; atmospheric correction leaves dark water a little below it. Of the lowest
# pixels some may be damaged.
_SUSPICIOUS, _LOW_PERCENT = 900.0, 2.0
_MAX_NEGATIVE = 0.05
# Medians of B08 and B8A differ by at most 320 DN in the shared real scenes; more over snow.
_NIR_APART_DN, _NIR_APART = 600.0, 0.12
# Bands that are dark somewhere in any scene without snow; near infrared is not over forest.
_DARK_SOMEWHERE = {"B01", "B02", "B03", "B04", "B05", "B11", "B12"}


@dataclass(frozen=True)
class S2Verdict:
    """Physical reflectance = (DN + offset) * scale; ``evidence`` says how that is known."""

    offset: float
    scale: float
    evidence: str
    warnings: tuple[SceneWarning, ...] = ()
    is_judged: bool = True

    @property
    def floor(self) -> float:
        """Raw values below it measure nothing: fill that nobody declared."""
        return _MIN_REFLECTANCE / self.scale - self.offset

    @property
    def ceiling(self) -> float:
        """Raw values above it measure nothing: what is saturated as DN, or fill."""
        return SATURATED / DN_PER_REFLECTANCE / self.scale if self.is_judged else math.inf

    @property
    def factor(self) -> float:
        """What (value + offset) is multiplied with to give the model's DN; 1 exactly for DN."""
        factor = self.scale * DN_PER_REFLECTANCE
        return 1.0 if abs(factor - 1) < 1e-6 else factor

    def dn(self, values: FloatArray) -> FloatArray:
        """Return reflectance x 10000; plain DN stay bit for bit."""
        if self.offset:
            # With an offset 0 can only mean nodata: the darkest pixel is above it.
            values = np.where(values == 0, np.nan, values + np.float32(self.offset))
        return values if self.factor == 1.0 else values * np.float32(self.factor)


def judge_s2(
    samples: Mapping[str, FloatArray],
    bands: Sequence[Band],
    product: Product | None = None,
    decided_offset: float | None = None,
) -> S2Verdict:
    """Decide offset and scale of a Sentinel-2 raster from metadata and a sample of raw values.

    Args:
        samples: valid values of each band that was looked at; those of :data:`SAMPLED` decide,
            all must agree with them.
        decided_offset: the offset in DN that the user states; it wins.

    Raises RadiometryError where the values can be neither DN nor reflectance, are cut off, or are
    in different units, DecisionError where metadata contradict each other or the values, or where
    values look as if an offset were in them and nothing says so.
    """
    scale, offset = stated_scale(bands, "Sentinel-2")
    evidence = []
    if (scale, offset) != (1.0, 0.0):
        evidence.append(f"band metadata: scale {scale:g}, offset {offset:g}")
    if product is not None and product.offset is not None:
        evidence.append(f"{product.name}: offset {product.offset:g}")
    values = {name: v for name, v in samples.items() if v.size}
    main = {name: values[name] for name in SAMPLED if name in values} or values
    if not main:
        return S2Verdict(offset / scale, 1 / DN_PER_REFLECTANCE, "; ".join([*evidence, "empty"]),
                         (SceneWarning("s2_empty", EMPTY.format("Sentinel-2")),),
                         is_judged=False)  # fmt: skip
    check_clipped(main, bands, scale)
    physically = is_reflectance(main, bands, scale, offset)
    physical = scale if physically else scale / DN_PER_REFLECTANCE
    in_dn = physical * DN_PER_REFLECTANCE
    values = {name: _measured(v, physical, offset / scale) for name, v in values.items()}
    main = {name: values[name] for name in main if values[name].size}
    evidence.append(_histogram(main))
    if decided_offset is not None:
        evidence.append(f"offset {decided_offset:g} by the user")
        chosen = decided_offset / in_dn
    else:
        stated = _stated_offset(offset / scale, product, bands, in_dn)
        chosen = _checked(main, stated, in_dn, product)
    # The scale that metadata state has made reflectance of all of them.
    if scale == 1.0:
        check_same_unit(values, main, physically)
    if decided_offset is None and not chosen:
        _check_same_offset(values, main, in_dn)
    notes = [*_notes(physically, scale, values), *_darkness(main, in_dn)]
    notes += [*copies(values, "Sentinel-2"), *_near_infrared(values, in_dn)]
    notes += _after_offset(main, chosen, in_dn)
    return S2Verdict(chosen, physical, "; ".join(evidence), tuple(notes))


def _measured(values: FloatArray, physical: float, offset: float) -> FloatArray:
    """Return values without fill that nobody declared, whatever the offset turns out to be."""
    return values[values >= _MIN_REFLECTANCE / physical - max(offset, 0.0)]


def _stated_offset(
    own: float, product: Product | None, bands: Sequence[Band], in_dn: float
) -> float | None:
    """Return the offset in the raster's own numbers that metadata state, None for silence.

    Raises DecisionError where they contradict each other, or speak of some of the bands only.
    """
    theirs = None if product is None or product.offset is None else product.offset / in_dn
    silent = [b.channel for b in bands if b.product is None or b.product.offset is None]
    if own:
        if theirs is not None and abs(own - theirs) * in_dn > 1:
            assert product is not None
            raise _contradiction(
                f"The band metadata of Sentinel-2 state an offset of {own * in_dn:g}, "
                f"{product.name} one of {product.offset:g}."
            )
        return own
    if theirs and silent:
        assert product is not None
        raise _contradiction(
            f"{product.name} states an offset of {product.offset:g}, but it speaks of some files "
            f"only: of {', '.join(silent)} nothing is known."
        )
    return theirs


def _contradiction(words: str) -> DecisionError:
    return DecisionError(
        f"{words} Decide which offset is to be added to all bands: -1000 or 0 (--s2-offset; in "
        "QGIS 'S2 offset'), or choose the files of one product.",
        decision="s2_offset", choices=list(S2_OFFSETS),
    )  # fmt: skip


def _checked(
    values: Mapping[str, FloatArray], stated: float | None, in_dn: float, product: Product | None
) -> float:
    if stated is None:
        _ask_about_offset(values, in_dn)
        return 0.0
    pooled = np.concatenate(list(values.values())) + stated
    below = float((pooled < 0).mean())
    if stated < 0 and below > _MAX_NEGATIVE:
        where = product.name if product and product.offset else "the band metadata"
        raise DecisionError(
            f"{where} ask to add {stated * in_dn:g} to each Sentinel-2 value, but then {below:.0%} "
            "of the pixels looked at are negative: the offset seems to have been removed already. "
            "Decide: offset 0 if it was removed (--s2-offset 0; in QGIS 'S2 offset'), or choose "
            "the original product.",
            decision="s2_offset", choices=list(S2_OFFSETS), negative=below,
        )  # fmt: skip
    return stated


def _looks_lifted(values: Mapping[str, FloatArray], in_dn: float) -> dict[str, float]:
    """Return the lowest DN of each band where all of them look as if an offset were in them."""
    lowest = {name: float(np.percentile(v, _LOW_PERCENT)) * in_dn for name, v in values.items()}
    return lowest if lowest and min(lowest.values()) >= _SUSPICIOUS else {}


def _check_same_offset(
    values: Mapping[str, FloatArray], main: Mapping[str, FloatArray], in_dn: float
) -> None:
    others = {name: sample for name, sample in values.items() if name not in main and sample.size}
    lifted = _looks_lifted(others, in_dn)
    if _DARK_SOMEWHERE & set(lifted):
        raise _contradiction(
            f"{', '.join(lifted)} of Sentinel-2 look as if +1000 were in them, the other bands do "
            "not: they come from different products."
        )


def _darkness(values: Mapping[str, FloatArray], in_dn: float) -> list[SceneWarning]:
    high = max(float(np.percentile(v, 99)) for v in values.values()) * in_dn
    return [SceneWarning("s2_dark", _DARK.format(high))] if high < _DARK_DN else []


def _near_infrared(values: Mapping[str, FloatArray], in_dn: float) -> list[SceneWarning]:
    """Compare two bands that see nearly the same light: no other check knows them apart."""
    if not all(name in values and values[name].size for name in ("B08", "B8A")):
        return []
    broad, narrow = (float(np.median(values[name])) * in_dn for name in ("B08", "B8A"))
    if abs(broad - narrow) < max(_NIR_APART_DN, _NIR_APART * max(broad, narrow)):
        return []
    return [SceneWarning("s2_nir_apart", _NIR_DIFFERS.format(broad, narrow))]


def _after_offset(
    values: Mapping[str, FloatArray], offset: float, in_dn: float
) -> list[SceneWarning]:
    below = max(float((v + offset < 0).mean()) for v in values.values()) if values else 0.0
    if below <= _MAX_NEGATIVE:
        return []
    return [SceneWarning("s2_negative", _NEGATIVE.format(offset * in_dn, below))]


def _ask_about_offset(values: Mapping[str, FloatArray], in_dn: float) -> None:
    lowest = _looks_lifted(values, in_dn)
    if not lowest:
        return
    words = ", ".join(f"{name} {value:.0f}" for name, value in lowest.items())
    raise DecisionError(
        f"The lowest Sentinel-2 values ({words}) suggest that the +1000 of processing baseline "
        "04.00 (products since January 2022, older ones where reprocessed) is still in the data, "
        "and no metadata say so; snow, cloud or haze can look the same. Decide: -1000 removes it, "
        "0 says that there is none (--s2-offset; in QGIS 'S2 offset'). The .SAFE folder with its "
        "metadata would tell by itself.",
        decision="s2_offset", choices=list(S2_OFFSETS), lowest=lowest,
    )  # fmt: skip


def _notes(physically: bool, scale: float, values: Mapping[str, FloatArray]) -> list[SceneWarning]:
    found = []
    if physically and scale == 1.0:
        found.append(SceneWarning("s2_reflectance", _REFLECTANCE))
    shares = [float((v >= SATURATED).mean()) for v in values.values() if v.size]
    if max(shares) > 0:
        found.append(SceneWarning("s2_saturated", _SATURATED.format(max(shares))))
    return found


def _histogram(samples: Mapping[str, FloatArray]) -> str:
    points = (_LOW_PERCENT, 50.0, 99.0)
    parts = (
        f"{name} {' / '.join(f'{value:.4g}' for value in np.percentile(v, points))}"
        for name, v in samples.items()
    )
    return "lowest 2 %, median and highest 1 % of the scene: " + ", ".join(parts)


_REFLECTANCE = (
    "Sentinel-2 holds reflectance from 0 to 1; it was multiplied by 10000, as the model expects."
)
_NEGATIVE = (
    "With the offset of {:g}, {:.0%} of the pixels of a Sentinel-2 band are negative: it may have "
    "been removed before."
)
_NIR_DIFFERS = (
    "B08 and B8A of Sentinel-2 see nearly the same light, but their medians are {:.0f} and {:.0f} "
    "DN: one may be another band, of another product, or hold the offset of +1000 alone."
)
_DARK = (
    "Sentinel-2 is unusually dark (99 % of the values looked at are below {:.0f}): the numbers may "
    "be scaled to 8 bits or by ten. Check the source."
)
_SATURATED = (
    "Sentinel-2 has saturated pixels (value 65535, up to {:.1%} of a band): they count as no data."
)
