"""QGIS's process stays light: the plugin loads where nothing heavy can be imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "build" / "plugin" / "mm_qgis_plugin"

PROGRAM = """
import importlib, sys
HEAVY = {'torch', 'torchvision', 'transformers', 'rasterio', 'numpy', 'shapely', 'safetensors',
         'fudgeo'}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in HEAVY:
            raise ImportError(f'{name} is blocked')

from qgis.core import QgsApplication
application = QgsApplication([], True)
application.initQgis()
HEAVY -= set(sys.modules)  # Newer QGIS imports numpy itself where it is there.
sys.meta_path.insert(0, Blocker())
for name in sys.argv[1:]:
    importlib.import_module(name)
from mm_qgis_plugin import classFactory
plugin = classFactory(None)
plugin.initProcessing()
algorithm = QgsApplication.processingRegistry().algorithmById('multimodal:classify')
print([algorithm.id(), sorted(HEAVY & set(sys.modules))])
plugin.unload()
application.exitQgis()
"""


def module_names() -> list[str]:
    own = (path for folder in (".", "gui", "processing") for path in (PLUGIN / folder).glob("*.py"))
    shared = (
        path for part in ("contract", "client") for path in (PLUGIN / "core" / part).glob("*.py")
    )
    names = []
    for path in (*own, *shared):
        if path.name == "worker_main.py":
            continue  # Runs in the other process.
        parts = path.relative_to(PLUGIN.parent).with_suffix("").parts
        names.append(".".join(part for part in parts if part != "__init__"))
    return names


def test_plugin_and_provider_load_with_heavy_packages_blocked() -> None:
    program = f"import sys; sys.path.insert(0, {str(PLUGIN.parent)!r})\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-c", program, *module_names()],
        capture_output=True, text=True, timeout=120, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout.splitlines()[-1]) == ["multimodal:classify", []]
