"""Results of the commands, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .contract.messages import EARLIER_RUN
from .contract.spec import ModelSpec

_NAMES = {"s2": "Sentinel-2", "s1": "Sentinel-1"}


def summary_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a run ended."""
    yield f"{summary['output']}: {summary['state']}"
    yield (
        f"{summary['classified']} of {summary['tiles']} tiles classified, {summary['skipped']} "
        f"skipped, {summary['tiles_per_second']:.1f} tiles/s on {summary['device']} "
        f"({summary['precision']})"
    )
    for reason, count in summary["skipped_reasons"].items():
        yield f"  skipped {count}: {reason}"
    if summary["state"] != "complete":
        yield "Run the same command again to go on."


def scene_lines(described: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is understood of a pair of rasters, the most costly warnings first."""
    for warning in described["warnings"]:
        yield f"Warning     {warning['message']}"
    for key, name in _NAMES.items():
        yield from _sensor_lines(name, described[key])
    mask, grid = described["mask"], described["grid"]
    if mask:
        classes = ", ".join(map(str, mask["classes"])) or "all but 0"
        yield f"Cloud mask  {mask['kind']} {classes}, band {mask['band']}, {mask['path']}"
    yield (
        f"Grid        {grid['width']} x {grid['height']} px, {grid['crs']}, {grid['tiles']} tiles, "
        f"about {grid['tiles_valid']} with enough pixels"
    )
    yield f"Overlap     {described['overlap']:.0%} of Sentinel-2 is covered by Sentinel-1"
    estimate = described["estimate"]
    yield f"Run         {_time(estimate)}, {estimate['output_bytes'] / 1e6:.1f} MB"


def _time(estimate: Mapping[str, Any]) -> str:
    if estimate["seconds"] is None:
        return "time not known"
    is_known = estimate["basis"] == EARLIER_RUN
    by = "by earlier runs" if is_known else "reckoned before the first run"
    return f"about {estimate['seconds']:g} s ({by})"


def _sensor_lines(name: str, sensor: Mapping[str, Any]) -> Iterator[str]:
    words = [sensor["crs"] or "", ", ".join(sensor["dates"]) or "date unknown"]
    yield f"{name}  {', '.join(filter(None, [*words, sensor.get('level')]))}"
    for channel, band in sensor["bands"].items():
        size = f"{band['pixel_size_m']:.4g} m"
        where = f"{band['path']} (by {band['found_by']})"
        yield f"  {channel:4s} band {band['band']:<3d} {size:>8s}  {where}"
    if sensor["filled"]:
        yield f"  filled with the training mean: {', '.join(sensor['filled'])}"
    for part in sensor.get("parts", ()):
        yield f"  part {', '.join(part['files'][:2])}: {part['evidence']}"
    unit = sensor.get("unit")
    yield f"  values: {f'{unit}; ' if unit else ''}{sensor['evidence']}"


def model_lines(spec: ModelSpec) -> Iterator[str]:
    """Yield what a model folder holds."""
    yield f"Task        {spec.task}, {len(spec.classes)} classes"
    yield f"Sentinel-2  {', '.join(spec.s2_names)}"
    yield f"Sentinel-1  {', '.join(spec.s1_names)}"
    yield f"Tile        {spec.tile_size} px at {spec.ground_resolution:g} m"
    yield f"Calibrated  {'yes' if spec.calibrated else 'no'}, temperature {spec.temperature:g}"
    if not spec.provenance:
        yield "Trained     not stated ('provenance' is empty): it will not classify"
    for key, value in (*spec.metrics.items(), *spec.provenance.items()):
        yield f"  {key}: {value}"
    yield f"Licence     {spec.license or 'not stated'}"
    for item, threshold in zip(spec.classes, spec.thresholds):
        yield f"  {item.color}  {threshold:.2f}  {item.name}"
