"""The log of a worker or command: one rotating file, without what a stranger must not see."""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from .contract.errors import MultimodalError
from .contract.job import ClassifyJob, for_record
from .contract.log_file import log_paths
from .contract.messages import Log, Message, Phase, Plan
from .contract.redaction import redacted
from .contract.result import RunSummary
from .contract.version import version

LOGGER = logging.getLogger("multimodal")
_BYTES, _OLDER_FILES = 1_000_000, 2
_LONGEST = 20_000
_PACKAGES = ("torch", "torchvision", "transformers", "rasterio", "numpy", "shapely", "fudgeo")
_LONG_VALUE = 200
# Open, and so locked, for as long as this process logs.
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
                continue  # another process writes there
            logging.getLogger().addHandler(_handler(path))
        except OSError as problem:
            print(f"The log cannot be written: {problem}", file=sys.stderr)
            return ""
        return str(path)
    return ""


@contextmanager
def log_of_a_command() -> Iterator[str]:
    """Log to a file while a command runs, with how it fails; yields the file's path or ""."""
    root, before = logging.getLogger(), list(_locks)
    handlers = list(root.handlers)
    try:
        yield start_log()
    except Exception as problem:
        log_problem(problem)
        raise
    finally:
        logging.captureWarnings(False)
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
            handler.close()
        for lock in [lock for lock in _locks if lock not in before]:
            _locks.remove(lock)
            lock.close()


def log_begin(what: str) -> None:
    """Log that a process of ours starts to work."""
    system = f"Python {platform.python_version()}, {platform.platform()}"
    LOGGER.info("%s %s starts: %s", what, version(), system)


def log_job(what: str, job: ClassifyJob) -> None:
    """Log a job's parameters, without the corners of a long area."""
    shown = {
        key: f"{value[:_LONG_VALUE]} ..."
        if isinstance(value, str) and len(value) > _LONG_VALUE
        else value
        for key, value in for_record(job).items()
    }
    LOGGER.info("%s: %s", what, shown)


def log_message(message: Message) -> None:
    """Log what a run tells of itself, without its tiles."""
    if isinstance(message, Plan):
        where = f"{message.device}, {message.precision}, batches of {message.batch_size}"
        LOGGER.info("%s of %s tiles to do, %s", message.todo, message.tiles, where)
    elif isinstance(message, (Phase, Log)):
        is_warning = isinstance(message, Log) and message.level == "warning"
        LOGGER.log(logging.WARNING if is_warning else logging.INFO, "%s", message.text)


def log_summary(summary: RunSummary) -> None:
    """Log how a run ended."""
    LOGGER.info("%s: %s of %s tiles", summary.state, summary.classified, summary.tiles)


def log_problem(problem: Exception) -> None:
    """Log why a job failed: what is explained in words, anything else with its traceback."""
    if isinstance(problem, MultimodalError):
        LOGGER.error("%s: %s", problem.code, problem.message, exc_info=problem.__cause__)
    else:
        LOGGER.error("an error that nobody foresaw", exc_info=problem)


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
