"""Name, home page and icons of the plugin; the facts stand in metadata.txt."""

from __future__ import annotations

from configparser import ConfigParser
from functools import lru_cache
from pathlib import Path

from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtGui import QIcon

FOLDER = Path(__file__).parent
LOG_TAG = "Multimodal"


def tr(text: str) -> str:
    """Translate ``text``; one context for the whole plugin."""
    return QCoreApplication.translate("Multimodal", text)


def display_name() -> str:
    """Return the name under which users know the plugin."""
    return _metadata()["name"]


def home_page() -> str:
    """Return the address of the documentation."""
    return _metadata()["homepage"]


def icon(name: str = "plugin") -> QIcon:
    """Return one of our icons."""
    return QIcon(str(FOLDER / "icons" / f"{name}.svg"))


@lru_cache(maxsize=1)
def _metadata() -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.read(FOLDER / "metadata.txt", encoding="utf-8")
    return dict(parser["general"])
