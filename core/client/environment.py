"""The environment that the plugin makes for the worker."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ..contract.errors import CancelledError, RuntimeMissingError
from .process_group import kill_group, own_group
from .runtime import (
    REQUIREMENTS,
    checked,
    child_environment,
    host_python,
    managed_python,
    missing_packages,
)

_POLL_SECONDS = 0.2
_QUOTED = 3

Tell = Callable[[str], None]
IsCancelled = Callable[[], bool]


def create_environment(
    managed_root: Path,
    on_line: Tell,
    base_python: Path | None = None,
    is_cancelled: IsCancelled = lambda: False,
) -> Path:
    """Make the managed environment with the locked packages; returns its interpreter.

    ``on_line`` gets every line that the tools print. The folder lies outside the plugin, so
    that upgrades keep it.

    Raises:
        RuntimeMissingError: a step failed; the message quotes its end.
        CancelledError: ``is_cancelled`` said so; the tools are ended.
    """
    base = base_python or host_python()
    if base is None:
        raise RuntimeMissingError(
            "No Python was found to make the environment with: install Python 3.10 or newer and "
            "name its interpreter under Advanced > Worker Python."
        )
    missing_packages(base, is_cancelled)  # says so where it is too old
    managed_root.mkdir(parents=True, exist_ok=True)
    python = managed_python(managed_root)
    steps = (
        [str(base), "-m", "venv", "--clear", str(managed_root / "venv")],
        [str(python), "-I", "-m", "pip", "install", "--disable-pip-version-check",
         "--progress-bar", "off", "-r", str(REQUIREMENTS)],
    )  # fmt: skip
    try:
        for step in steps:
            _run(step, on_line, is_cancelled)
        return checked(python, is_cancelled)
    except BaseException:
        _discard(managed_root)
        raise


def _discard(managed_root: Path) -> None:
    """Remove what is half made, or the worker would be started with it."""
    shutil.rmtree(managed_root / "venv", ignore_errors=True)


def _run(command: Sequence[str], on_line: Tell, is_cancelled: IsCancelled) -> None:
    try:
        process = subprocess.Popen(
            command, env=child_environment(os.environ), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **own_group(),
        )  # fmt: skip
    except OSError as problem:
        raise RuntimeMissingError(f"'{command[0]}' cannot be started ({problem}).") from problem
    with process:
        try:
            said = _follow(process, on_line, is_cancelled)
        except BaseException:
            kill_group(process)
            raise
    if process.returncode != 0:
        raise RuntimeMissingError(
            "The worker's environment could not be made: a step failed. Check the network, the "
            f"proxy and the space on the disk. Its last lines: {' / '.join(said[-_QUOTED:])}",
            command=" ".join(command),
        )


def _follow(
    process: subprocess.Popen[bytes], on_line: Tell, is_cancelled: IsCancelled
) -> list[str]:
    """Pass on what a tool prints until it ends. A download of minutes prints nothing."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    said: list[str] = []
    while True:
        if is_cancelled():
            raise CancelledError("The set-up was cancelled: start it again when you like.")
        try:
            line = lines.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if line is None:
            return said
        said.append(line)
        on_line(line)


def _read(process: subprocess.Popen[bytes], lines: queue.Queue[str | None]) -> None:
    for line in process.stdout or ():
        lines.put(line.decode("utf-8", "replace").rstrip())
    lines.put(None)
