"""Are the numbers of Sentinel-2 DN or reflectance, and is an offset in them?

The user's word first, then metadata, then the histogram; and say what was decided. Where a
histogram suggests an offset that nothing states, the user decides: snow and cloud lift minima
too. It is decided once a scene, never by extent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.channels import RGB
from ..contract.errors import DecisionError, RadiometryError
from ..contract.scene_options import S2_OFFSETS
from .pixels import SATURATED, Band, FloatArray
from .product import Product
from .radiometry import EMPTY, SceneWarning, stated_scale

DN_PER_REFLECTANCE = 10_000.0
# Bands whose histograms are looked at; snow and cloud are dark in the last one.
SAMPLED = (*RGB, "B12")
# Reflectance above 3 does not occur, DN of a whole scene below 100 does not either.
_MAX_REFLECTANCE = 3.0
_MIN_DN = 100.0
_MAX_MEDIAN_DN = 30_000.0
# The offset is 1000; atmospheric correction leaves dark water a little below it.
_SUSPICIOUS = 900.0
_MAX_NEGATIVE = 0.05


@dataclass(frozen=True)
class S2Verdict:
    """Physical reflectance = (DN + offset) * scale; ``evidence`` says how that is known."""

    offset: float
    scale: float
    evidence: str
    warnings: tuple[SceneWarning, ...] = ()

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
        samples: valid values of the bands in :data:`SAMPLED` that are there.
        decided_offset: the offset in DN that the user states; it wins.

    Raises RadiometryError where the values can be neither DN nor reflectance, or contradict the
    metadata, DecisionError where they look as if an offset were in them and nothing says so.
    """
    scale, offset = stated_scale(bands, "Sentinel-2")
    evidence = []
    if (scale, offset) != (1.0, 0.0):
        evidence.append(f"band metadata: scale {scale:g}, offset {offset:g}")
    if product is not None and product.offset is not None:
        evidence.append(f"{product.name}: offset {product.offset:g}")
    values = {name: v for name, v in samples.items() if v.size}
    if not values:
        return S2Verdict(offset / scale, 1 / DN_PER_REFLECTANCE, "; ".join([*evidence, "empty"]),
                         (SceneWarning("s2_empty", EMPTY.format("Sentinel-2")),))  # fmt: skip
    evidence.append(_histogram(values))
    is_reflectance = _is_reflectance(values, bands, scale, offset)
    physical = scale if is_reflectance else scale / DN_PER_REFLECTANCE
    in_dn = physical * DN_PER_REFLECTANCE
    stated = _stated_offset(offset / scale, product, in_dn)
    if decided_offset is not None:
        evidence.append(f"offset {decided_offset:g} by the user")
        chosen = decided_offset / in_dn
    else:
        chosen = _checked(values, stated, in_dn, product)
    return S2Verdict(
        chosen, physical, "; ".join(evidence), tuple(_notes(is_reflectance, scale, values))
    )


def _stated_offset(own: float, product: Product | None, in_dn: float) -> float | None:
    """Return the offset in the raster's own numbers that metadata state, None for silence."""
    if own:
        return own
    if product is None or product.offset is None:
        return None
    return product.offset / in_dn


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


def _is_reflectance(
    values: Mapping[str, FloatArray], bands: Sequence[Band], scale: float, offset: float
) -> bool:
    """Tell reflectance 0-1 from DN; RadiometryError where the values are neither."""
    # A negative offset may have been removed before: that is asked about later.
    pooled = np.concatenate(list(values.values())).astype(np.float64) * scale + max(offset, 0.0)
    high, median = float(np.percentile(pooled, 99)), float(np.median(pooled))
    is_float = scale != 1.0 or any(band.dtype.startswith("float") for band in bands)
    if is_float and median > -1.0 and high <= _MAX_REFLECTANCE:
        return True
    if high < _MIN_DN or median > _MAX_MEDIAN_DN or median < 0:
        raise RadiometryError(
            f"Sentinel-2 values are neither DN (reflectance x 10000) nor reflectance from 0 to 1: "
            f"99 % of those looked at are below {high:.4g}, half below {median:.4g}. Choose the "
            "original product, or rescale the raster to reflectance x 10000.",
            p99=high, median=median,
        )  # fmt: skip
    return False


def _ask_about_offset(values: Mapping[str, FloatArray], in_dn: float) -> None:
    lowest = {name: float(np.percentile(v, 0.1)) * in_dn for name, v in values.items()}
    if min(lowest.values()) < _SUSPICIOUS:
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


def _notes(
    is_reflectance: bool, scale: float, values: Mapping[str, FloatArray]
) -> list[SceneWarning]:
    found = []
    if is_reflectance and scale == 1.0:
        found.append(SceneWarning("s2_reflectance", _REFLECTANCE))
    shares = [float((v >= SATURATED).mean()) for v in values.values()]
    if max(shares) > 0:
        found.append(SceneWarning("s2_saturated", _SATURATED.format(max(shares))))
    return found


def _histogram(samples: Mapping[str, FloatArray]) -> str:
    parts = (
        f"{name} {np.percentile(v, 0.1):.4g} / {np.median(v):.4g} / {np.percentile(v, 99):.4g}"
        for name, v in samples.items()
    )
    return "lowest 0.1 %, median and highest 1 % of the scene: " + ", ".join(parts)


_REFLECTANCE = (
    "Sentinel-2 holds reflectance from 0 to 1; it was multiplied by 10000, as the model expects."
)
_SATURATED = (
    "Sentinel-2 has saturated pixels (value 65535, up to {:.1%} of a band): they count as no data."
)
