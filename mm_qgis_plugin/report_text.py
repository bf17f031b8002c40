"""What was understood of a scene, in words: the same in the dock and in the log of Processing."""

from __future__ import annotations

from pathlib import PurePath

from .about import tr
from .progress_text import duration_text, tiles_text
from .report import GridFacts, MaskFacts, SceneReport, SensorFacts

_DN_SCALE = 1e-4
_UNIT_NAMES = {
    "db": "dB",
    "power": "linear power",
    "amplitude": "amplitude",
    "db*100": "dB x 100",
}


def facts(report: SceneReport) -> list[tuple[str, str]]:
    """Return (topic, what is known) from the sources to the grid; nothing unknown is listed."""
    rows = [
        (tr("Sentinel-2"), _join(source_text(report.s2), s2_values_text(report.s2))),
        (tr("Sentinel-1"), _join(source_text(report.s1), s1_values_text(report.s1))),
        (tr("Clouds"), mask_text(report.mask) if report.mask else ""),
        (tr("Grid"), grid_text(report.grid)),
        (tr("Overlap"), overlap_text(report)),
    ]
    return [row for row in rows if row[1]]


def headline(report: SceneReport) -> str:
    """Return what a run would do and cost, in one or two sentences."""
    parts = [_tiles(report)]
    size = size_text(report.output_bytes)
    if parts[0]:
        parts.append(_time(report))
    if size:
        parts.append(tr("The result has about {}.").format(size))
    return " ".join(part for part in parts if part)


def lines(report: SceneReport) -> list[str]:
    """Return the whole report as lines of a log; warnings are not among them."""
    told = [f"{topic}: {text}" for topic, text in facts(report)]
    for sensor in (report.s2, report.s1):
        told += [band_line(band) for band in sensor.bands]
    return [*told, headline(report)]


def band_line(band) -> str:
    """Return where one channel was found."""
    place = tr("band {} of {}").format(band.band or "?", PurePath(band.path).name or "?")
    size = pixel_size_text(band.pixel_size_m)
    extra = ", ".join(part for part in (size, band.found_by) if part)
    return f"  {band.channel}: {place}" + (f" ({extra})" if extra else "")


def source_text(sensor: SensorFacts) -> str:
    """Return date, level, pixel sizes and CRS of one sensor, and what it lacks."""
    parts = [dates_text(sensor.dates), sensor.level, _pixel_sizes(sensor), sensor.crs]
    text = ", ".join(part for part in parts if part)
    missing = [name for name in sensor.missing if name not in sensor.filled]
    if missing:
        text = _join(text, tr("Missing: {}").format(", ".join(missing)))
    if sensor.filled:
        filled = tr("Filled with the training mean: {}").format(", ".join(sensor.filled))
        text = _join(text, filled)
    return _join(text, _parts(sensor))


def dates_text(dates: tuple[str, ...]) -> str:
    """Return one day, or the first and the last of several."""
    days = sorted({date[:10] for date in dates if date})
    if len(days) < 2:
        return "".join(days)
    return tr("{} to {} ({} days)").format(days[0], days[-1], len(days))


def s2_values_text(sensor: SensorFacts) -> str:
    """Return how the numbers of Sentinel-2 are read, and why."""
    if sensor.offset is None and sensor.scale is None:
        return sensor.evidence
    return _reason(f"{_scale(sensor.scale)}, {_offset(sensor.offset)}", sensor.evidence)


def s1_values_text(sensor: SensorFacts) -> str:
    """Return how the numbers of Sentinel-1 are read, and why."""
    if not sensor.unit:
        return sensor.evidence
    unit = _UNIT_NAMES.get(sensor.unit, sensor.unit)
    unit = f"{unit}, {sensor.calibration}" if sensor.calibration else unit
    return _reason(tr("Read as {}").format(unit), sensor.evidence)


def mask_text(mask: MaskFacts) -> str:
    """Return which mask is used and what it rejects."""
    classes = ", ".join(map(str, mask.classes))
    rejected = tr("rejects {}").format(classes) if classes else ""
    parts = [mask.kind, PurePath(mask.path).name, rejected]
    return ", ".join(part for part in parts if part)


def grid_text(grid: GridFacts) -> str:
    """Return CRS, size and tiles of the grid."""
    size = tr("{} x {} px").format(grid.width, grid.height) if grid.width else ""
    layout = tr("{} columns x {} rows").format(grid.columns, grid.rows) if grid.columns else ""
    step = ""
    if grid.stride and grid.stride != grid.tile_size:
        step = tr("every {} px").format(grid.stride)
    return ", ".join(part for part in (grid.crs, size, layout, step) if part)


def overlap_text(report: SceneReport) -> str:
    """Return how much of Sentinel-2 is covered by Sentinel-1."""
    if report.overlap is None:
        return ""
    # Rounded down, as in the worker's warning: 0.996 is not all of it.
    share = int(report.overlap * 100)
    return tr("{} % of Sentinel-2 is covered by Sentinel-1").format(share)


def size_text(count: int | None) -> str:
    """Return bytes as ``12 kB``, ``3.4 MB`` or ``1.2 GB``."""
    if count is None:
        return ""
    if count < 1_000_000:
        return tr("{} kB").format(max(1, round(count / 1000)))
    if count < 1_000_000_000:
        return tr("{:.1f} MB").format(count / 1e6)
    return tr("{:.1f} GB").format(count / 1e9)


def pixel_size_text(size: float | None) -> str:
    """Return ``10 m``."""
    return "" if size is None else tr("{:.4g} m").format(size)


def unit_name(unit: str) -> str:
    """Return how a unit of Sentinel-1 is called in a sentence."""
    return _UNIT_NAMES.get(unit, unit)


def _tiles(report: SceneReport) -> str:
    whole, chosen = report.grid.tiles, report.selected
    if chosen is None:
        chosen = whole
    if chosen is None:
        return ""
    text = tiles_text(chosen)
    if whole is not None and whole != chosen:
        text = tr("{} of {} in the area").format(chosen, tiles_text(whole))
    if report.expected_skipped:
        text += tr(", about {} of them to be skipped").format(report.expected_skipped)
    return text + "."


def _time(report: SceneReport) -> str:
    if report.seconds is None:
        return tr("Time: not known.")
    text = duration_text(max(report.seconds, 1.0))
    if report.is_reckoned:
        return tr("It takes roughly {}: a guess before the first run.").format(text)
    return tr("It takes about {}.").format(text)


def _scale(scale: float | None) -> str:
    if scale is None:
        return tr("Scale not known")
    if abs(scale - _DN_SCALE) < 1e-9:
        return tr("Reflectance x 10000")
    return tr("Reflectance 0 to 1") if scale == 1 else tr("Reflectance / {:g}").format(scale)


def _offset(offset: float | None) -> str:
    if offset is None:
        return tr("offset not known")
    if offset == 0:
        return tr("no offset")
    return tr("offset {:+g} is applied").format(offset)


def _pixel_sizes(sensor: SensorFacts) -> str:
    sizes = sorted({band.pixel_size_m for band in sensor.bands if band.pixel_size_m is not None})
    if not sensor.bands:
        return ""
    count = tr("1 band") if len(sensor.bands) == 1 else tr("{} bands").format(len(sensor.bands))
    shown = "/".join(f"{size:.4g}" for size in sizes)
    return tr("{} of {} m").format(count, shown) if shown else count


def _parts(sensor: SensorFacts) -> str:
    """Return what differs between the scenes of a mosaic: what is told of one holds not for all."""
    if len(sensor.parts) < 2:
        return ""
    text = tr("Mosaic of {} scenes").format(len(sensor.parts))
    offsets = sorted({part.offset for part in sensor.parts if part.offset is not None})
    units = sorted({unit_name(part.unit) for part in sensor.parts if part.unit})
    if len(offsets) > 1:
        text += tr(", with offsets {}").format(" / ".join(f"{offset:g}" for offset in offsets))
    if len(units) > 1:
        text += tr(", in {}").format(" / ".join(units))
    return text


def _reason(verdict: str, evidence: str) -> str:
    return f"{verdict}: {evidence}" if evidence else verdict


def _join(first: str, second: str) -> str:
    return "\n".join(part for part in (first, second) if part)
