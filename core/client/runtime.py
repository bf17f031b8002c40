"""Where the Python of the worker comes from, and in which surroundings it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..contract.errors import RuntimeMissingError

REQUIREMENTS = Path(__file__).with_name("worker-requirements.txt")
NEEDED = ("torch", "torchvision", "transformers", "safetensors", "rasterio", "numpy", "shapely",
          "fudgeo")  # fmt: skip
CHECK_SECONDS = 60
_MINIMUM = (3, 10)
# What QGIS sets for itself, or a terminal for another Python, breaks ours. Proxies stay.
_FOREIGN = re.compile(
    r"(PYTHON|PYENV_|CONDA_|VIRTUAL_ENV|PROJ_|GDAL_(?!HTTP_)|QT_|QML|LD_LIBRARY_PATH|LD_PRELOAD"
    r"|DYLD_)",
    re.I,
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
        return checked(Path(configured))
    managed = managed_python(managed_root)
    if managed.is_file():
        return checked(managed)
    own = host_python()
    if own is not None and _serves(own):
        return own
    raise RuntimeMissingError(
        "No Python with torch, transformers and rasterio was found for the worker. Use 'Set up "
        "worker environment' in the dock, or name an interpreter that has them under Advanced > "
        f"Worker Python. The packages are listed in '{REQUIREMENTS}'."
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


def checked(python: Path) -> Path:
    """Return an interpreter that has all packages; RuntimeMissingError says what is wrong."""
    if python.is_dir():
        raise RuntimeMissingError(
            f"'{python}' is a folder: choose the Python interpreter in it under Advanced > Worker "
            "Python.",
            path=str(python),
        )
    if not python.is_file():
        raise RuntimeMissingError(
            f"The worker's Python '{python}' does not exist: choose another under Advanced > "
            "Worker Python, or clear the setting.",
            path=str(python),
        )
    missing = missing_packages(python)
    if missing:
        raise RuntimeMissingError(
            f"'{python}' lacks {', '.join(missing)}: install them there (pip install -r "
            f"'{REQUIREMENTS}'), or choose another under Advanced > Worker Python.",
            path=str(python),
            missing=list(missing),
        )
    return python
