"""What a benchmark is asked to measure, and its result in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ._codec import as_object, take
from .errors import JobError
from .job import check_computing

DEFAULT_TILES, DEFAULT_REPEATS = 400, 3
MOST_TILES, MOST_REPEATS = 100_000, 100


@dataclass(frozen=True)
class BenchmarkOrder:
    """What to measure. Sources and model are fabricated where none is named.

    ``tiles`` is the size of the fabricated scene, ``repeats`` how many measurements the medians
    are of, ``trace`` a file for a Chrome trace of the last run.

    Raises:
        JobError: a value out of its range.
    """

    tiles: int = DEFAULT_TILES
    s2: str = ""
    s1: str = ""
    model: str = ""
    device: str = "auto"
    precision: str = "auto"
    batch_size: int = 0
    repeats: int = DEFAULT_REPEATS
    trace: str = ""

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("tiles", self.tiles, 1, MOST_TILES),
            ("repeats", self.repeats, 1, MOST_REPEATS),
        ):
            if not least <= value <= most:
                raise JobError(f"The {name} must lie between {least} and {most}, not {value}.")
        check_computing(self.device, self.precision, self.batch_size)

    def to_dict(self) -> dict[str, Any]:
        """Return the order as it travels."""
        return asdict(self)


def order_from_dict(payload: Any) -> BenchmarkOrder:
    """Read what :meth:`BenchmarkOrder.to_dict` wrote."""
    data = as_object(payload, JobError, "The benchmark")
    kinds = {
        "tiles": int, "s2": str, "s1": str, "model": str, "device": str, "precision": str,
        "batch_size": int, "repeats": int, "trace": str,
    }  # fmt: skip
    return BenchmarkOrder(
        **{key: take(data, key, kind, JobError, "benchmark") for key, kind in kinds.items()}
    )


def benchmark_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield a result in words."""
    how = f"{result['precision']}, batches of {result['batch_size']}"
    yield f"Device:        {result['device']}, {how}"
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
    yield f"Seconds:       {seconds} for {result['tiles']} tiles, reading beside computing"
    if result["rss_mb_peak"] and result["rss_mb_model"]:
        beyond = max(0.0, result["rss_mb_peak"] - result["rss_mb_model"])
        yield f"Memory:        {result['rss_mb_peak']:.0f} MB, {beyond:.0f} MB beyond the model"
    yield (
        f"First tiles:   {result['cold_start_s']:.1f} s after a cold start, "
        f"{result['warm_start_s']:.1f} s in a warm worker"
    )
