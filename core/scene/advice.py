"""What the user should know about a scene, the most costly first."""

from __future__ import annotations

from .blocks import blocks_text
from .dates import days_apart
from .geometry import crs_name
from .layout import MAX_COARSER, SAME_SIZE, needs_metric
from .radiometry import SceneWarning
from .understood import Understood

# Metres of the bands that Sentinel-2 itself sees coarser than most models work.
_COARSEST = {"B01": 65.0, "B09": 65.0}
# By what ignoring it would cost: first what makes every tile worthless.
_ORDER = (
    "s2_empty", "s1_empty", "s1_swapped", "s2_negative", "s2_dark", "s1_bright", "s2_constant",
    "s1_constant", "s2_copied", "s1_copied", "s2_nir_apart", "band_dates", "s1_beta0",
    "channels_filled", "partial_band", "s2_coarse", "s1_coarse", "s1_gcps", "s2_l1c", "dates_apart",
    "mosaic_dates",
    "cloud_unknown", "partial_overlap", "s2_saturated", "s2_resampled",
    "huge_blocks", "metric_grid", "s1_amplitude", "s1_power", "s1_db100", "s2_reflectance",
)  # fmt: skip


def scene_warnings(scene: Understood) -> tuple[SceneWarning, ...]:
    """Return every warning once, sorted."""
    found: dict[str, SceneWarning] = {}
    for judged in (*scene.optical, *scene.radar):
        for warning in judged.verdict.warnings:
            found.setdefault(warning.code, warning)
    for warning in (*_content(scene), *_dates(scene), *_grid(scene), *_blocks(scene)):
        found.setdefault(warning.code, warning)
    rank = {code: place for place, code in enumerate(_ORDER)}
    return tuple(sorted(found.values(), key=lambda warning: rank.get(warning.code, len(rank))))


def _content(scene: Understood) -> list[SceneWarning]:
    found = []
    if scene.filled:
        found.append(SceneWarning("channels_filled", _FILLED.format(", ".join(scene.filled))))
    if scene.s2.level == "L1C":
        found.append(SceneWarning("s2_l1c", _L1C))
    found += [*_partial_bands(scene), *_clouds(scene)]
    if scene.overlap < 0.99:
        found.append(SceneWarning("partial_overlap", _PARTIAL.format(int(scene.overlap * 100))))
    return found


def _partial_bands(scene: Understood) -> list[SceneWarning]:
    """Warn of bands that cover less than the rest: elsewhere they are the training mean."""
    found = []
    for judged in scene.optical:
        whole = judged.part.geometry.footprint()
        crs = judged.part.geometry.crs
        for name, band in judged.part.bands.items():
            share = whole.intersection(band.geometry.footprint(crs)).area / whole.area
            if share < 0.97:
                found.append(f"{name} {int(share * 100)} %")
    return [SceneWarning("partial_band", _PARTIAL_BAND.format(", ".join(found)))] if found else []


def _clouds(scene: Understood) -> list[SceneWarning]:
    if scene.options.max_cloud >= 1:
        return []
    if scene.mask is None:
        return [SceneWarning("cloud_unknown", _NO_MASK)]
    grid = scene.grid.geometry
    meets = any(
        grid.footprint().intersects(band.geometry.footprint(grid.crs)) for band in scene.mask.bands
    )
    return [] if meets else [SceneWarning("cloud_unknown", _FAR_MASK)]


def _dates(scene: Understood) -> list[SceneWarning]:
    found = []
    most = scene.options.max_days
    optical, radar = scene.s2.dates, scene.s1.dates
    days = days_apart(optical, radar)
    if days is not None and days > most:
        found.append(SceneWarning("dates_apart", _APART.format(days, ", ".join(radar), most)))
    found += _mixed_days(scene)
    for name, dates in (("Sentinel-2", optical), ("Sentinel-1", radar)):
        spread = days_apart(dates, dates[:1])
        if spread is not None and spread > most:
            found.append(SceneWarning("mosaic_dates", _MOSAIC.format(name, ", ".join(dates))))
    return found


def _mixed_days(scene: Understood) -> list[SceneWarning]:
    """Warn of bands of one raster that were taken on different days: they are no spectrum."""
    for judged in (*scene.optical, *scene.radar):
        days: dict[str, list[str]] = {}
        for name, band in judged.part.bands.items():
            if band.date:
                days.setdefault(band.date, []).append(name)
        if len(days) > 1:
            words = "; ".join(f"{day}: {', '.join(names)}" for day, names in sorted(days.items()))
            return [SceneWarning("band_dates", _MIXED.format(words))]
    return []


def _coarse(scene: Understood) -> list[SceneWarning]:
    """Warn of bands whose pixels are much coarser than those of the sensor and the model."""
    resolution = scene.spec.ground_resolution
    least = MAX_COARSER * resolution
    found = []
    for code, parts in (("s2_coarse", scene.optical), ("s1_coarse", scene.radar)):
        sizes = {
            name: band.geometry.pixel_size_m
            for judged in parts
            for name, band in judged.part.bands.items()
            if band.geometry.pixel_size_m > max(least, _COARSEST.get(name, 0.0)) * (1 + SAME_SIZE)
        }
        if sizes:
            words = ", ".join(f"{name} {size:.4g} m" for name, size in sizes.items())
            found.append(SceneWarning(code, _COARSE_BANDS.format(words, resolution)))
    return found


def _grid(scene: Understood) -> list[SceneWarning]:
    found = []
    finest, resolution = scene.optical[0].part.geometry, scene.spec.ground_resolution
    size = finest.pixel_size_m
    if size > 2 * resolution:
        found.append(SceneWarning("s2_coarse", _COARSE.format(size, resolution)))
    elif abs(size / resolution - 1) > SAME_SIZE and not needs_metric(finest):
        found.append(SceneWarning("s2_resampled", _RESAMPLED.format(size, resolution)))
    if needs_metric(finest):
        names = crs_name(finest.crs), crs_name(scene.grid.geometry.crs)
        found.append(SceneWarning("metric_grid", _METRIC.format(*names)))
    return [*found, *_coarse(scene)]


def _blocks(scene: Understood) -> list[SceneWarning]:
    text = blocks_text((*scene.s2.all_bands, *scene.s1.all_bands))
    return [SceneWarning("huge_blocks", text)] if text else []


_FILLED = (
    "{} not found: filled with the training mean as asked. The model sees nothing there; expect "
    "lower accuracy."
)
_L1C = (
    "Sentinel-2 is a Level-1C product (top of atmosphere). The model was trained on Level-2A: "
    "expect haze in the blue bands to lower its accuracy."
)
_PARTIAL_BAND = (
    "Some Sentinel-2 bands cover only a part of the others ({}): outside of it the model sees "
    "their training mean."
)
_NO_MASK = (
    "A limit for clouds was given, but there is no cloud mask: no tile is skipped. Give one with "
    "--mask (in QGIS 'Cloud mask')."
)
_FAR_MASK = "The cloud mask lies elsewhere than Sentinel-2: no tile is skipped for clouds."
_PARTIAL = "Sentinel-1 covers {} % of Sentinel-2; tiles outside are skipped."
_APART = (
    "Sentinel-2 and Sentinel-1 were taken {} days apart (Sentinel-1: {}; more than {}): harvest, "
    "snow or floods between them would confuse the model."
)
_MOSAIC = "The parts of {} were taken on days far apart: {}."
_MIXED = (
    "The bands of one raster were taken on different days ({}): together they are no picture of "
    "any day. Choose the bands of one acquisition."
)
_COARSE_BANDS = (
    "Some bands have far coarser pixels than the model works at ({}; model {:g} m): it sees a blur."
)
_COARSE = (
    "The finest Sentinel-2 band has pixels of {:.4g} m, the model works at {:g} m: it sees a blur."
)
_RESAMPLED = (
    "The finest Sentinel-2 band has pixels of {:.4g} m; all bands were resampled to the {:g} m of "
    "the model."
)
_METRIC = (
    "Sentinel-2 is in {}, whose units are no metres on the ground; the tile grid was made in {}."
)
