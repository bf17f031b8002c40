"""The command ``multimodal benchmark``."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from .contract.errors import JobError
from .contract.job import MAX_BATCH, PRECISIONS, RasterSource

_MOST_TILES, _MOST_REPEATS = 100_000, 100


def add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what may be measured otherwise than usual."""
    parser.add_argument("--tiles", type=int, default=400, metavar="N",
                        help="tiles of the fabricated scene (400)")  # fmt: skip
    parser.add_argument("--scene", nargs="+", default=[], metavar="PATH",
                        help="a Sentinel-2 source and a Sentinel-1 source of your own")  # fmt: skip
    parser.add_argument("--model", default="", metavar="DIR",
                        help="model folder (ViT-B/16, ResNet-101, random weights)")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS)
    parser.add_argument("--batch-size", type=int, default=0, metavar="N", help="0 = automatic")
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="medians of so many (3)"
    )
    parser.add_argument("--trace", default="", metavar="FILE",
                        help="write a Chrome trace of the last run")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="do not tell what goes on")


def measure(options: argparse.Namespace, stop: threading.Event) -> dict[str, Any]:
    """Run the benchmark that the arguments ask for."""
    for name, value, least, most in (
        ("--tiles", options.tiles, 1, _MOST_TILES),
        ("--repeats", options.repeats, 1, _MOST_REPEATS),
        ("--batch-size", options.batch_size, 0, MAX_BATCH),
    ):
        if not least <= value <= most:
            raise JobError(f"{name} must lie between {least} and {most}, not {value}.")
    if len(options.scene) > 2:
        raise JobError("--scene takes a Sentinel-2 source and a Sentinel-1 source, no more.")
    from .benchmark import Order, run_benchmark

    s2, s1 = options.scene[:1], options.scene[1:]
    order = Order(
        options.tiles, tuple(map(RasterSource, s2)), tuple(map(RasterSource, s1)), options.model,
        options.device, options.precision, options.batch_size, options.repeats, options.trace,
    )  # fmt: skip

    def tell(text: str) -> None:
        if not options.quiet:
            with suppress(OSError):  # a closed terminal does not end a measurement
                print(f"{text} ...", file=sys.stderr, flush=True)

    return run_benchmark(order, tell, stop.is_set)


def benchmark_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the result in words."""
    yield f"Device:        {result['device']}, {result['way']}, batches of {result['batch_size']}"
    yield (
        f"End to end:    {result['tiles_per_s']:.1f} tiles/s "
        f"({result['ratio']:.2f} of the bare network, "
        f"{result['end_to_end_gain']:.2f} of plain fp32 PyTorch)"
    )
    yield (
        f"Bare network:  {result['forward_tiles_per_s']:.1f} tiles/s "
        f"({result['forward_gain']:.2f} of plain fp32 PyTorch, "
        f"{result['fp32_forward_tiles_per_s']:.1f} tiles/s)"
    )
    yield (
        f"Arithmetic:    {result['achieved_tflops']:.3f} of {result['matmul_tflops']:.3f} TFLOP/s "
        f"of large matrices ({result['achieved_share']:.0%})"
    )
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in result["seconds"].items())
    yield f"Seconds of {result['tiles']} tiles, reading beside computing: {seconds}"
    if result["rss_mb_peak"] and result["rss_mb_model"]:
        beyond = result["rss_mb_peak"] - result["rss_mb_model"]
        yield f"Memory:        {result['rss_mb_peak']:.0f} MB, {beyond:.0f} MB beyond the model"
    yield (
        f"First tiles:   {result['cold_start_s']:.1f} s after a cold start, "
        f"{result['warm_start_s']:.1f} s in a warm worker"
    )
