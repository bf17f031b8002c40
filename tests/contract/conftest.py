"""The engine without an installation: core/ as the package `multimodal`, standard library only."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

if "multimodal" not in sys.modules and importlib.util.find_spec("multimodal") is None:
    _spec = importlib.util.spec_from_file_location(
        "multimodal",
        ROOT / "core" / "__init__.py",
        submodule_search_locations=[str(ROOT / "core")],
    )
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["multimodal"] = _module
    _spec.loader.exec_module(_module)
