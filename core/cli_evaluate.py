"""The commands ``multimodal evaluate`` and ``multimodal embed``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .cli_area import aoi_wkt, extent_wkt
from .cli_arguments import add_area_arguments
from .cli_scene import scene_options
from .cli_train import (
    IsCancelled,
    Show,
    add_label_arguments,
    figure_lines,
    label_options,
    scene_pair,
)


def add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``evaluate`` takes."""
    parser.add_argument("--predictions", required=True, metavar="MAP.gpkg",
                        help="a result of classify")  # fmt: skip
    add_label_arguments(parser, "--reference")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the report")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing report")


def run_evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from .training.evaluation import EvaluateOrder, evaluate

    output = str(Path(options.out).absolute())
    order = EvaluateOrder(options.predictions, label_options(options), output, options.overwrite)
    return {key: value for key, value in evaluate(order).items() if key != "tested_tiles"}


def evaluate_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield how good a map is, for people."""
    figures = result["validation"]
    yield from figure_lines(figures)
    if "map" in figures:
        told = figures["map"]
        yield f"Overall accuracy by area {_interval(told['overall'])}"
        yield f"  {'user':>15s} {'producer':>15s} {'share of area':>15s}"
        for row in told["classes"]:
            values = (_interval(row[key]) for key in ("user", "producer", "area_share"))
            yield f"  {' '.join(f'{value:>15s}' for value in values)}  {row['class']}"
        yield told["note"]
    yield from (f"Warning  {text}" for text in result["warnings"])
    yield f"{result['output']}: see report.html"


def add_embed_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``embed`` takes beside the scene."""
    parser.add_argument("--model", required=True, metavar="DIR|CONFIG.json", help="model folder, "
                        "or a configuration with pretrained backbones")  # fmt: skip
    parser.add_argument("--output", required=True, metavar="OUT.parquet")
    add_area_arguments(parser)
    parser.add_argument("--min-valid", type=float, default=0.75, metavar="SHARE",
                        help="valid share under which a tile is left out")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--cache", metavar="DIR", help="where embeddings are kept")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run_embed(options: argparse.Namespace, show: Show, is_cancelled: IsCancelled) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from .training.geoparquet import embed

    return embed(
        scene_pair(options), options.model, options.output, options=scene_options(options),
        extent_wkt=extent_wkt(options.extent), aoi_wkt=aoi_wkt(options.aoi),
        stride=options.stride, min_valid=options.min_valid, device=options.device,
        overwrite=options.overwrite, emit=show, is_cancelled=is_cancelled, cache=options.cache,
    )  # fmt: skip


def embed_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was written, for people."""
    widths = ", ".join(f"{name} {width}" for name, width in result["widths"].items())
    yield f"{result['output']}: {result['written']} of {result['tiles']} tiles; {widths}"


def _interval(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "-"
    if value["half_width"] is None:
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f} ± {value['half_width']:.3f}"
