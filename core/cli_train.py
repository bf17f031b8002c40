"""The command ``multimodal train``, and what it shares with ``evaluate`` and ``embed``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .cli_arguments import sources
from .cli_scene import mask_source, scene_options
from .contract.job import RasterSource
from .contract.messages import Message
from .contract.train_order import HEADS, LabelOptions, ScenePair, TrainOrder

Show = Callable[[Message], None]
IsCancelled = Callable[[], bool]


def add_label_arguments(parser: argparse.ArgumentParser, name: str = "--labels") -> None:
    """Add what says where labels stand and how they are taken."""
    group = parser.add_argument_group("labels")
    group.add_argument(name, nargs="+", required=True, metavar="FILE", dest="labels",
                       help="GeoPackage, GeoJSON, Shapefile, or class rasters")  # fmt: skip
    group.add_argument("--field", nargs="+", default=[], metavar="FIELD", help="of the class; "
                       "several: a class in each, or one for each class with 0 and 1")  # fmt: skip
    group.add_argument("--layer", metavar="LAYER", help="where a file has several")
    group.add_argument("--multi-label", action="store_true", help="several classes a tile (seen by "
                       "itself in lists joined by ';' and in several fields)")  # fmt: skip
    group.add_argument("--full-lists", action="store_true", help="what a label does not name is "
                       "absent; else it is not known")  # fmt: skip
    group.add_argument("--complete", metavar="FILE", help="polygons inside which everything is "
                       "labelled")  # fmt: skip
    group.add_argument("--class-table", metavar="CSV", help="value,class and perhaps color")
    group.add_argument("--min-share", type=float, metavar="SHARE", help="of a tile that its class "
                       "must cover (half; of several in a raster 0.05)")  # fmt: skip


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes beside the first scene."""
    parser.add_argument("--scene", nargs="+", action="append", default=[], metavar="PATH",
                        help="a further scene: Sentinel-2 and Sentinel-1")  # fmt: skip
    add_label_arguments(parser)
    parser.add_argument("--model", required=True, metavar="DIR|CONFIG.json", help="base: a model "
                        "folder, or a configuration with pretrained backbones")  # fmt: skip
    parser.add_argument("--out", required=True, metavar="DIR", help="model folder to make")
    parser.add_argument("--head", default="linear", choices=HEADS)
    parser.add_argument("--balanced", action="store_true", help="weigh classes by rarity, which "
                        "shifts probabilities")  # fmt: skip
    parser.add_argument("--block", type=float, metavar="M", help="side of the blocks of validation "
                        "in metres (five tiles)")  # fmt: skip
    parser.add_argument("--min-valid", type=float, default=0.75, metavar="SHARE",
                        help="valid share under which a tile is not used")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--license", default="", help="of the model that is made")
    parser.add_argument("--cache", metavar="DIR", help="where embeddings are kept")
    parser.add_argument("--sampling-only", action="store_true", help="tell what there is to train "
                        "on, and train nothing")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an existing model folder")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def label_options(options: argparse.Namespace) -> LabelOptions:
    """Return where the labels stand."""
    return LabelOptions(
        paths=tuple(options.labels),
        fields=tuple(options.field),
        layer=options.layer,
        multi=options.multi_label,
        full_lists=options.full_lists,
        complete=options.complete,
        table=options.class_table,
        min_share=options.min_share,
    )


def scene_pair(options: argparse.Namespace) -> ScenePair:
    """Return the scene of ``--s2`` and ``--s1``."""
    return ScenePair(sources(options, "s2"), sources(options, "s1"), mask_source(options))


def train_order(options: argparse.Namespace) -> TrainOrder:
    """Return what ``multimodal train`` was asked for."""
    return TrainOrder(
        scenes=(scene_pair(options), *map(_pair, options.scene)),
        labels=label_options(options),
        base=options.model,
        output=str(Path(options.out).absolute()),
        head=options.head,
        balanced=options.balanced,
        block_m=options.block,
        min_valid=options.min_valid,
        device=options.device,
        license=options.license,
        overwrite=options.overwrite,
        options=scene_options(options),
    )


def run_train(options: argparse.Namespace, show: Show, is_cancelled: IsCancelled) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from .training.probe import preview_labels, train

    order = train_order(options)
    if options.sampling_only:
        return {"sampling": preview_labels(order, is_cancelled)}
    report = train(order, show, is_cancelled, options.cache)
    return {key: value for key, value in report.items() if key != "tested_tiles"}


def train_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was trained, for people."""
    yield from _sampling_lines(result["sampling"])
    if "validation" not in result:
        yield from (f"Warning  {text}" for text in result["sampling"]["warnings"])
        return
    yield from figure_lines(result["validation"])
    yield from (f"Warning  {text}" for text in result["warnings"])
    yield f"{result['output']}: {result['head']['type']} head; see report.html"


def _sampling_lines(sampling: Mapping[str, Any]) -> Iterator[str]:
    yield f"{sampling['tiles']} tiles, {sampling['task']}"
    for row in sampling["classes"]:
        unknown = f", not known in {row['unknown']}" if row["unknown"] else ""
        yield f"  {row['present']:6d}  {row['class']}{unknown}"


def figure_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield figures by class."""
    yield figures["note"]
    if not figures["tested"]:
        return
    yield f"  {'precision':>9s} {'recall':>9s} {'F1':>9s} {'AP':>9s}"
    rows = [*figures["classes"], *({"class": k, **figures[k]} for k in ("macro", "micro"))]
    for row in rows:
        values = " ".join(_number(row[key]) for key in ("precision", "recall", "f1", "ap"))
        yield f"  {values}  {row['class']}"


def _number(value: float | None) -> str:
    return f"{'-':>9s}" if value is None or value != value else f"{value:9.3f}"


def _pair(paths: list[str]) -> ScenePair:
    s2, *s1 = (RasterSource(path) for path in paths)
    return ScenePair((s2,), tuple(s1))
