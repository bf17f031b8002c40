"""Classes: names, slugs and colours, and the 19 of BigEarthNet."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

MAX_SLUG = 40
FIXED_FIELDS = (
    "tile_id", "row", "col", "status", "class", "confidence", "labels", "n_labels",
    "entropy", "margin", "valid_s2", "valid_s1", "cloud",
)  # fmt: skip
_RESERVED = frozenset({*FIXED_FIELDS, "fid", "geom", "ogc_fid"})

_BIGEARTHNET19 = (
    ("Agro-forestry areas", "#f2cca6", 7),
    ("Arable land", "#ffffa8", 2),
    ("Beaches, dunes, sands", "#e6e6e6", 14),
    ("Broad-leaved forest", "#80ff00", 8),
    ("Coastal wetlands", "#ccccff", 16),
    ("Complex cultivation patterns", "#ffe64d", 5),
    ("Coniferous forest", "#00a600", 9),
    ("Industrial or commercial units", "#cc4df2", 1),
    ("Inland waters", "#80f2e6", 17),
    ("Inland wetlands", "#a6a6ff", 15),
    (
        "Land principally occupied by agriculture, with significant areas of natural vegetation",
        "#e6cc4d",
        6,
    ),
    ("Marine waters", "#e6f2ff", 18),
    ("Mixed forest", "#4dff00", 10),
    ("Moors, heathland and sclerophyllous vegetation", "#a6ff80", 12),
    ("Natural grassland and sparsely vegetated areas", "#ccf24d", 11),
    ("Pastures", "#e6e64d", 4),
    ("Permanent crops", "#e68000", 3),
    ("Transitional woodland, shrub", "#a6f200", 13),
    ("Urban fabric", "#e6004d", 0),
)
"""(name, colour, index in the original order). The order here is the sorted one of BIFOLD.

Colours are those of the first CORINE class that BigEarthNet merged into each class.
"""

BIGEARTHNET19_NAMES = tuple(name for name, _, _ in _BIGEARTHNET19)
BIGEARTHNET19_COLORS = tuple(color for _, color, _ in _BIGEARTHNET19)
BIGEARTHNET19_ORIGINAL_ORDER = tuple(
    name for name, _, _ in sorted(_BIGEARTHNET19, key=lambda item: item[2])
)
"""The order of the BigEarthNet paper, which torchgeo uses."""


def slugify(names: Iterable[str]) -> tuple[str, ...]:
    """Return a field-name part for each class: ASCII, at most 40 characters, unique."""
    taken, tried = set(_RESERVED), dict[str, int]()
    return tuple(
        _unique(_ascii(name) or f"class_{position}", taken, tried)
        for position, name in enumerate(names)
    )


def default_colors(count: int) -> tuple[str, ...]:
    """Return ``count`` well separated colours: hues by the golden angle, as ``#rrggbb``."""
    import colorsys

    colors = []
    for position in range(count):
        red, green, blue = colorsys.hls_to_rgb((position * 0.61803398875) % 1.0, 0.55, 0.6)
        colors.append(f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}")
    return tuple(colors)


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore")
    return re.sub(r"[^a-z0-9]+", "_", plain.decode().lower()).strip("_")[:MAX_SLUG].strip("_")


def _unique(slug: str, taken: set[str], tried: dict[str, int]) -> str:
    """Return a free slug, and take it; ``tried`` spares the search for those of the same name."""
    candidate, number = slug, tried.get(slug, 2)
    while candidate in taken:
        suffix = f"_{number}"
        candidate, number = slug[: MAX_SLUG - len(suffix)] + suffix, number + 1
    tried[slug] = number
    taken.add(candidate)
    return candidate
