"""``multimodal:benchmark`` in a real QGIS with the real worker."""

from __future__ import annotations

import json

import pytest
from qgis.core import QgsProcessingException, QgsProcessingFeedback


class Said(QgsProcessingFeedback):
    """Keeps every line; cancels itself at one that begins so."""

    def __init__(self, cancel_at: str = "nowhere") -> None:
        super().__init__(False)
        self.lines: list[str] = []
        self._cancel_at = cancel_at

    def pushInfo(self, info: str) -> None:
        self.lines.append(info)

    def setProgressText(self, text: str) -> None:
        self.lines.append(text)
        if text.startswith(self._cancel_at):
            self.cancel()


def benchmark(feedback: QgsProcessingFeedback, **parameters) -> dict:
    import processing

    return processing.run(
        "multimodal:benchmark", {"DEVICE": "cpu", "TILES": 4, "REPEATS": 1, **parameters},
        feedback=feedback,
    )  # fmt: skip


def test_the_figures_can_be_pasted(provider, model_folder: str) -> None:
    said = Said()
    found = benchmark(said, MODEL=model_folder)
    report = json.loads(found["REPORT"])
    assert (report["tiles"], report["repeats"], report["device"]) == (4, 1, "cpu")
    assert found["TILES_PER_S"] == report["tiles_per_s"] > 0
    assert found["RATIO"] == report["ratio"]
    assert found["REPORT"] in said.lines
    text = "\n".join(said.lines)
    assert "End to end:" in text
    assert text.index("Warming up") < text.index("Starting workers") < text.index("Bare network:")


def test_a_cancel_ends_it_in_words(provider, model_folder: str) -> None:
    with pytest.raises(QgsProcessingException, match="cancelled"):
        benchmark(Said("Repeat"), MODEL=model_folder)


def test_wrong_values_are_told(provider) -> None:
    with pytest.raises(QgsProcessingException, match="no-such-folder"):
        benchmark(Said(), MODEL="/no-such-folder")
    with pytest.raises(QgsProcessingException, match="tiles must lie between 1 and"):
        benchmark(Said(), TILES=0)
