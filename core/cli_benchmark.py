"""The command ``multimodal benchmark``."""

from __future__ import annotations

import argparse
import sys
import threading
from contextlib import suppress
from typing import Any

from .contract.benchmark import DEFAULT_REPEATS, DEFAULT_TILES, BenchmarkOrder
from .contract.errors import JobError
from .contract.job import PRECISIONS

_SENSORS = 2


def add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be measured otherwise than usual."""
    parser.add_argument("--tiles", type=int, default=DEFAULT_TILES, metavar="N",
                        help="tiles of the fabricated scene (400)")  # fmt: skip
    parser.add_argument("--scene", nargs="+", default=[], metavar="PATH",
                        help="a Sentinel-2 source and a Sentinel-1 source of your own")  # fmt: skip
    parser.add_argument("--model", default="", metavar="DIR",
                        help="model folder (ViT-B/16, ResNet-101, random weights)")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    parser.add_argument("--batch-size", type=int, default=0, metavar="N", help="0 = automatic")
    parser.add_argument(
        "--repeats", type=int, default=DEFAULT_REPEATS, metavar="N", help="medians of so many (3)"
    )
    parser.add_argument("--trace", default="", metavar="FILE",
                        help="write a Chrome trace of the last run")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="do not tell what goes on")


def measure(options: argparse.Namespace, stop: threading.Event) -> dict[str, Any]:
    """Run the benchmark that the arguments ask for."""
    if len(options.scene) > _SENSORS:
        raise JobError("--scene takes a Sentinel-2 source and a Sentinel-1 source, no more.")
    s2, s1 = (*options.scene, "", "")[:_SENSORS]
    order = BenchmarkOrder(
        options.tiles, s2, s1, options.model, options.device, options.precision,
        options.batch_size, options.repeats, options.trace,
    )  # fmt: skip
    from .benchmark import run_benchmark

    def tell(text: str) -> None:
        if not options.quiet:
            with suppress(OSError):  # a closed terminal does not end a measurement
                print(f"{text} ...", file=sys.stderr, flush=True)

    return run_benchmark(order, tell, stop.is_set)
