"""Does a run fit into memory? Said before it starts: refused where that is sure, else told."""

from __future__ import annotations

from pathlib import Path

from .contract.errors import DeviceError
from .contract.model_folder import read_spec
from .contract.spec import ModelSpec
from .contract.weights import find_weights
from .memory import free_memory

# What reading a scene takes beside its batches: GDAL's cache of blocks, and a strip of tiles in
# all its steps. Measured with tests/engine/scene/memory_probe.py.
READING = 300 * 2**20
# What one tile takes inside a network; the largest layers of a ResNet and of a ViT have less.
COMPUTING = 16 * 2**20
# A batch that is packed, one that waits, and the one at hand.
_BATCHES = 3


def weights_bytes(folder: str | Path) -> int:
    """Return the size of a model's weights; a safetensors file is little else."""
    files = find_weights(folder, read_spec(folder).weights_sha256)
    return sum(path.stat().st_size for path in files.tensor_files)


def check_weights_fit(folder: str | Path) -> None:
    """Refuse a model whose weights alone are larger than all memory that can be had.

    Raises:
        DeviceError: says how much is needed and how much there is.
    """
    needed, free = weights_bytes(folder), free_memory(with_swap=True)
    if free is not None and needed > free:
        raise DeviceError(
            f"The model in '{folder}' does not fit into memory: its weights alone take "
            f"{_gigabytes(needed)}, and {_gigabytes(free)} are free. Close other programs, or "
            "choose a smaller model.",
            needed=needed,
            free=free,
        )


def tight_memory(
    folder: str | Path, spec: ModelSpec, batch: int, *, computes_here: bool
) -> str | None:
    """Return a warning where a run will hardly fit into what is free, None where it will.

    Args:
        batch: tiles read at once.
        computes_here: the network computes in the computer's own memory, as on a CPU or an Apple
            GPU; a card has its own, and want of it is met when it comes.
    """
    tile = 4 * (len(spec.s2) + len(spec.s1)) * spec.tile_size**2
    # Weights are there twice while they are copied from the file into the network.
    for_one = _BATCHES * tile + (COMPUTING if computes_here else 0)
    needed = 2 * weights_bytes(folder) + READING + batch * for_one
    free = free_memory()
    if free is None or needed <= free:
        return None
    return (
        f"This run may need about {_gigabytes(needed)} of memory, and {_gigabytes(free)} are free: "
        "close other programs if it fails. Finished tiles are kept."
    )


def out_of_memory() -> DeviceError:
    """Return what to say where memory ended in a place that cannot do with less."""
    return DeviceError(
        "The computer has no memory left for this run. Finished tiles are kept: close other "
        "programs, or set a smaller batch size, and run again to go on."
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
