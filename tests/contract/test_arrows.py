"""The house's wall: which part may import which (DESIGN section 2 told as a table)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "core"
PLUGIN = ROOT / "mm_qgis_plugin"

# Each unit of core/, and the other units that it may import.
ARROWS = {
    "__init__": set(),
    "contract": set(),
    "client": {"contract"},
    "memory": set(),
    "stages": set(),
    "ahead": {"stages"},
    "room": {"contract", "memory"},
    "scene": {"ahead", "contract", "memory", "stages"},
    "predictions": {"contract", "stages"},
    "torchvision_guard": set(),
    "config_checks": {"contract"},
    "config": {"contract", "config_checks"},
    "finite": {"contract"},
    "backbones": {"contract", "config", "config_checks", "finite", "torchvision_guard"},
    "fusion": {"contract", "config"},
    "classifier": {"contract", "config"},
    "modality_dropout": {"contract"},
    "input_checks": {"contract"},
    "model": {
        "contract",
        "config",
        "backbones",
        "fusion",
        "classifier",
        "input_checks",
        "modality_dropout",
    },
    "shards": {"contract", "shortage"},
    "checkpoint": {"contract", "config", "finite", "model", "shards", "shortage"},
    "onnx_export": {"contract", "model"},
    "importing": {"contract", "config", "backbones", "model", "checkpoint"},
    "devices": {"contract"},
    "shortage": set(),
    "batching": set(),
    "launch": set(),
    "inference": {"batching", "contract", "devices", "launch", "model", "shortage", "stages"},
    "computing": {"ahead", "batching", "devices", "inference", "scene"},
    "fast_forward": {"devices", "model", "torchvision_guard"},
    "tuning": {"devices", "fast_forward", "model", "shortage"},
    "way_choice": {
        "batching",
        "devices",
        "fast_forward",
        "inference",
        "model_cache",
        "remembered",
        "scene",
        "shortage",
        "tuning",
    },
    "model_cache": {
        "checkpoint",
        "contract",
        "devices",
        "fast_forward",
        "model",
        "room",
        "shortage",
    },
    "remembered": {"contract"},
    "versions": {"contract"},
    "watching": {"contract"},
    "effort": {"config", "contract"},
    "estimate": {"contract", "effort", "remembered"},
    "rows": {"contract", "scene"},
    "row_writer": {"contract"},
    "inspection": {"contract", "estimate", "scene"},
    "pipeline": {
        "contract",
        "scene",
        "model",
        "checkpoint",
        "predictions",
        "batching",
        "computing",
        "devices",
        "inference",
        "inspection",
        "model_cache",
        "remembered",
        "room",
        "row_writer",
        "rows",
        "versions",
        "watching",
        "way_choice",
    },
    "benchmark": {
        "batching",
        "client",
        "contract",
        "devices",
        "effort",
        "fast_forward",
        "inference",
        "memory",
        "model",
        "model_cache",
        "pipeline",
        "remembered",
        "scene",
        "stages",
        "versions",
        "way_choice",
    },
    "training": {
        "contract",
        "scene",
        "config",
        "classifier",
        "model",
        "checkpoint",
        "devices",
        "inference",
        "predictions",
        "pipeline",
        "shortage",
        "torchvision_guard",
        "versions",
    },
    "orphan_guard": set(),
    "worker_log": {"contract"},
    "worker_pulse": {"contract"},
    "worker": {
        "benchmark",
        "contract",
        "inspection",
        "orphan_guard",
        "pipeline",
        "training",
        "worker_log",
        "worker_pulse",
    },
    "cli_area": {"contract"},
    "cli_benchmark": {"benchmark", "contract"},
    "cli_arguments": {"contract", "cli_area", "cli_scene"},
    "cli_import": {"contract", "importing"},
    "cli_scene": {"contract"},
    "cli_evaluate": {
        "contract",
        "cli_area",
        "cli_arguments",
        "cli_scene",
        "cli_train",
        "training",
    },
    "cli_train": {"contract", "cli_arguments", "cli_scene", "training"},
    "cli_output": {"contract"},
    "cli_text": {"contract"},
    "cli": {
        "contract",
        "cli_arguments",
        "cli_benchmark",
        "cli_import",
        "cli_output",
        "cli_progress",
        "cli_scene",
        "cli_evaluate",
        "cli_train",
        "estimate",
        "cli_text",
        "scene",
        "checkpoint",
        "pipeline",
        "training",
        "worker_log",
    },
    "cli_progress": {"contract"},
}
# save_pretrained and from_pretrained are methods of the model, as users of transformers
# expect; they import the module that knows model folders when they are called.
LATE = {("model", "checkpoint")}
FORBIDDEN_IN_CORE = {"qgis", "PyQt5", "PyQt6", "core", "mm_qgis_plugin", "multimodal"}
FORBIDDEN_IN_PLUGIN = {
    "torch", "torchvision", "transformers", "rasterio", "numpy", "shapely", "safetensors",
    "PyQt5", "PyQt6", "core", "multimodal",
}  # fmt: skip
PLUGIN_FROM_CORE = {"contract", "client"}


def unit_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def core_files() -> list[Path]:
    return sorted(CORE.rglob("*.py"))


def plugin_files() -> list[Path]:
    return sorted(PLUGIN.rglob("*.py"))


def absolute_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]


def relative_targets(tree: ast.AST, path: Path, package: Path) -> Iterator[tuple[str, ...]]:
    """Yield the parts, below the package's root, of everything imported relatively."""
    here = path.relative_to(package).parts[:-1]
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        assert node.level <= len(here) + 1, f"{path}: import above the package"
        base = here[: len(here) - (node.level - 1)]
        module = tuple(node.module.split(".")) if node.module else ()
        for alias in node.names:
            yield (*base, *module, alias.name)


def parse(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("path", core_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_follows_the_arrows(path: Path) -> None:
    unit, tree = unit_of(path), parse(path)
    assert unit in ARROWS, f"{unit} is new: give it a row in ARROWS"
    forbidden = FORBIDDEN_IN_CORE.intersection(absolute_imports(tree))
    assert not forbidden, f"core imports {forbidden}"
    targets = {parts[0] for parts in relative_targets(tree, path, CORE)} & set(ARROWS)
    allowed = ARROWS[unit] | {unit} | {late for user, late in LATE if user == unit}
    assert targets <= allowed, f"{unit} imports {sorted(targets - allowed)}"


def test_late_imports_stand_inside_functions() -> None:
    for user, late in LATE:
        tree = parse(CORE / f"{user}.py")
        top = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert all(node.module != late for node in top), f"{user} imports {late} at module level"


@pytest.mark.parametrize("package", ["contract", "client"])
def test_what_both_processes_share_is_standard_library(package: str) -> None:
    for path in (CORE / package).rglob("*.py"):
        foreign = set(absolute_imports(parse(path))) - set(sys.stdlib_module_names)
        assert not foreign, f"{path.name} imports {foreign}"


@pytest.mark.parametrize("path", plugin_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_plugin_is_light_and_sees_only_contract_and_client(path: Path) -> None:
    tree = parse(path)
    if path.name != "worker_main.py":
        heavy = FORBIDDEN_IN_PLUGIN.intersection(absolute_imports(tree))
        assert not heavy, f"the plugin process imports {heavy}"
    for parts in relative_targets(tree, path, PLUGIN):
        if parts[0] == "core":
            assert parts[1] in PLUGIN_FROM_CORE, f"the plugin imports {'.'.join(parts)}"


@pytest.mark.parametrize(("package", "other"), [("gui", "processing"), ("processing", "gui")])
def test_gui_and_processing_do_not_know_each_other(package: str, other: str) -> None:
    for path in (PLUGIN / package).rglob("*.py"):
        targets = {parts[0] for parts in relative_targets(parse(path), path, PLUGIN)}
        assert other not in targets, f"{path} imports {other}"


def test_what_runs_inside_qgis_is_python_39() -> None:
    files = [*plugin_files(), *(CORE / "contract").rglob("*.py"), *(CORE / "client").rglob("*.py")]
    for path in files:
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))


def test_importing_the_package_and_its_contract_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "engine").symlink_to(CORE, target_is_directory=True)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import engine, engine.contract.messages, engine.client.worker_client\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-I", "-c", program]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "rasterio", "numpy", "transformers"} & set(ast.literal_eval(loaded))
