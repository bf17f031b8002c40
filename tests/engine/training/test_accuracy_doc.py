"""docs/accuracy.md says what tools/accuracy.py gives."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from multimodal.contract.spec import default_spec

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    described = importlib.util.spec_from_file_location("accuracy", ROOT / "tools" / "accuracy.py")
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    sys.modules["accuracy"] = module  # dataclasses look for their module there
    described.loader.exec_module(module)
    return module


def test_the_rows_without_a_network_are_what_is_measured(accuracy: ModuleType) -> None:
    data = accuracy.read(accuracy.SCENES, default_spec())
    text = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    assert f"{len(data.says)} tiles of BigEarthNet" in text
    for name, scores in (
        ("class shares of the other scenes", accuracy.shares(data)),
        ("mean and standard deviation of each channel",
         accuracy.probe(accuracy.statistics(data), data)),
    ):  # fmt: skip
        row = re.search(rf"^\| {name} \|(.*)\|$", text, re.MULTILINE)
        assert row is not None
        by_scene, *means = (cell.strip() for cell in row[1].split("|"))
        measured = [score.macro for score in scores]
        assert [float(cell) for cell in by_scene.split("/")] == pytest.approx(measured, abs=0.02)
        expected = [
            np.mean([getattr(s, key) for s in scores]) for key in ("macro", "micro", "loss")
        ]
        assert [float(cell) for cell in means] == pytest.approx(expected, abs=0.01)
