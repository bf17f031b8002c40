"""Results of the commands, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .contract.spec import ModelSpec


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
    """Yield what is understood of a pair of rasters."""
    for key, name in (("s2", "Sentinel-2"), ("s1", "Sentinel-1")):
        sensor = described[key]
        yield f"{name}  {sensor['crs']}"
        for channel, band in sensor["bands"].items():
            size = f"{band['pixel_size_m']:g} m"
            yield f"  {channel:4s} band {band['band']:<3d} {size:>6s}  {band['path']}"
        yield f"  values: {sensor['evidence']}"
    grid = described["grid"]
    yield f"Grid        {grid['width']} x {grid['height']} px, {grid['tiles']} tiles, {grid['crs']}"
    yield f"Overlap     {described['overlap']:.0%} of Sentinel-2 is covered by Sentinel-1"
    for warning in described["warnings"]:
        yield f"Warning     {warning['message']}"


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
