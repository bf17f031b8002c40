"""The worker's own log: one rotating file, without anything that a stranger must not see."""

from __future__ import annotations

import logging
import sys
from importlib import metadata
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from .contract.log_file import log_paths
from .contract.redaction import redacted

LOGGER = logging.getLogger("multimodal")
_BYTES, _OLDER_FILES = 1_000_000, 2
_LONGEST = 20_000
_PACKAGES = ("torch", "torchvision", "transformers", "rasterio", "numpy", "shapely", "fudgeo")
# Open, and so locked, for as long as this process lives.
_locks: list[IO[bytes]] = []


def start_log() -> str:
    """Let everything that is logged go to a file of this process; returns its path or ""."""
    # A full disk, or a viewer that keeps Windows from renaming, is no reason to say a word.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    LOGGER.setLevel(logging.INFO)
    for path in log_paths():
        try:
            if not _locked(path):
                continue  # another worker writes there
            logging.getLogger().addHandler(_handler(path))
        except OSError as problem:
            print(f"The worker's log cannot be written: {problem}", file=sys.stderr)
            return ""
        return str(path)
    return ""


def log_versions() -> None:
    """Log which libraries work here."""
    found = {name: _version(name) for name in _PACKAGES}
    LOGGER.info("libraries: %s", ", ".join(f"{name} {text}" for name, text in found.items()))


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))[:_LONGEST]


def _handler(path: Path) -> logging.Handler:
    handler = RotatingFileHandler(
        path, maxBytes=_BYTES, backupCount=_OLDER_FILES, encoding="utf-8",
        errors="backslashreplace",  # names of files that are no text
    )  # fmt: skip
    handler.setFormatter(_Redacting("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    return handler


def _locked(path: Path) -> bool:
    """Keep other workers off a log: two that rotate one file lose each other's lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open(path.with_suffix(".lock"), "ab")  # noqa: SIM115  # closed by the process's end
    try:
        _lock(lock)
    except OSError:
        lock.close()
        return False
    _locks.append(lock)
    return True


def _lock(file: IO[bytes]) -> None:
    """Raise OSError where another process holds the file; its death lets go."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(none)"
