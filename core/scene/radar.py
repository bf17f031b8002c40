"""In which unit are the numbers of Sentinel-1? The user's word, names, then the histogram."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..contract.errors import DecisionError, RadiometryError
from ..contract.scene_options import AUTO
from .copies import copies
from .pixels import Band, FloatArray
from .radiometry import EMPTY, SceneWarning, stated_scale

DB, POWER, AMPLITUDE, DB100 = "db", "power", "amplitude", "db*100"
# Medians of sigma0: power stays below 1.5 even in cities, dB above -60 even on calm water.
_MAX_LINEAR = 1.5
_MIN_DB = -60.0
# Single pixels, with corner reflectors and ships: beyond it lies fill.
_MAX_DB = 60.0
# Medians in dB that a scene can have, from calm water to a city; outside the unit is wrong.
_PLAUSIBLE = {"VV": (-32.0, -1.5), "VH": (-42.0, -5.0)}
# Medians that hardly a scene but a dense city reaches.
_BRIGHT = {"VV": -5.0, "VH": -11.0}
# Read as power, in dB: mean and spread over scenes of the level and of VV - VH. Those of amplitude
# are half as large. Medians of the shared real scenes: VV -9.6 to -13.9, VH -15.7 to -20.1.
_POWER_LEVEL = {"VV": (-11.0, 4.0), "VH": (-17.0, 4.0)}
_POWER_RATIO = (6.5, 1.5)
# Logarithm of how many times likelier one unit must be than the other.
_SURE, _SURE_ALONE = 4.0, 2.0
_CALIBRATIONS = re.compile(r"(sigma|gamma|beta)[ _-]?(?:0|nought|naught|zero)", re.I)
_AMPLITUDE_NAME = re.compile(r"amplitude", re.I)
_POWER_NAME = re.compile(r"intensity|power|linear", re.I)


@dataclass(frozen=True)
class S1Verdict:
    """``unit`` is ``db``, ``power``, ``amplitude`` or ``db*100``.

    raw * ``scale`` + ``offset`` is dB, power or amplitude; ``calibration`` is ``sigma0``,
    ``gamma0``, ``beta0`` or None where nothing says it.
    """

    unit: str
    scale: float
    offset: float
    evidence: str
    warnings: tuple[SceneWarning, ...] = ()
    calibration: str | None = None
    is_judged: bool = True

    @property
    def floor(self) -> float:
        """Raw values below it measure nothing: fill that nobody declared, or noise taken off."""
        lowest = 0.0 if self.is_linear else _MIN_DB
        return (lowest - self.offset) / self.scale

    @property
    def ceiling(self) -> float:
        """Raw values above it measure nothing: fill that nobody declared."""
        if not self.is_judged:
            return math.inf
        highest = {POWER: 10 ** (_MAX_DB / 10), AMPLITUDE: 10 ** (_MAX_DB / 20)}
        return (highest.get(self.unit, _MAX_DB) - self.offset) / self.scale

    @property
    def is_linear(self) -> bool:
        """Whether the values are power or amplitude, else decibels."""
        return self.unit in (POWER, AMPLITUDE)


def judge_s1(
    samples: Mapping[str, FloatArray], bands: Sequence[Band], decided_unit: str = AUTO
) -> S1Verdict:
    """Decide in which unit a Sentinel-1 raster is, from a sample of raw values.

    Args:
        samples: valid values of each band; of raw GRD with its calibration, those of sigma0.
        decided_unit: the unit that the user states; it wins, but for raw GRD with calibration.

    Raises RadiometryError for values that are not calibrated backscatter in any unit, or in
    different units, DecisionError where power and amplitude cannot be told apart.
    """
    scale, offset = stated_scale(bands, "Sentinel-1")
    evidence = []
    if (scale, offset) != (1.0, 0.0):
        evidence.append(f"band metadata: scale {scale:g}, offset {offset:g}")
    calibrated = all(band.calibration for band in bands)
    kind = "sigma0" if calibrated else _calibration(bands)
    evidence.append(_calibration_words(calibrated, kind))
    values = {name: s.astype(np.float64) * scale + offset for name, s in samples.items() if s.size}
    if not values:
        return S1Verdict(DB, scale, offset, "; ".join([*evidence, "no valid pixel"]),
                         (SceneWarning("s1_empty", EMPTY.format("Sentinel-1")),), kind,
                         is_judged=False)  # fmt: skip
    if calibrated:
        unit = POWER
    elif decided_unit != AUTO:
        unit = decided_unit
        evidence.append(f"unit {unit} by the user")
    else:
        unit = _unit(values, bands)
    if unit == DB100:
        scale, offset = scale / 100, offset / 100
        values = {name: v / 100 for name, v in values.items()}
    verdict = S1Verdict(unit, scale, offset, "", (), kind)
    decibels = {name: _decibels(v, unit) for name, v in values.items()}
    level = _checked_levels(decibels, unit)
    evidence.append("medians in dB: " + ", ".join(f"{n} {v:.1f}" for n, v in sorted(level.items())))
    warnings = (*_warnings(unit, level, bands, kind), *copies(values, "Sentinel-1"))
    return replace(verdict, evidence="; ".join(evidence), warnings=warnings)


def to_db(power: np.ndarray) -> np.ndarray:
    """Return 10 log10 of linear power, NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, 10 * np.log10(power), np.nan)


def _decibels(values: np.ndarray, unit: str) -> np.ndarray:
    """Return valid values in dB."""
    if unit == POWER:
        values = to_db(values)
    elif unit == AMPLITUDE:
        values = to_db(np.where(values > 0, values, np.nan) ** 2)
    return np.asarray(values[np.isfinite(values) & (values > _MIN_DB)])


def _checked_levels(decibels: Mapping[str, np.ndarray], unit: str) -> dict[str, float]:
    """Return the median of each band in dB; RadiometryError where no scene looks like that."""
    level = {name: float(np.median(v)) for name, v in decibels.items() if v.size}
    wrong = {
        name: value for name, value in level.items()
        if not _PLAUSIBLE[name][0] <= value <= _PLAUSIBLE[name][1]
    }  # fmt: skip
    if level and not wrong:
        return level
    words = ", ".join(f"{name} {value:.1f} dB" for name, value in wrong.items()) or "nothing"
    raise RadiometryError(
        f"Read as {unit}, the median of Sentinel-1 is {words}: no scene looks like that. The "
        "values are in another unit, or not calibrated: calibrate to sigma0 first (for example "
        "in SNAP), or state the unit (--s1-unit; in QGIS 'S1 unit').",
        decision="s1_unit", choices=[DB, POWER, AMPLITUDE, DB100], unit=unit, medians_db=level,
    )  # fmt: skip


def _calibration(bands: Sequence[Band]) -> str | None:
    """Return what names say of the calibration, where they all say the same."""
    texts = (f"{band.label} {band.path}" for band in bands)
    found = {match.group(1).lower() for text in texts for match in _CALIBRATIONS.finditer(text)}
    return f"{found.pop()}0" if len(found) == 1 else None


def _calibration_words(calibrated: bool, kind: str | None) -> str:
    if calibrated:
        return "raw GRD calibrated to sigma0 by its SAFE vectors, thermal noise kept"
    return f"{kind} by name" if kind else "sigma0 or gamma0: not stated"


def _unit(values: Mapping[str, np.ndarray], bands: Sequence[Band]) -> str:
    kinds = {name: _kind(v) for name, v in values.items()}
    if len(set(kinds.values())) > 1:
        words = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise RadiometryError(
            f"The bands of Sentinel-1 are in different units ({words}): bring them to one."
        )
    kind = next(iter(kinds.values()))
    return _power_or_amplitude(values, bands) if kind == POWER else kind


def _kind(values: np.ndarray) -> str:
    """Return ``db``, ``db*100`` or, for power and amplitude alike, ``power``."""
    # Fill that nobody declared is low: the upper part of the values is measured.
    high = float(np.percentile(values, 95))
    if high < _MIN_DB:
        return DB100
    median = float(np.median(values[values > _MIN_DB]))
    if median < 0:
        return DB
    if median < _MAX_LINEAR:
        return POWER
    raise RadiometryError(
        f"Sentinel-1 values look like raw digital numbers (median {median:.4g}), not like "
        "backscatter: calibrate to sigma0 first (for example in SNAP: Radiometric > Calibrate, "
        "then Terrain Correction) and choose the result, or choose the whole .SAFE folder, which "
        "holds the calibration.",
        median=median,
    )


def _power_or_amplitude(values: Mapping[str, np.ndarray], bands: Sequence[Band]) -> str:
    words = " ".join(band.label for band in bands)
    if _AMPLITUDE_NAME.search(words):
        return AMPLITUDE
    if _POWER_NAME.search(words):
        return POWER
    level = {name: float(np.median(to_db(v[v > 0]))) for name, v in values.items() if (v > 0).any()}
    margin = _power_over_amplitude(level)
    if abs(margin) < (_SURE if len(level) > 1 else _SURE_ALONE):
        raise _undecided(level)
    return POWER if margin > 0 else AMPLITUDE


def _power_over_amplitude(level: Mapping[str, float]) -> float:
    """Return the logarithm of how much likelier medians in dB are for power than for amplitude."""
    cues = [(level[name], _POWER_LEVEL[name]) for name in level if name == "VH" or len(level) == 1]
    if len(level) > 1:
        cues.append((level["VV"] - level["VH"], _POWER_RATIO))
    return sum(
        _log_likelihood(value, mean, spread) - _log_likelihood(value, mean / 2, spread / 2)
        for value, (mean, spread) in cues
    )


def _log_likelihood(value: float, mean: float, spread: float) -> float:
    return -0.5 * ((value - mean) / spread) ** 2 - math.log(spread)


def _undecided(level: Mapping[str, float]) -> DecisionError:
    words = ", ".join(f"{name} {value:.1f} dB" for name, value in level.items())
    return DecisionError(
        f"Sentinel-1 is linear, but power or amplitude? Read as power its medians are {words}, "
        "which either could be. Decide: power or amplitude (--s1-unit; in QGIS 'S1 unit').",
        decision="s1_unit", choices=[POWER, AMPLITUDE], medians_db=dict(level),
    )  # fmt: skip


def _warnings(
    unit: str, level: Mapping[str, float], bands: Sequence[Band], kind: str | None
) -> list[SceneWarning]:
    found = []
    if {"VV", "VH"} <= set(level) and level["VH"] > level["VV"]:
        found.append(SceneWarning("s1_swapped", _SWAPPED.format(level["VH"], level["VV"])))
    # Bands that were swapped, or beta0, explain it.
    elif kind != "beta0" and any(value > _BRIGHT[name] for name, value in level.items()):
        words = ", ".join(f"{name} {value:.1f} dB" for name, value in sorted(level.items()))
        found.append(SceneWarning("s1_bright", _TOO_BRIGHT.format(words)))
    if any(band.geometry.gcps for band in bands):
        found.append(SceneWarning("s1_gcps", _GCPS))
    if kind == "beta0":
        found.append(SceneWarning("s1_beta0", _BETA))
    if unit in _CONVERTED:
        found.append(SceneWarning(f"s1_{unit.replace('*', '')}", _CONVERTED[unit]))
    return found


_CONVERTED = {
    POWER: "Sentinel-1 holds linear power; it was converted to decibels.",
    AMPLITUDE: "Sentinel-1 holds amplitude; it was squared and converted to decibels.",
    DB100: "Sentinel-1 holds decibels times 100; it was divided by 100.",
}
_SWAPPED = (
    "Sentinel-1 VH ({:.1f} dB) is brighter than VV ({:.1f} dB), which land and water never are: "
    "the two bands may be swapped. Check the band names or give a band map."
)
_TOO_BRIGHT = (
    "Sentinel-1 is unusually bright (median {}), as only dense cities are: the values may have "
    "been stretched to 0 to 1, or be in another unit. Check how the raster was made."
)
_GCPS = (
    "Sentinel-1 is placed by its control points only, not terrain-corrected: in hills it is off by "
    "many pixels. Terrain-correct it in SNAP where the ground is not flat."
)
_BETA = (
    "Sentinel-1 is beta0, which lies some decibels above the sigma0 that models are trained on. "
    "Calibrate to sigma0."
)
