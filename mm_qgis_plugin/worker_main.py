"""Starts the worker with the sibling core/ as the package `multimodal`, whatever is installed."""

import importlib.util
import sys
from pathlib import Path

_core = Path(__file__).absolute().parent / "core"
_spec = importlib.util.spec_from_file_location(
    "multimodal", _core / "__init__.py", submodule_search_locations=[str(_core)]
)
# At module level: a spawned child imports this file and must find `multimodal` too.
_module = importlib.util.module_from_spec(_spec)
sys.modules["multimodal"] = _module
_spec.loader.exec_module(_module)

if __name__ == "__main__":
    from multimodal.worker import main

    sys.exit(main())
