"""``multimodal:classify`` in a real Processing, with the real worker on the real scene."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from qgis.core import QgsVectorLayer

ALGORITHM = "multimodal:classify"


@pytest.fixture
def parameters(provider, s2_path: str, s1_path: str, model_folder: str) -> dict:
    return {"S2": [s2_path], "S1": [s1_path], "MODEL": model_folder, "DEVICE": "cpu"}


def run(parameters: dict, **changes):
    import processing

    return processing.run(ALGORITHM, {"OUTPUT": "TEMPORARY_OUTPUT", **parameters, **changes})


def test_memory_sink_has_all_tiles_styled(parameters: dict) -> None:
    result = run(parameters)
    layer = result["OUTPUT"]
    assert result["CLASSIFIED"] == 8
    assert layer.featureCount() == 8
