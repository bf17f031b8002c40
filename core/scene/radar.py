"""In which unit are the numbers of Sentinel-1? The user's word, names, then the histogram."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.errors import DecisionError, RadiometryError
from ..contract.scene_options import AUTO
from .pixels import Band, FloatArray
from .radiometry import EMPTY, SceneWarning, stated_scale

DB, POWER, AMPLITUDE, DB100 = "db", "power", "amplitude", "db*100"
# Medians of sigma0: power stays below 1.5 even in cities, dB above -60 even on calm water.
_MAX_LINEAR = 1.5
_MIN_DB = -60.0
# Read as power, in dB: VH of land lies near -15 to -20 and 5 to 8 below VV. Amplitude halves both.
_SURE_POWER_VH = -12.0
_SURE_AMPLITUDE_VH = -10.8
_LEAST_POWER_RATIO = 4.6
_BRIGHT_VV = -4.5
_CALIBRATIONS = re.compile(r"(sigma|gamma|beta)[ _-]?(?:0|nought|naught|zero)", re.I)
_AMPLITUDE_NAME = re.compile(r"amplitude", re.I)
_POWER_NAME = re.compile(r"(sigma|gamma|beta)[ _-]?(0|nought)|intensity|power|linear", re.I)
_DB_NAME = re.compile(r"(?<![a-z])d[bB](?![a-z])")


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
        decided_unit: the unit that the user states; it wins.

    Raises RadiometryError for values that are not calibrated backscatter, DecisionError where
    power and amplitude cannot be told apart.
    """
    scale, offset = stated_scale(bands, "Sentinel-1")
    evidence = []
    if (scale, offset) != (1.0, 0.0):
        evidence.append(f"band metadata: scale {scale:g}, offset {offset:g}")
    calibrated = all(band.calibration for band in bands)
    if calibrated:
        evidence.append("raw GRD calibrated to sigma0 by its SAFE vectors, thermal noise kept")
    kind = "sigma0" if calibrated else _calibration(bands)
    if not calibrated:
        evidence.append(f"{kind} by name" if kind else "sigma0 or gamma0: not stated")
    values = {name: s.astype(np.float64) * scale + offset for name, s in samples.items() if s.size}
    if not values:
        return S1Verdict(DB, scale, offset, "; ".join([*evidence, "no valid pixel"]),
                         (SceneWarning("s1_empty", EMPTY.format("Sentinel-1")),), kind)  # fmt: skip
    medians = ", ".join(f"{name} {np.median(v):.4g}" for name, v in sorted(values.items()))
    evidence.append(f"medians of the scene: {medians}")
    unit = decided_unit
    if unit == AUTO:
        unit = POWER if calibrated else _unit(values, bands)
    else:
        evidence.append(f"unit {unit} by the user")
    if unit == DB100:
        scale, offset = scale / 100, offset / 100
        values = {name: v / 100 for name, v in values.items()}
    decibels = {name: _decibels(v, unit) for name, v in values.items()}
    warnings = tuple(_warnings(unit, decibels, bands, kind))
    return S1Verdict(unit, scale, offset, "; ".join(evidence), warnings, kind)


def to_db(power: np.ndarray) -> np.ndarray:
    """Return 10 log10 of linear power, NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 0, 10 * np.log10(power), np.nan)


def _decibels(values: np.ndarray, unit: str) -> np.ndarray:
    if unit == POWER:
        return to_db(values)
    return to_db(values**2) if unit == AMPLITUDE else values


def _calibration(bands: Sequence[Band]) -> str | None:
    """Return what names say of the calibration, where they all say the same."""
    found = {m.group(1).lower() for band in bands for m in _CALIBRATIONS.finditer(_words(band))}
    return f"{found.pop()}0" if len(found) == 1 else None


def _words(band: Band) -> str:
    return f"{band.label} {band.path}"


def _unit(values: Mapping[str, np.ndarray], bands: Sequence[Band]) -> str:
    pooled = np.concatenate(list(values.values()))
    median = float(np.median(pooled))
    if median < _MIN_DB:
        return DB100
    if median < 0:
        return DB
    if median < _MAX_LINEAR and float(np.percentile(pooled, 1)) >= 0:
        return _power_or_amplitude(values, bands)
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
    if _POWER_NAME.search(words) and not _DB_NAME.search(words):
        return POWER
    level = {name: float(np.median(to_db(v[v > 0]))) for name, v in values.items() if (v > 0).any()}
    vh, vv = level.get("VH"), level.get("VV")
    if vh is None:
        if vv is None or vv <= _BRIGHT_VV:
            return POWER
        raise _undecided(level)
    if vh <= _SURE_POWER_VH or (vv is not None and vv - vh >= _LEAST_POWER_RATIO):
        return POWER
    if vv is not None and vh >= _SURE_AMPLITUDE_VH:
        return AMPLITUDE
    raise _undecided(level)


def _undecided(level: Mapping[str, float]) -> DecisionError:
    words = ", ".join(f"{name} {value:.1f} dB" for name, value in level.items())
    return DecisionError(
        f"Sentinel-1 is linear, but power or amplitude? Read as power its medians are {words}, "
        "which either could be. Decide: power or amplitude (--s1-unit; in QGIS 'S1 unit').",
        decision="s1_unit", choices=[POWER, AMPLITUDE], medians_db=dict(level),
    )  # fmt: skip


def _warnings(
    unit: str, decibels: Mapping[str, np.ndarray], bands: Sequence[Band], kind: str | None
) -> list[SceneWarning]:
    found = []
    mean = {name: float(np.nanmean(v)) for name, v in decibels.items() if np.isfinite(v).any()}
    if {"VV", "VH"} <= set(mean) and mean["VH"] > mean["VV"]:
        found.append(SceneWarning("s1_swapped", _SWAPPED.format(mean["VH"], mean["VV"])))
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
_GCPS = (
    "Sentinel-1 is placed by its control points only, not terrain-corrected: in hills it is off by "
    "many pixels. Terrain-correct it in SNAP where the ground is not flat."
)
_BETA = (
    "Sentinel-1 is beta0, which lies some decibels above the sigma0 that models are trained on. "
    "Calibrate to sigma0."
)
