"""Where the Python of the worker comes from, and in which surroundings it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..contract.errors import CancelledError, RuntimeMissingError
from .process_group import kill_group, own_group

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
_POLL_SECONDS = 0.2

IsCancelled = Callable[[], bool]
# Each interpreter that may be taken, with what changes when its file does.
_Looked = tuple["str | None", Path, "tuple[tuple[Path, object], ...]"]


class PythonFinder:
    """Finds the worker's Python and remembers it: asking an interpreter starts a process.

    It is asked again when a setting, or the file of an interpreter that may be taken, is another.
    """

    def __init__(self) -> None:
        self._known: tuple[_Looked, Path] | None = None

    def find(
        self,
        configured: str | None,
        managed_root: Path,
        is_cancelled: IsCancelled = lambda: False,
    ) -> Path:
        """Return the interpreter as :func:`find_worker_python` does, and raise as it does."""
        wanted = configured, managed_root, _states(configured, managed_root)
        known = self._known
        if known is not None and known[0] == wanted:
            return known[1]
        found = find_worker_python(configured, managed_root, is_cancelled)
        self._known = wanted, found
        return found

    def forget(self) -> None:
        """Ask again the next time: packages can go without a trace at the interpreter."""
        self._known = None


def find_worker_python(
    configured: str | None, managed_root: Path, is_cancelled: IsCancelled = lambda: False
) -> Path:
    """Return the interpreter for the worker.

    In this order: the one configured, that of the managed environment, QGIS's own where it
    has all packages.

    Raises:
        RuntimeMissingError: none of them can serve; the message says what to do.
        CancelledError: ``is_cancelled`` said so.
    """
    if configured:
        return checked(Path(configured), is_cancelled)
    managed = managed_python(managed_root)
    if managed.is_file():
        return checked(managed, is_cancelled)
    own = host_python()
    if own is not None and _serves(own, is_cancelled):
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


def missing_packages(python: Path, is_cancelled: IsCancelled = lambda: False) -> tuple[str, ...]:
    """Return which needed packages an interpreter lacks; all where it cannot be run.

    Raises:
        RuntimeMissingError: it cannot be run, or is too old.
        CancelledError: ``is_cancelled`` said so.
    """
    program = (
        "import sys, importlib.util as u\n"
        f"assert sys.version_info >= {_MINIMUM}, 'too old: ' + sys.version.split()[0]\n"
        f"print('missing', *[n for n in {NEEDED} if u.find_spec(n) is None])"
    )
    try:
        code, said, wrong = _asked([str(python), "-I", "-c", program], is_cancelled)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise RuntimeMissingError(
            f"'{python}' cannot be run as a Python ({problem}): choose another interpreter under "
            "Advanced > Worker Python.",
            path=str(python),
        ) from problem
    lines = said.strip().splitlines()
    if code != 0 or not lines or not lines[-1].startswith("missing"):
        reason = (wrong.strip().splitlines() or ["no answer"])[-1]
        raise RuntimeMissingError(
            f"'{python}' does not work as the worker's Python ({reason}): it must be Python "
            f"{_MINIMUM[0]}.{_MINIMUM[1]} or newer. Choose another under Advanced > Worker Python.",
            path=str(python),
        )
    return tuple(lines[-1].split()[1:])


def _asked(command: list[str], is_cancelled: IsCancelled) -> tuple[int, str, str]:
    """Run a short command; returns its exit code and what it printed on stdout and stderr."""
    deadline = time.monotonic() + CHECK_SECONDS
    process = subprocess.Popen(
        command, env=child_environment(os.environ), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **own_group(),
    )  # fmt: skip
    with process:
        try:
            while True:
                if is_cancelled():
                    raise CancelledError("Cancelled while a Python for the worker was looked for.")
                try:
                    streams = process.communicate(timeout=_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline:
                        raise
                    continue
                said, wrong = (stream.decode("utf-8", "replace") for stream in streams)
                return process.returncode, said, wrong
        except BaseException:
            kill_group(process)
            raise


def _states(configured: str | None, managed_root: Path) -> tuple[tuple[Path, object], ...]:
    paths = [Path(configured)] if configured else [managed_python(managed_root), host_python()]
    return tuple((path, _state(path)) for path in paths if path is not None)


def _state(path: Path) -> object:
    """Return what changes when an interpreter is another one, or the link to it is made anew."""
    try:
        stats = path.stat(), path.lstat()
    except OSError:
        return None
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def _serves(python: Path, is_cancelled: IsCancelled) -> bool:
    """Return whether an interpreter that nobody named has all packages."""
    try:
        return not missing_packages(python, is_cancelled)
    except RuntimeMissingError:
        return False  # too old, as QGIS's may be: the caller says what to do


def checked(python: Path, is_cancelled: IsCancelled = lambda: False) -> Path:
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
    missing = missing_packages(python, is_cancelled)
    if missing:
        raise RuntimeMissingError(
            f"'{python}' lacks {', '.join(missing)}: install them there (pip install -r "
            f"'{REQUIREMENTS}'), or choose another under Advanced > Worker Python.",
            path=str(python),
            missing=list(missing),
        )
    return python
