"""What there is to train on, told before training: plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .calibration import FEW
from .tile_labels import TileLabels, counts


def sampling_report(
    parts: Sequence[TileLabels], classes: Sequence[str], read: Sequence[np.ndarray], *,
    unused: Sequence[str] = (), unlabelled: int = 0, unlisted: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return how many tiles each class has, what was left out and why, and warnings.

    Args:
        parts: the labels of each scene, over the same classes.
        classes: their names.
        read: for each scene which of its tiles have enough valid pixels, bool (tiles,).
        unused: classes of the labels that no tile has.
        unlabelled: features without a class.
        unlisted: values that the class table does not name.
    """
    says = np.concatenate([part.says[good] for part, good in zip(parts, read, strict=True)])
    found = counts(says)
    rows = [
        {"class": name, **{key: int(values[number]) for key, values in found.items()}}
        for number, name in enumerate(classes)
    ]
    # A shape is outside only where it lies in none of the scenes.
    report: dict[str, Any] = {
        "task": "multilabel" if parts[0].multi else "multiclass",
        "tiles": len(says),
        "scenes": [int(good.sum()) for good in read],
        "classes": rows,
        "outside": min(part.outside for part in parts),
        "too_small": sorted(set.intersection(*(set(part.small) for part in parts))),
        "moved_from_the_edge": sum(part.moved for part in parts),
        "mixed": sum(part.mixed for part in parts),
        "mixed_dropped": sum(part.dropped for part in parts),
        "without_enough_pixels": sum(int((~good).sum()) for good in read),
        "unlabelled_features": unlabelled,
        "unlisted_values": list(unlisted),
        "classes_without_tiles": list(unused),
    }
    report["warnings"] = list(_warnings(report))
    return report


def _warnings(report: dict[str, Any]) -> list[str]:
    found = []
    for row in report["classes"]:
        if row["present"] < FEW:
            found.append(
                f"'{row['class']}' has {row['present']} tiles: under {FEW} its figures mean "
                "little, and its threshold stays 0.5."
            )
        if not row["absent"]:
            found.append(
                f"No tile is known to lack '{row['class']}': it cannot be learned, only counted. "
                "Say that the label lists are full, or draw a completeness area."
            )
    plain = (
        ("outside", "{} labels lie outside the scenes."),
        ("moved_from_the_edge", "{} tiles were moved inside from the edge of a scene."),
        ("mixed_dropped", "{} tiles hold more of another class than of their own: left out."),
        ("without_enough_pixels", "{} tiles have too few valid pixels: left out."),
        ("unlabelled_features", "{} features have no class: left out."),
    )
    found += [text.format(report[key]) for key, text in plain if report[key]]
    if report["too_small"]:
        numbers = ", ".join(str(number + 1) for number in report["too_small"][:10])
        found.append(
            f"{len(report['too_small'])} polygons cover too little of a tile (number {numbers}): "
            "left out. Draw them larger, or allow less with --min-share."
        )
    if report["unlisted_values"]:
        found.append(f"Not in the class table: {', '.join(report['unlisted_values'][:10])}.")
    if report["classes_without_tiles"]:
        found.append(f"Classes without a tile: {', '.join(report['classes_without_tiles'])}.")
    return found
