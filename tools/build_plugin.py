"""Lays out the plugin as QGIS wants it: one folder `mm_qgis_plugin` with core/ inside.

Run with any Python 3.9 or newer: ``build_plugin.py link`` (for development and tests),
``copy`` or ``zip`` (the installable package, dist/mm_qgis_plugin-VERSION.zip).
"""

from __future__ import annotations

import argparse
import configparser
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "mm_qgis_plugin"
PLUGIN = ROOT / "build" / "plugin" / NAME
MAX_ZIP_BYTES = 25_000_000
EXTRAS = ("core", "metadata.txt", "LICENSE")
SKIPPED_SUFFIXES = {".pyc", ".so", ".pyd", ".dll", ".dylib", ".exe"}


def entries() -> Iterator[tuple[Path, str]]:
    """Yield (source, name inside the plugin folder) for each top-level entry."""
    for path in sorted((ROOT / NAME).iterdir()):
        if path.name != "__pycache__":
            yield path, path.name
    for name in EXTRAS:
        yield ROOT / name, name
    # The sample model travels with the plugin: a first run needs nothing else.
    yield ROOT / "sample_data" / "model", "sample_model"


def link() -> Path:
    """Make the plugin folder of symbolic links: edits show without building again."""
    _clear()
    for source, name in entries():
        os.symlink(source, PLUGIN / name, target_is_directory=source.is_dir())
    return PLUGIN


def copy() -> Path:
    """Make the plugin folder as it ships."""
    _clear()
    for source, name in files():
        target = PLUGIN / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return PLUGIN


def package() -> Path:
    """Write the zip that QGIS installs, and refuse what its repository would refuse."""
    target = ROOT / "dist" / f"{NAME}-{_version()}.zip"
    target.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for source, name in files():
            archive.write(source, f"{NAME}/{name}")
    size = target.stat().st_size
    if size > MAX_ZIP_BYTES:
        raise SystemExit(f"{target} has {size} bytes, more than {MAX_ZIP_BYTES}.")
    return target


def files() -> Iterator[tuple[Path, str]]:
    """Yield (file, name inside the plugin folder) of all that ships, nothing hidden or built."""
    for source, name in entries():
        if source.is_file():
            yield source, name
            continue
        for path in sorted(source.rglob("*")):
            relative = path.relative_to(source)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
            if path.is_file() and not hidden and path.suffix not in SKIPPED_SUFFIXES:
                yield path, f"{name}/{relative.as_posix()}"


def _clear() -> None:
    if PLUGIN.is_symlink():
        PLUGIN.unlink()
    shutil.rmtree(PLUGIN, ignore_errors=True)
    PLUGIN.mkdir(parents=True)


def _version() -> str:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "metadata.txt", encoding="utf-8")
    return parser["general"]["version"]


def main(arguments: list[str]) -> None:
    """Run the action that the command line names."""
    actions = {"link": link, "copy": copy, "zip": package}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=sorted(actions))
    print(actions[parser.parse_args(arguments).action]())


if __name__ == "__main__":
    main(sys.argv[1:])
