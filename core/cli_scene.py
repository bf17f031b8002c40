"""What the shell may decide about a scene."""

from __future__ import annotations

import argparse

from .contract.channels import CLOUD_MASK
from .contract.errors import JobError
from .contract.job import RasterSource
from .contract.scene_options import (
    DEFAULT_MAX_DAYS,
    S1_UNITS,
    SceneOptions,
    parse_mask_classes,
)

_AUTO = "auto"


def add_scene_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags by which a user decides what the data leave open."""
    group = parser.add_argument_group("decisions about the scene")
    group.add_argument("--s2-offset", default=_AUTO, type=_offset, metavar="auto|0|-1000",
                       help="DN to add to Sentinel-2 (auto: by its metadata)")  # fmt: skip
    group.add_argument("--s1-unit", default=_AUTO, choices=S1_UNITS)
    group.add_argument("--mask", metavar="PATH", help="cloud mask, where none lies beside "
                       "Sentinel-2 or another one is meant")  # fmt: skip
    group.add_argument("--mask-band", type=int, metavar="N", help="its band, where it has several")
    group.add_argument("--mask-classes", default="", metavar="3,8,9,10",
                       help="values of the mask that count as cloud (QA60: bits)")  # fmt: skip
    group.add_argument("--max-cloud", type=float, default=1.0, metavar="SHARE",
                       help="cloud share over which a tile is skipped (1: none)")  # fmt: skip
    group.add_argument("--fill-missing", action="store_true",
                       help="fill channels that are missing with their training mean")  # fmt: skip
    group.add_argument("--max-days", type=int, default=DEFAULT_MAX_DAYS, metavar="N",
                       help="days between the sensors from which on to warn")  # fmt: skip
    group.add_argument("--any-pixel-size", action="store_true",
                       help="take Sentinel-2 also far from the model's resolution")  # fmt: skip


def scene_options(options: argparse.Namespace) -> SceneOptions:
    """Return the decisions; JobError where one makes no sense."""
    return SceneOptions(
        s2_offset=None if options.s2_offset == _AUTO else options.s2_offset,
        s1_unit=options.s1_unit,
        mask_classes=parse_mask_classes(options.mask_classes),
        max_cloud=options.max_cloud,
        fill_missing=options.fill_missing,
        max_days=options.max_days,
        any_pixel_size=options.any_pixel_size,
    )


def mask_source(options: argparse.Namespace) -> RasterSource | None:
    """Return the mask that the user names."""
    if not options.mask:
        if options.mask_band is not None:
            raise JobError("--mask-band counts the bands of a mask: name its file with --mask.")
        return None
    bands = {} if options.mask_band is None else {CLOUD_MASK: options.mask_band}
    return RasterSource(options.mask, bands=bands)


def _offset(text: str) -> float | str:
    return text if text == _AUTO else float(text)
