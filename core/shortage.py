"""Tells a want of memory from other errors, whoever raised it."""

from __future__ import annotations

import errno
import re

import torch

_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can(?:'t|not) allocate memory|bad_alloc|ALLOC_FAILED"
    r"|could not (?:create|execute) a primitive"  # oneDNN's words for it
    r"|ALLOCATION_FAILED|unable to find an engine to execute|find a valid cuDNN algorithm",
    re.I,
)


def is_out_of_memory(problem: BaseException) -> bool:
    """Return whether an error says that a device, or the computer, has no memory left."""
    if isinstance(problem, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(problem, OSError):  # a file that is mapped, as weights are
        return problem.errno == errno.ENOMEM
    return isinstance(problem, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(problem)))
