"""In which unit are the numbers? Metadata first, histogram second, and say what was decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.channels import RGB
from ..contract.errors import RadiometryError
from .pixels import Band, FloatArray
from .product import Product

DN_PER_REFLECTANCE = 10_000.0
# Reflectance above 3 does not occur, DN of a whole scene below 100 does not either.
MAX_REFLECTANCE = 3.0
MIN_DN = 100.0
MAX_MEDIAN_DN = 30_000.0
BASELINE_OFFSET = 1000.0
# Medians of sigma0: power stays below 1.5 even in cities, dB above -60 even on calm water.
MAX_POWER = 1.5
MIN_DB = -60.0
# VH of land lies near -15 to -20 dB; amplitude read as power halves the decibels.
MAX_VH_DB = -10.0


@dataclass(frozen=True)
class SceneWarning:
    """Something the user should know before trusting the result."""

    code: str
    message: str


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


@dataclass(frozen=True)
class S1Verdict:
    """``unit`` is ``db``, ``power`` or ``db*100``; value = raw * scale + offset is dB or power."""

    unit: str
    scale: float
    offset: float
    evidence: str
    warnings: tuple[SceneWarning, ...] = ()

    @property
    def is_power(self) -> bool:
        """Whether the values are linear power, else decibels."""
        return self.unit == "power"


def judge_s2(
    samples: Mapping[str, FloatArray], bands: Sequence[Band], product: Product | None = None
) -> S2Verdict:
    """Decide offset and scale of a Sentinel-2 scene from metadata and a sample of raw values.

    ``samples`` holds valid values of the visible bands. Raises RadiometryError where the
    values can be neither DN nor reflectance, or contradict the metadata.
    """
    stated_scale, stated_offset = _stated(bands)
    offset = stated_offset / stated_scale
    evidence = []
    if (stated_scale, stated_offset) != (1.0, 0.0):
        evidence.append(f"band metadata: scale {stated_scale:g}, offset {stated_offset:g}")
    if product is not None:
        evidence.append(f"{product.name}: offset {product.offset:g}")
        offset = offset or product.offset
    visible = {name: samples[name] for name in RGB if name in samples and samples[name].size}
    if not visible:
        return S2Verdict(offset, 1 / DN_PER_REFLECTANCE, "; ".join([*evidence, "no valid pixel"]),
                         (SceneWarning("s2_empty", _EMPTY.format("Sentinel-2")),))  # fmt: skip
    pooled = (np.concatenate(list(visible.values())).astype(np.float64) + offset) * stated_scale
    is_reflectance = _is_reflectance(pooled, bands)
    evidence.append(_histogram_words(visible))
    scale = stated_scale if is_reflectance else stated_scale / DN_PER_REFLECTANCE
    warnings = [*_product_warnings(product)]
    if is_reflectance and stated_scale == 1.0:
        warnings.append(SceneWarning("s2_reflectance", _REFLECTANCE))
    if offset == 0 and product is None:
        warnings += _offset_suspicion(visible, scale)
    elif offset < 0:
        _check_offset(pooled, offset)
    return S2Verdict(offset, scale, "; ".join(evidence), tuple(warnings))


def judge_s1(samples: Mapping[str, FloatArray], bands: Sequence[Band]) -> S1Verdict:
    """Decide whether Sentinel-1 is in decibels or linear power, from a sample of raw values.

    Raises RadiometryError for values that are not calibrated backscatter.
    """
    scale, offset = _stated(bands, "Sentinel-1")
    stated = (scale, offset) != (1.0, 0.0)
    evidence = [f"band metadata: scale {scale:g}, offset {offset:g}"] if stated else []
    values = {name: s.astype(np.float64) * scale + offset for name, s in samples.items() if s.size}
    if not values:
        return S1Verdict("db", scale, offset, "; ".join([*evidence, "no valid pixel"]),
                         (SceneWarning("s1_empty", _EMPTY.format("Sentinel-1")),))  # fmt: skip
    pooled = np.concatenate(list(values.values()))
    unit = _s1_unit(pooled)
    medians = ", ".join(f"{name} {np.median(v):.4g}" for name, v in sorted(values.items()))
    evidence.append(f"medians of the scene: {medians}")
    if unit == "db*100":
        scale, offset = scale / 100, offset / 100
        values = {name: v / 100 for name, v in values.items()}
    decibels = {name: to_db(v) if unit == "power" else v for name, v in values.items()}
    warnings = tuple(_s1_warnings(unit, decibels))
    return S1Verdict(unit, scale, offset, "; ".join(evidence), warnings)


def to_db(power: np.ndarray) -> np.ndarray:
    """Return 10 log10 of linear power, NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, 10 * np.log10(power), np.nan)


def _stated(bands: Sequence[Band], sensor: str = "Sentinel-2") -> tuple[float, float]:
    """Return the scale and offset that the band metadata state; they must agree."""
    stated = {(band.scale, band.offset) for band in bands}
    if len(stated) != 1:
        raise RadiometryError(
            f"The {sensor} bands carry different scale or offset metadata, so their values "
            "cannot be brought together. Make them equal (gdal_edit.py -scale -offset)."
        )
    scale, offset = stated.pop()
    if not (np.isfinite(scale) and np.isfinite(offset) and scale > 0):
        raise RadiometryError(
            f"The scale {scale:g} and offset {offset:g} in the metadata of {sensor} make no sense. "
            "Correct or remove them (gdal_edit.py -unsetscale -unsetoffset)."
        )
    return scale, offset


def _is_reflectance(values: np.ndarray, bands: Sequence[Band]) -> bool:
    """Tell reflectance 0-1 from DN; RadiometryError where the values are neither."""
    high, median = float(np.percentile(values, 99)), float(np.median(values))
    if high <= MAX_REFLECTANCE:
        return True
    is_float = any(band.dtype.startswith("float") for band in bands)
    if (high < MIN_DN and is_float) or median > MAX_MEDIAN_DN:
        raise RadiometryError(
            f"Sentinel-2 values are neither DN (reflectance x 10000) nor reflectance from 0 to 1: "
            f"99 % of the visible ones are below {high:.4g}, half below {median:.4g}. Choose the "
            "original product, or rescale the raster to reflectance x 10000.",
            p99=high,
            median=median,
        )
    return False


def _offset_suspicion(visible: Mapping[str, FloatArray], scale: float) -> list[SceneWarning]:
    factor = scale * DN_PER_REFLECTANCE
    lowest = {name: float(np.percentile(v, 0.1)) * factor for name, v in visible.items()}
    if min(lowest.values()) < BASELINE_OFFSET:
        return []
    words = ", ".join(f"{name} {value:.0f}" for name, value in lowest.items())
    return [SceneWarning("s2_offset_suspected", _OFFSET.format(words))]


def _check_offset(values: np.ndarray, offset: float) -> None:
    below = float((values < 0).mean())
    if below > 0.05:
        raise RadiometryError(
            f"The metadata of Sentinel-2 ask to add {offset:g} to each value, but then "
            f"{below:.0%} of the visible pixels are negative: the offset has been removed "
            "already. Remove it from the metadata (gdal_edit.py -unsetoffset), or choose the "
            "original product.",
            negative=below,
        )


def _product_warnings(product: Product | None) -> list[SceneWarning]:
    if product is None or product.level != "L1C":
        return []
    return [SceneWarning("s2_l1c", _L1C)]


def _histogram_words(visible: Mapping[str, FloatArray]) -> str:
    parts = (
        f"{name} {np.percentile(v, 0.1):.4g} / {np.median(v):.4g} / {np.percentile(v, 99):.4g}"
        for name, v in visible.items()
    )
    return "lowest 0.1 %, median and highest 1 % of the scene: " + ", ".join(parts)


def _s1_unit(values: np.ndarray) -> str:
    median = float(np.median(values))
    if median < MIN_DB:
        return "db*100"
    if median < 0:
        return "db"
    if median < MAX_POWER and float(np.percentile(values, 1)) >= 0:
        return "power"
    raise RadiometryError(
        f"Sentinel-1 values look like raw digital numbers (median {median:.4g}), not like "
        "backscatter. Calibrate to sigma0 first (for example in SNAP: Radiometric > Calibrate, "
        "then Terrain Correction) and choose the result.",
        median=median,
    )


def _s1_warnings(unit: str, decibels: Mapping[str, np.ndarray]) -> list[SceneWarning]:
    warnings = []
    mean = {name: float(np.nanmean(values)) for name, values in decibels.items()}
    if unit == "power":
        warnings.append(SceneWarning("s1_power", _POWER))
        if mean.get("VH", MAX_VH_DB) > MAX_VH_DB:
            warnings.append(SceneWarning("s1_amplitude_suspected", _AMPLITUDE.format(mean["VH"])))
    if unit == "db*100":
        warnings.append(SceneWarning("s1_db100", _DB100))
    if {"VV", "VH"} <= set(mean) and mean["VH"] > mean["VV"]:
        warnings.append(SceneWarning("s1_swapped", _SWAPPED.format(mean["VH"], mean["VV"])))
    return warnings


_EMPTY = "{} has no valid pixel in the sample that was looked at: the raster may be empty."
_REFLECTANCE = (
    "Sentinel-2 holds reflectance from 0 to 1; it was multiplied by 10000, as the model expects."
)
_OFFSET = (
    "The lowest Sentinel-2 values ({}) suggest that the +1000 of processing baseline 04.00 "
    "(products since January 2022) is still in the data; snow, cloud or haze can look the same. "
    "If it is: choose the .SAFE folder, whose metadata tell, or state it with "
    "gdal_edit.py -scale 0.0001 -offset -0.1, and run again."
)
_L1C = (
    "Sentinel-2 is a Level-1C product (top of atmosphere). The model was trained on Level-2A: "
    "expect haze in the blue bands to lower its accuracy."
)
_POWER = "Sentinel-1 holds linear power; it was converted to decibels."
_AMPLITUDE = (
    "Sentinel-1 VH read as power is {:.1f} dB on average, unusually bright: the values may be "
    "amplitude. If so, square them first."
)
_DB100 = "Sentinel-1 holds decibels times 100; it was divided by 100."
_SWAPPED = (
    "Sentinel-1 VH ({:.1f} dB) is brighter than VV ({:.1f} dB), which land and water never are: "
    "the two bands may be swapped. Check the band names or give a band map."
)
