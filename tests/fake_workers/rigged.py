"""The real worker, with a trap at the place that a file names: ``rigged.py ORDER REACHED``.

ORDER holds ``place action``; it is read anew each time, so that one warm worker serves many
tests. REACHED is written when the trap is sprung.
"""

from __future__ import annotations

import ctypes
import importlib.abc
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

ORDER, REACHED = map(Path, sys.argv[1:3])
VERY_LONG = 600


def lack_memory() -> None:
    """Ask for more than the system gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**26, hard))
    try:
        bytearray(2**31)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


ACTIONS: dict[str, Callable[[], object]] = {
    "slow": lambda: time.sleep(0.4),
    "brief": lambda: time.sleep(0.1),
    # Native code that leaves the interpreter's lock to other threads, as reading a dead drive.
    "native": lambda: ctypes.CDLL(None).sleep(VERY_LONG),
    # Native code that keeps it, as loading a library does.
    "locked": lambda: ctypes.PyDLL(None).sleep(VERY_LONG),
    "null": lambda: ctypes.string_at(0),
    "defect": lambda: 1 // 0,
    "memory": lack_memory,
}


def trap(place: str) -> None:
    try:
        wanted, action = ORDER.read_text().split()
    except (OSError, ValueError):
        return
    if wanted == place:
        REACHED.write_text(place)
        ACTIONS[action]()


def rig(owner: object, attribute: str, place: str) -> None:
    inner = getattr(owner, attribute)

    def trapped(*args: object, **kwargs: object) -> object:
        trap(place)
        return inner(*args, **kwargs)

    setattr(owner, attribute, trapped)


class HeavyImport(importlib.abc.MetaPathFinder):
    """Stands where torch is loaded."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "multimodal.pipeline":
            sys.meta_path.remove(self)
            trap("import")
            rig_all()


def rig_all() -> None:
    import rasterio
    import torch

    from multimodal import checkpoint
    from multimodal.predictions import Journal, schema
    from multimodal.scene.warp import StackReader

    rig(rasterio, "open", "file")
    # The pipeline takes it by name when it is imported, which comes next.
    rig(checkpoint, "from_pretrained", "model")
    rig(torch.nn.Conv2d, "forward", "batch")
    rig(StackReader, "read", "read")
    rig(schema, "insert", "write")
    rig(Journal, "close", "finish")


if __name__ == "__main__":
    from multimodal import worker, worker_pulse

    worker_pulse.BEAT_SECONDS = 0.3
    sys.meta_path.insert(0, HeavyImport())
    worker.main()
