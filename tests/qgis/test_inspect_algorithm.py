"""``multimodal:inspect``, and the decisions about a scene as parameters of both algorithms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from qgis.core import NULL, QgsProcessingException, QgsProcessingFeedback

OFFSET = {
    "decision": "s2_offset", "choices": [0, -1000],
    "message": "Nothing says whether the values carry an offset.",
}  # fmt: skip


class Said(QgsProcessingFeedback):
    """Keeps every line."""

    def __init__(self) -> None:
        super().__init__(False)
        self.lines: list[str] = []

    def pushInfo(self, info: str) -> None:
        self.lines.append(info)

    def pushWarning(self, warning: str) -> None:
        self.lines.append(f"WARNING {warning}")


@pytest.fixture
def parameters(provider, s2_path: str, s1_path: str, model_folder: str) -> dict:
    return {"S2": [s2_path], "S1": [s1_path], "MODEL": model_folder, "DEVICE": "cpu"}


def inspect(parameters: dict, feedback: QgsProcessingFeedback | None = None, **changes) -> dict:
    import processing

    return processing.run("multimodal:inspect", {**parameters, **changes}, feedback=feedback)


def test_the_real_worker_is_asked_and_answers(parameters: dict) -> None:
    feedback = Said()
    result = inspect(parameters, feedback)
    report = json.loads(result["REPORT"])
    assert result["TILES"] == report["grid"]["tiles"] == 8
    assert result["OVERLAP"] == pytest.approx(1.0)
    log = "\n".join(feedback.lines)
    assert "EPSG:32633" in log
    assert "VV: band 1 of 33UUP" in log
    assert "Read as dB" in log


def test_the_whole_report_is_told_in_words(parameters: dict, inspecting) -> None:
    feedback = Said()
    result = inspect(parameters, feedback)
    assert (result["TILES"], result["TILES_VALID"], result["OVERLAP"]) == (8, 7, 1.0)
    log = "\n".join(feedback.lines)
    for words in (
        "2017-06-13, L2A, 12 bands of 10 m, EPSG:32633",
        "Reflectance x 10000, no offset: processing baseline 02.05",
        "Read as dB, gamma0: medians",
        "2 columns x 4 rows",
        "100 % of Sentinel-2 is covered",
        "8 tiles, about 1 of them to be skipped. It takes about 3 s. The result has about 130 kB.",
    ):
        assert words in log
    warnings = [line for line in feedback.lines if line.startswith("WARNING")]
    assert [("L1C" in line, "12 days" in line) for line in warnings] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize("report", [{}, {"s2": None, "grid": {"transform": "?"}, "overlap": "x"}])
def test_an_answer_that_lacks_everything_is_no_crash(
    parameters: dict, inspecting, report: dict
) -> None:
    inspecting.answer(report=report)
    result = inspect(parameters)
    assert json.loads(result["REPORT"]) == report
    assert result["TILES"] is None


def test_options_and_mask_reach_the_worker(parameters: dict, inspecting, s2_path: str) -> None:
    inspect(
        parameters, S2_OFFSET="-1000", S1_UNIT="db*100", MASK=s2_path, MASK_CLASSES="3, 8,9",
        MAX_CLOUD=0.25, FILL_MISSING=True, MAX_DAYS=3, ANY_PIXEL_SIZE=True,
    )  # fmt: skip
    (order,) = inspecting.orders
    assert order["options"] == {
        "s2_offset": -1000.0, "s1_unit": "db*100", "mask_classes": [3, 8, 9], "max_cloud": 0.25,
        "fill_missing": True, "max_days": 3, "any_pixel_size": True,
    }  # fmt: skip
    assert order["mask"]["path"] == s2_path


def test_defaults_decide_nothing(parameters: dict, inspecting) -> None:
    inspect(parameters)
    (order,) = inspecting.orders
    assert order["options"] == {
        "s2_offset": None, "s1_unit": "auto", "mask_classes": [], "max_cloud": 1.0,
        "fill_missing": False, "max_days": 10, "any_pixel_size": False,
    }  # fmt: skip
    assert order["mask"] is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [("no", False), ("No", False), ("false", False), ("0", False), (0, False), (False, False),
     ("yes", True), ("TRUE", True), ("1", True), (1, True), (True, True)],
)  # fmt: skip
def test_yes_and_no_mean_what_they_say(
    parameters: dict, inspecting, given: object, meant: bool
) -> None:
    inspect(parameters, FILL_MISSING=given, ANY_PIXEL_SIZE=given, MAX_DAYS=2.0)
    (order,) = inspecting.orders
    options = order["options"]
    assert (options["fill_missing"], options["any_pixel_size"]) == (meant, meant)
    assert options["max_days"] == 2


@pytest.mark.parametrize("offset", [-1000, -1000.0, "-1000", "-1000.0"])
def test_an_offset_may_be_any_number(parameters: dict, inspecting, offset: object) -> None:
    inspect(parameters, S2_OFFSET=offset)
    assert inspecting.orders[-1]["options"]["s2_offset"] == -1000.0


def test_lists_and_maps_of_scripts_are_not_lost(parameters: dict, inspecting) -> None:
    inspect(
        parameters, MASK_CLASSES=[3, 8], S1_BANDS={"VV": 2, "VH": 1}, STRIDE="", MASK_BAND=""
    )  # fmt: skip
    (order,) = inspecting.orders
    assert order["options"]["mask_classes"] == [3, 8]
    assert order["s1"][0]["bands"] == {"VV": 2, "VH": 1}
    assert order["stride"] is None
    inspect(parameters, STRIDE=NULL, MASK_BAND=NULL)
    assert inspecting.orders[-1]["stride"] is None


def test_a_band_of_the_mask(parameters: dict, inspecting, s2_path: str) -> None:
    inspect(parameters, MASK=s2_path, MASK_BAND=3)
    assert inspecting.orders[-1]["mask"]["bands"] == {"CLOUD": 3}
    for band in (0, 1.5):
        with pytest.raises(QgsProcessingException, match=r"MASK_BAND.*from 1 on"):
            inspect(parameters, MASK=s2_path, MASK_BAND=band)


@pytest.mark.parametrize(
    ("estimate", "words"),
    [({"seconds": None, "basis": None}, "Time: not known."),
     ({"seconds": 0.04, "basis": "earlier run"}, "It takes about 1 s."),
     ({"seconds": 75, "basis": "earlier run"}, "It takes about 1 min 15 s."),
     ({"seconds": 75, "basis": "reckoned"},
      "It takes roughly 1 min 15 s: a guess before the first run.")],
)  # fmt: skip
def test_the_time_in_words(parameters: dict, inspecting, estimate: dict, words: str) -> None:
    inspecting.answer(report={**inspecting.full, "estimate": estimate, "overlap": 0.999})
    feedback = Said()
    inspect(parameters, feedback)
    log = "\n".join(feedback.lines)
    assert words in log
    assert "99 % of Sentinel-2 is covered" in log, "rounded down, as in the worker's warning"


def test_labels_fit_into_a_narrow_dialog(provider) -> None:
    for name in ("inspect", "classify"):
        for definition in provider.algorithm(name).parameterDefinitions():
            assert len(definition.description()) <= 52, definition.name()


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [("inspect", "looking at the rasters; check them again"),
     ("classify", "Finished tiles are kept; run again")],
)  # fmt: skip
def test_a_worker_that_dies_says_what_it_was_doing(
    parameters: dict, inspecting, tmp_path: Path, algorithm: str, words: str
) -> None:
    import processing

    inspecting.answer(dies=True)
    values = {**parameters, "OUTPUT": str(tmp_path / "x.gpkg")}
    with pytest.raises(QgsProcessingException, match=words) as caught:
        processing.run(f"multimodal:{algorithm}", values)
    assert ("tiles are kept" in str(caught.value)) == (algorithm == "classify")


def test_a_number_does_for_the_offset(parameters: dict, inspecting) -> None:
    for offset in (-1000, 0):
        inspect(parameters, S2_OFFSET=offset)
    assert [order["options"]["s2_offset"] for order in inspecting.orders] == [-1000.0, 0.0]


def test_band_maps_hold_for_every_raster_of_a_mosaic(
    parameters: dict, inspecting, s1_path: str
) -> None:
    inspect(parameters, S1=[s1_path, s1_path], S1_PATH=s1_path, S1_BANDS="VV=1,VH=2")
    (order,) = inspecting.orders
    assert [source["bands"] for source in order["s1"]] == [{"VV": 1, "VH": 2}] * 3


@pytest.mark.parametrize("algorithm", ["inspect", "classify"])
def test_an_open_decision_names_its_parameter(
    parameters: dict, inspecting, tmp_path: Path, algorithm: str
) -> None:
    import processing

    inspecting.answer(decision=OFFSET, report={})
    values = {**parameters, "OUTPUT": str(tmp_path / "x.gpkg")}
    with pytest.raises(QgsProcessingException, match="carry an offset") as caught:
        processing.run(f"multimodal:{algorithm}", values)
    assert "Set the advanced parameter S2_OFFSET to one of: 0, -1000." in str(caught.value)
    assert not (tmp_path / "x.gpkg").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"MASK_CLASSES": "clouds"}, "not like 3,8,9,10"),
        ({"MASK": "/nowhere/mask.tif"}, "MASK.*cloud mask cannot be opened"),
        ({"S2_BANDS": "B99=1"}, "unknown channels: B99"),
        ({"S2_OFFSET": "-77"}, "S2_OFFSET"),
        ({"FILL_MISSING": "maybe"}, "FILL_MISSING.*'maybe' is not valid. Give true or false"),
        ({"ANY_PIXEL_SIZE": 17}, "ANY_PIXEL_SIZE.*'17' is not valid. Give true or false"),
        ({"MAX_DAYS": 2.5}, "MAX_DAYS.*'2.5' is not valid. Give a whole number of days"),
        ({"MAX_DAYS": "2.5"}, "MAX_DAYS.*a whole number of days"),
        ({"MAX_DAYS": 10**12}, "MAX_DAYS.*a whole number of days"),
        ({"BATCH_SIZE": 10**12}, "BATCH_SIZE.*a whole number of tiles"),
        ({"S2_OFFSET": True}, "S2_OFFSET"),
        ({"S1_UNIT": 1}, "S1_UNIT.*one of auto, db"),
        ({"BATCH_SIZE": 1.5}, "BATCH_SIZE.*a whole number of tiles"),
        ({"MASK_BAND": 2}, "MASK_BAND.*choose a cloud mask too"),
        ({"MAX_CLOUD": 3}, "MAX_CLOUD.*from 0 to 1"),
        ({"S2": None}, "No Sentinel-2 raster was given"),
    ],
)
def test_bad_values_are_refused_in_words(
    parameters: dict, inspecting, change: dict, words: str
) -> None:
    with pytest.raises(QgsProcessingException, match=words):
        inspect(parameters, **change)
    assert not inspecting.orders


def test_the_algorithm_is_complete(provider) -> None:
    algorithm = provider.algorithm("inspect")
    assert algorithm.id() == "multimodal:inspect"
    names = {definition.name() for definition in algorithm.parameterDefinitions()}
    classify = {item.name() for item in provider.algorithm("classify").parameterDefinitions()}
    assert names == classify - {"OUTPUT", "JOURNAL", "OVERWRITE"}
    outputs = {output.name() for output in algorithm.outputDefinitions()}
    assert outputs == {"REPORT", "TILES", "TILES_VALID", "OVERLAP"}
    assert "Nothing is computed" in algorithm.shortHelpString()
