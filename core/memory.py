"""How much memory this process can still get, by the standard library alone."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_MEMINFO, _STATUS = Path("/proc/meminfo"), Path("/proc/self/status")
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def free_memory(*, with_swap: bool = False) -> int | None:
    """Return the bytes that can still be had, None where the system does not tell.

    The smallest of what the machine has left, what the control groups of a container leave and
    what the process may address (``ulimit -v``). macOS tells only how much there is in all.
    """
    if os.name == "nt":
        return _windows_memory(with_swap)
    if sys.platform == "darwin":
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = [value for value in (_machine(with_swap), *_groups(), _address_space()) if value]
    return max(0, min(found)) if found else None


def resident_memory() -> int | None:
    """Return the bytes that this process holds in memory, None where the system does not tell."""
    known = _kilobytes(_STATUS)
    return 1024 * known["VmRSS"] if "VmRSS" in known else None


def _machine(with_swap: bool) -> int | None:
    known = _kilobytes(_MEMINFO)
    if "MemAvailable" not in known:
        return None
    return 1024 * (known["MemAvailable"] + (known.get("SwapFree", 0) if with_swap else 0))


def _groups() -> Iterator[int]:
    """Yield what each control group around this process leaves, of version 2 and version 1."""
    for line in _text(_OWN_CGROUP).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = _CGROUPS / controllers
        names = ("memory.max", "memory.current")
        if controllers:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        inner = root / path.lstrip("/")
        for folder in (inner, *inner.parents):
            limit, used = (_text(folder / name).strip() for name in names)
            if limit.isdigit() and used.isdigit():
                yield max(1, int(limit) - int(used) + _reclaimable(folder))
            if folder == root:
                break


def _reclaimable(folder: Path) -> int:
    """Return the bytes of files that the kernel keeps only while nobody needs the room."""
    for line in _text(folder / "memory.stat").splitlines():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def _address_space() -> int | None:
    import resource  # not there on Windows

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    return max(1, limit - 1024 * _kilobytes(_STATUS).get("VmSize", 0))


def _kilobytes(path: Path) -> dict[str, int]:
    """Read lines like ``Name:   12 kB``."""
    pairs = (line.split(":", 1) for line in _text(path).splitlines() if line.endswith("kB"))
    return {name: int(value.split()[0]) for name, value in pairs}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class _Status(ctypes.Structure):
    """MEMORYSTATUSEX of Windows."""

    _fields_ = [("length", ctypes.c_uint32), ("load", ctypes.c_uint32)] + [
        (name, ctypes.c_uint64)
        for name in ("total", "free", "total_page", "free_page", "total_virtual", "free_virtual",
                     "extended")
    ]  # fmt: skip


def _windows_memory(with_swap: bool) -> int | None:
    status = _Status(length=ctypes.sizeof(_Status))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009  # mypy knows it on Windows alone
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.free_page if with_swap else status.free)
