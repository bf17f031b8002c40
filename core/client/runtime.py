"""Where the Python of the worker comes from, and in which surroundings it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contract.errors import RuntimeMissingError

REQUIREMENTS = Path(__file__).with_name("worker-requirements.txt")
NEEDED = ("torch", "torchvision", "transformers", "safetensors", "rasterio", "numpy", "shapely",
          "fudgeo")  # fmt: skip
CHECK_SECONDS = 60
_MINIMUM = (3, 10)
# What QGIS sets for itself, or a terminal for another Python, breaks ours.
_FOREIGN = re.compile(
    r"(PYTHON|PYENV_|CONDA_|VIRTUAL_ENV|PROJ_|GDAL_|QT_|QML|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_)", re.I
)
_IS_WINDOWS = sys.platform == "win32"


def find_worker_python(configured: str | None, managed_root: Path) -> Path:
    """Return the interpreter for the worker.

    In this order: the one configured, that of the managed environment, QGIS's own where it
    has all packages.

    Raises:
        RuntimeMissingError: none of them can serve; the message says what to do.
    """
    if configured:
        return _checked(Path(configured))
    managed = managed_python(managed_root)
    if managed.is_file():
        return _checked(managed)
    own = host_python()
    if own is not None and _serves(own):
        return own
    raise RuntimeMissingError(
        "No Python with torch, transformers and rasterio was found for the worker. Use 'Set up "
        "worker environment' in the dock, or name an interpreter that has them under Advanced > "
        "Worker Python. The packages are listed in core/client/worker-requirements.txt."
    )


def worker_command(python: Path, worker_main: Path) -> list[str]:
    """Return the command line of the worker: isolated from PYTHON* and the user's site-packages."""
    return [str(python), "-I", str(worker_main)]


def child_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what belongs to QGIS or to another Python."""
    kept = {key: value for key, value in base.items() if not _FOREIGN.match(key)}
    if _IS_WINDOWS and "PATH" in kept:
        parts = kept["PATH"].split(os.pathsep)
        kept["PATH"] = os.pathsep.join(part for part in parts if "qgis" not in part.lower())
    return kept


def managed_python(managed_root: Path) -> Path:
    """Return where the interpreter of the managed environment is, or would be."""
    parts = ("Scripts", "python.exe") if _IS_WINDOWS else ("bin", "python")
    return managed_root.joinpath("venv", *parts)


def host_python() -> Path | None:
    """Return the interpreter of this process. Inside QGIS ``sys.executable`` may be QGIS itself."""
    names = ("python.exe",) if _IS_WINDOWS else ("bin/python3", "bin/python")
    candidates = [Path(sys.prefix) / name for name in names]
    candidates += [Path(sys.base_exec_prefix) / name for name in names]
    return next((path for path in candidates if path.is_file()), None)


def missing_packages(python: Path) -> tuple[str, ...]:
    """Return which needed packages an interpreter lacks; all where it cannot be run.

    Raises:
        RuntimeMissingError: it cannot be run, or is too old.
    """
    program = (
        "import sys, importlib.util as u\n"
        f"assert sys.version_info >= {_MINIMUM}, 'too old: ' + sys.version.split()[0]\n"
        f"print('missing', *[n for n in {NEEDED} if u.find_spec(n) is None])"
    )
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", program], env=child_environment(os.environ),
            capture_output=True, text=True, errors="replace", timeout=CHECK_SECONDS, check=False,
            **hidden_window(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise RuntimeMissingError(
            f"'{python}' cannot be run as a Python ({problem}): choose another interpreter under "
            "Advanced > Worker Python.",
            path=str(python),
        ) from problem
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines or not lines[-1].startswith("missing"):
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise RuntimeMissingError(
            f"'{python}' does not work as the worker's Python ({reason}): it must be Python "
            f"{_MINIMUM[0]}.{_MINIMUM[1]} or newer. Choose another under Advanced > Worker Python.",
            path=str(python),
        )
    return tuple(lines[-1].split()[1:])


def create_environment(
    managed_root: Path, on_line: Callable[[str], None], base_python: Path | None = None
) -> Path:
    """Make the managed environment with the locked packages; returns its interpreter.

    ``on_line`` gets every line that the tools print. The folder lies outside the plugin, so
    that upgrades keep it.

    Raises:
        RuntimeMissingError: a step failed; the message quotes its end.
    """
    base = base_python or host_python()
    if base is None:
        raise RuntimeMissingError(
            "No Python was found to make the environment with: install Python 3.10 or newer and "
            "name its interpreter under Advanced > Worker Python."
        )
    managed_root.mkdir(parents=True, exist_ok=True)
    python = managed_python(managed_root)
    _run([str(base), "-m", "venv", "--clear", str(managed_root / "venv")], on_line)
    pip = [str(python), "-I", "-m", "pip", "install", "--disable-pip-version-check"]
    _run([*pip, "--progress-bar", "off", "-r", str(REQUIREMENTS)], on_line)
    return _checked(python)


def hidden_window() -> dict[str, Any]:
    """Return the arguments of Popen that keep a console window from opening on Windows."""
    if _IS_WINDOWS:
        return {"creationflags": subprocess.CREATE_NO_WINDOW}  # type: ignore[attr-defined]
    return {}


def _serves(python: Path) -> bool:
    """Return whether an interpreter that nobody named has all packages."""
    try:
        return not missing_packages(python)
    except RuntimeMissingError:
        return False  # too old, as QGIS's may be: the caller says what to do


def _checked(python: Path) -> Path:
    if not python.is_file():
        raise RuntimeMissingError(
            f"The worker's Python '{python}' does not exist: choose another under Advanced > "
            "Worker Python, or clear the setting.",
            path=str(python),
        )
    missing = missing_packages(python)
    if missing:
        raise RuntimeMissingError(
            f"'{python}' lacks {', '.join(missing)}: install them there (the list is "
            "core/client/worker-requirements.txt), or choose another under Advanced > Worker "
            "Python.",
            path=str(python),
            missing=list(missing),
        )
    return python


def _run(command: Sequence[str], on_line: Callable[[str], None]) -> None:
    lines: list[str] = []
    try:
        with subprocess.Popen(
            command, env=child_environment(os.environ), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", **hidden_window(),
        ) as process:  # fmt: skip
            for line in process.stdout or ():
                lines.append(line.rstrip())
                on_line(lines[-1])
    except OSError as problem:
        raise RuntimeMissingError(f"'{command[0]}' cannot be started ({problem}).") from problem
    if process.returncode != 0:
        raise RuntimeMissingError(
            "The worker's environment could not be made: a step failed. Check the network, the "
            f"proxy and the space on the disk. Its last lines: {' / '.join(lines[-3:])}",
            command=" ".join(command),
        )
