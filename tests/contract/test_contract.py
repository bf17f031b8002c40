"""What crosses the pipe: specs, jobs, rows, messages, errors; and the rules they share."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal.contract import messages as m
from multimodal.contract.channels import (
    S2_PRESETS,
    base_bands,
    s1_band_from_text,
    s2_band_from_text,
)
from multimodal.contract.classes import (
    BIGEARTHNET19_NAMES,
    BIGEARTHNET19_ORIGINAL_ORDER,
    default_colors,
    slugify,
)
from multimodal.contract.errors import (
    JobError,
    ModelFolderError,
    MultimodalError,
    NoOverlapError,
    ProtocolError,
    SpecError,
    error_from_dict,
)
from multimodal.contract.job import (
    ClassifyJob,
    RasterSource,
    fingerprint,
    fingerprint_digest,
    job_from_dict,
)
from multimodal.contract.model_folder import read_spec
from multimodal.contract.result import (
    RunSummary,
    TileResult,
    probability_field,
    result_fields,
)
from multimodal.contract.source_identity import (
    source_identity,
    without_credentials,
    without_credentials_in_text,
)
from multimodal.contract.spec import default_spec, spec_from_dict
from multimodal.contract.thresholds import decide

SPEC = default_spec(["Water", "Forest", "Town"])
CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
JOB = ClassifyJob(
    (RasterSource("s2.tif", bands={"B02": 1}),), (RasterSource("s1.tif"),), "model", "out.gpkg"
)


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("B04", "B04"), ("B4", "B04"), ("b8a", "B8A"), ("Red", "B04"), ("band 4", "B04"),
        ("Band_8A", "B8A"), ("T33UUP_20170613T101031_B12_20m", "B12"), ("B1", "B01"),
        ("red edge 1", "B05"), ("SWIR 2", "B12"), ("nir08", "B8A"),
        ("S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57_B01", "B01"),
        ("B04 B03", None), ("quality", None), ("B13", None), ("", None), ("VV", None),
    ],
)  # fmt: skip
def test_s2_bands_are_found_by_name(text: str, band: str | None) -> None:
    assert s2_band_from_text(text) == band


@pytest.mark.parametrize(
    ("text", "band"),
    [("VV", "VV"), ("sigma0_vh_db", "VH"), ("S1A_IW_33UUP_26_57_VV", "VV"), ("HH", "HH"),
     ("VV/VH", None), ("ratio", None)],
)  # fmt: skip
def test_s1_bands_are_found_by_name(text: str, band: str | None) -> None:
    assert s1_band_from_text(text) == band


def test_presets_start_with_rgb_and_need_each_band_once() -> None:
    for names in S2_PRESETS.values():
        assert names[:3] == ("B04", "B03", "B02")
    assert len(S2_PRESETS["s2-14"]) == 14
    assert sorted(base_bands(S2_PRESETS["s2-14"])) == sorted(S2_PRESETS["s2-12"])


def test_the_19_classes_in_both_orders() -> None:
    assert sorted(BIGEARTHNET19_NAMES) == list(BIGEARTHNET19_NAMES)
    assert sorted(BIGEARTHNET19_ORIGINAL_ORDER) == list(BIGEARTHNET19_NAMES)
    assert BIGEARTHNET19_ORIGINAL_ORDER[:2] == ("Urban fabric", "Industrial or commercial units")


def test_slugs_are_short_unique_and_never_a_fixed_field() -> None:
    names = ["Größe", "class", "FID", "Wald", "wald!", "x" * 80, "x" * 81, "水"]
    slugs = slugify(names)
    assert len(set(slugs)) == len(names)
    assert all(slug.isascii() and slug.isidentifier() and len(slug) <= 40 for slug in slugs)
    assert slugs[0] == "grosse"
    assert slugs[-1] == "class_7"
    fields = [field.name.lower() for field in result_fields(default_spec(BIGEARTHNET19_NAMES))]
    assert len(set(fields)) == len(fields) == 13 + 19


def test_default_colors_are_distinct() -> None:
    assert len(set(default_colors(40))) == 40


def test_spec_survives_json() -> None:
    spec = replace(SPEC, provenance={"by": "x"}, metrics={"ap": 0.5}, temperature=1.5)
    assert spec_from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"thresholds": [0.5]}, "3 classes need as many thresholds"),
        ({"thresholds": [0.5, 0.5, 2]}, "between 0 and 1"),
        ({"thresholds": [0.5, True, 0.5]}, "list of numbers"),
        ({"task": "regression"}, "multilabel, multiclass"),
        ({"temperature": 0}, "positive"),
        ({"format_version": 99}, "update the plugin"),
        ({"classes": []}, "at least 2"),
        ({"s1": "VV"}, "must be list"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(change: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec_from_dict({**SPEC.to_dict(), **change})


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 200])
def test_class_names_are_short_and_printable(name: str) -> None:
    with pytest.raises(SpecError):
        default_spec(["Water", name])


def test_rgb_must_come_first() -> None:
    payload = SPEC.to_dict()
    payload["s2"] = payload["s2"][::-1]
    with pytest.raises(SpecError, match="B04, B03, B02"):
        spec_from_dict(payload)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "not a model folder"), ("{", "cannot be read"), ("[]", "JSON object"),
     ("{}", "model of another program")],
)  # fmt: skip
def test_a_damaged_model_folder_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelFolderError, match=words):
        read_spec(tmp_path)


@pytest.mark.parametrize("change", [{"thresholds": [0.5]}, {"format_version": 99}, {"s2": None}])
def test_a_wrong_spec_names_its_folder_and_what_to_do(tmp_path: Path, change: dict) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"spec": {**SPEC.to_dict(), **change}}))
    with pytest.raises(ModelFolderError) as caught:
        read_spec(tmp_path)
    assert caught.value.message.startswith(f"config.json in '{tmp_path}' does not describe")
    assert "Copy the folder again from its origin, or save the model again" in caught.value.message


def test_multilabel_decision() -> None:
    decision = decide((0.9, 0.6, 0.1), SPEC)
    assert decision.class_name == "Water"
    assert decision.labels == ("Water", "Forest")
    assert decision.margin == pytest.approx(0.1)
    assert 0 < decision.entropy < 1


def test_no_class_over_its_threshold_is_legal() -> None:
    decision = decide((0.2, 0.4, 0.1), SPEC)
    assert (decision.class_name, decision.confidence, decision.labels) == ("Forest", 0.4, ())


def test_entropy_is_1_at_most_doubt_and_0_at_none() -> None:
    assert decide((0.5, 0.5, 0.5), SPEC).entropy == pytest.approx(1)
    assert decide((1.0, 0.0, 0.0), SPEC).entropy == 0
    multiclass = replace(SPEC, task="multiclass")
    assert decide((1 / 3, 1 / 3, 1 / 3), multiclass).entropy == pytest.approx(1)
    decision = decide((0.7, 0.2, 0.1), multiclass)
    assert decision.margin == pytest.approx(0.5)
    assert decision.entropy == pytest.approx(
        -sum(p * math.log(p) for p in (0.7, 0.2, 0.1)) / math.log(3)
    )


def test_row_has_every_field_in_order_and_none_where_skipped() -> None:
    names = [field.name for field in result_fields(SPEC)]
    row = TileResult(5, 1, 2, CORNERS, "ok", (0.9, 0.6, 0.1), 1.0, 0.9)
    assert len(row.values(SPEC)) == len(names)
    values = dict(zip(names, row.values(SPEC)))
    assert (values["tile_id"], values["row"], values["col"]) == (5, 1, 2)
    assert (values["class"], values["confidence"]) == ("Water", 0.9)
    assert (values["valid_s2"], values["valid_s1"], values["cloud"]) == (1.0, 0.9, None)
    assert values["labels"] == "Water; Forest"
    assert values["n_labels"] == 2
    assert values[probability_field("forest")] == 0.6
    skipped = dict(
        zip(names, TileResult(6, 1, 3, CORNERS, "skipped: x", None, 0.1, 0.0).values(SPEC))
    )
    assert list(skipped) == names
    assert (skipped["status"], skipped["valid_s2"]) == ("skipped: x", 0.1)
    assert skipped["class"] is None
    assert skipped["p_water"] is None


SUMMARY = RunSummary("o.gpkg", 2, 1, 1, "cpu", "fp32", 1.5, 2.0, "complete", {"x": 1}, ("w",))
MESSAGES = [
    m.Hello(1, "0.1", "3.11", 5, "w.log"), m.Classify(JOB), m.Cancel(), m.Shutdown(),
    m.Heartbeat("reading", 4.0),
    m.Phase("open", "Opening"), m.Plan(3, 2, "WKT", "cpu", "fp32", 16),
    m.Rows((TileResult(1, 0, 1, CORNERS, "ok", (0.1, 0.2, 0.7), 1.0, 1.0, None),
            TileResult(2, 0, 2, CORNERS, "skipped: x", None, 0.0, 1.0, 0.5))),
    m.Progress(1, 2, 3.5, None), m.Progress(1, 2, 3.5, 0.25), m.Log("warning", "ä\n\"x\""),
    m.Finished(SUMMARY),
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=lambda x: type(x).__name__)
def test_messages_survive_the_pipe_on_one_line(message: m.Message) -> None:
    line = m.encode(message, "job-1")
    assert "\n" not in line
    assert m.decode(line) == ("job-1", message)


def test_errors_are_rebuilt_from_their_code() -> None:
    _, message = m.decode(m.encode(m.Failed(NoOverlapError("Apart.", distance=3)), "j"))
    assert isinstance(message, m.Failed)
    assert isinstance(message.error, NoOverlapError)
    assert (message.error.message, message.error.details) == ("Apart.", {"distance": 3})
    assert type(error_from_dict({"code": "from the future"})) is MultimodalError


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in MultimodalError.__subclasses__()]
    assert len(set(codes)) == len(codes)
    assert "error" not in codes


@pytest.mark.parametrize(
    "line",
    ["", "x", "[]", "{}", '{"type": "hello"}', '{"type": "no", "job": "", "payload": {}}',
     '{"type": "hello", "job": "", "payload": {"protocol": "1"}}',
     '{"type": "rows", "job": "", "payload": {"rows": [{"tile_id": 1, "corners": [[0]]}]}}',
     '{"type": "progress", "job": "", "payload": {"done": true}}',
     '{"type": "heartbeat", "job": "", "payload": {"phase": "", "quiet_seconds": NaN}}',
     '{"type": "heartbeat", "job": "", "payload": {"phase": "", "quiet_seconds": 1e999}}',
     '{"type": "heartbeat", "job": "", "payload": {"phase": null, "quiet_seconds": 1}}'],
)  # fmt: skip
def test_what_is_no_message_is_a_protocol_error(line: str) -> None:
    with pytest.raises(ProtocolError):
        m.decode(line)


@pytest.mark.parametrize("key", ["metrics", "provenance"])
def test_numbers_that_are_none_become_null(key: str) -> None:
    given = {"ap": math.nan, "by class": [0.5, math.inf, {"x": -math.inf}], "seed": 1}
    expected = {"ap": None, "by class": [0.5, None, {"x": None}], "seed": 1}
    spec = replace(SPEC, **{key: given})
    assert getattr(spec, key) == expected
    assert math.isnan(given["ap"])
    read = spec_from_dict(json.loads(json.dumps({**SPEC.to_dict(), key: given})))
    assert read == spec
    json.dumps(read.to_dict(), allow_nan=False)


def test_nan_never_crosses() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        m.encode(m.Progress(1, 2, math.nan, None))


@pytest.mark.parametrize(
    "change",
    [{"s2": ()}, {"model": ""}, {"output": ""}, {"stride": 0}, {"device": "gpu"},
     {"precision": "half"}, {"batch_size": -1}, {"min_valid": 1.5}],
)  # fmt: skip
def test_an_impossible_job_is_refused(change: dict) -> None:
    with pytest.raises(JobError):
        replace(JOB, **change)


def test_band_maps_are_checked() -> None:
    with pytest.raises(JobError, match="B99"):
        RasterSource("x.tif", bands={"B99": 1})
    with pytest.raises(JobError, match="from 1"):
        RasterSource("x.tif", bands={"B02": 0})


def test_job_from_a_stranger_is_checked() -> None:
    with pytest.raises(JobError, match="stride"):
        job_from_dict({**JOB.to_dict(), "stride": "many"})


def test_fingerprint_sees_what_changes_a_result_and_nothing_else(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"spec": SPEC.to_dict()}))
    (model / "model.safetensors").touch()
    scene = tmp_path / "s2.tif"
    scene.write_bytes(b"1")
    job = replace(JOB, s2=(RasterSource(str(scene)),), model=str(model))
    first = fingerprint_digest(fingerprint(job))
    same = replace(job, output="other.gpkg", device="cpu", batch_size=3, overwrite=True)
    assert fingerprint_digest(fingerprint(same)) == first
    # The stride that is the default anyway.
    assert fingerprint_digest(fingerprint(replace(job, stride=SPEC.tile_size))) == first
    assert fingerprint_digest(fingerprint(replace(job, stride=60))) != first
    assert fingerprint_digest(fingerprint(replace(job, min_valid=0.5))) != first
    scene.write_bytes(b"12")
    assert fingerprint_digest(fingerprint(job)) != first
    before = fingerprint(job)
    (model / "config.json").write_text(json.dumps({"spec": SPEC.to_dict(), "image_size": 1}))
    assert {key for key, value in fingerprint(job).items() if value != before[key]} == {"model"}


def test_a_very_long_name_takes_no_time() -> None:
    start = time.monotonic()
    for name in ("a" * 8000, f"{'a' * 8000}://x", "password" * 1000):
        assert without_credentials(name) == without_credentials_in_text(name) == name
    assert time.monotonic() - start < 1


SIDECAR = """<PAMDataset>
  <PAMRasterBand band="1">
    <Description>{name}</Description>
    <Histograms><HistItem><HistCounts>1|2</HistCounts></HistItem></Histograms>
    <Metadata><MDI key="STATISTICS_MEAN">12.5</MDI></Metadata>{more}
  </PAMRasterBand>
</PAMDataset>"""
OWN_NAME = b'<Item name="DESCRIPTION" sample="0" role="description">B02</Item>'


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("<PAMDataset/>", False),
        (SIDECAR.format(name="B02", more=""), False),
        (SIDECAR.format(name="B03", more=""), True),
        (SIDECAR.format(name="B02", more="<NoDataValue>0</NoDataValue>"), True),
        ("<PAMDataset><SRS>EPSG:4326</SRS></PAMDataset>", True),
    ],
)
def test_what_qgis_notes_when_it_draws_a_raster_makes_no_other_run(
    tmp_path: Path, text: str, counts: bool
) -> None:
    raster = tmp_path / "s2.tif"
    raster.write_bytes(b"II*" + OWN_NAME)
    before = source_identity(str(raster))
    raster.with_name("s2.tif.aux.xml").write_text(text)
    assert (source_identity(str(raster)) != before) == counts


def test_what_a_source_is_made_of_counts(tmp_path: Path) -> None:
    folder, band = tmp_path / "scene", tmp_path / "scene" / "R10m" / "B02.jp2"
    band.parent.mkdir(parents=True)
    band.write_bytes(b"1")
    (folder / "MTD_MSIL2A.xml").write_text("<a/>")
    vrt = tmp_path / "all.vrt"
    vrt.write_text('<SourceFilename relativeToVRT="1">scene/R10m/B02.jp2</SourceFilename>')
    manifest = folder / "manifest.safe"
    manifest.write_text("<a/>")
    sources = [str(folder), str(folder / "MTD_MSIL2A.xml"), str(manifest), str(vrt), str(band)]
    before = [source_identity(source) for source in sources]
    band.with_name("B02.jp2.aux.xml").write_text(SIDECAR.format(name="B02", more=""))
    assert [a != b for a, b in zip(before, map(source_identity, sources))] == [
        True, True, True, False, True,
    ]  # fmt: skip
    band.write_bytes(b"12")
    assert source_identity(str(vrt)) != before[2]


@pytest.mark.parametrize("name", ["/vsizip/{}/a/B02.tif", "/vsizip/{}", 'NETCDF:"{}":B02'])
def test_the_file_behind_a_gdal_name_counts(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "scene.zip"
    archive.write_bytes(b"1")
    before = source_identity(name.format(archive))
    assert before["size"] == 1
    archive.write_bytes(b"12")
    assert source_identity(name.format(archive)) != before
    assert source_identity(name.format(archive))["path"] == name.format(archive)


def test_urls_differ_by_what_they_ask_for_and_not_by_their_login() -> None:
    url = "/vsicurl?url=https://example.org/{}.tif&token={}"
    first = source_identity(url.format("a", "secret"))
    assert "secret" not in str(first)
    assert first == source_identity(url.format("a", "other"))
    assert first != source_identity(url.format("b", "secret"))


def test_an_error_is_told_whatever_it_carries(tmp_path: Path) -> None:
    error = NoOverlapError("Apart.", path=tmp_path, share=float("nan"), parts=({1: (2,)},))
    _, message = m.decode(m.encode(m.Failed(error), "j"))
    assert message.error.details == {
        "path": str(tmp_path), "share": "nan", "parts": [{"1": [2]}],
    }  # fmt: skip


@pytest.mark.parametrize(("part", "unit"), [("s2", "reflectance"), ("s1", "linear")])
def test_units_that_nobody_prepares_are_refused(part: str, unit: str) -> None:
    payload = SPEC.to_dict()
    payload[part][0]["unit"] = unit
    with pytest.raises(SpecError, match=f"is in '{unit}', but only"):
        spec_from_dict(payload)


def test_credentials_are_dropped() -> None:
    url = "/vsicurl/https://user:secret@example.org/s2.tif?token=abc"
    assert without_credentials(url) == "/vsicurl/https://example.org/s2.tif"
    assert without_credentials("C:/data/why?.tif") == "C:/data/why?.tif"
    for name in ("https://example.org/a@2x.tif", "/data/me@home/a.tif", "s3://bucket/k=v/a.tif"):
        assert without_credentials(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "PG:host=h dbname=d user=u password=S3CR {}",
        "PG:host=h password = 'S3CR ET\\\' CR' dbname='{}'",
        "PG:password='it''s S3CR' {}", "PG:PASSWORD=S3CR\\ CR {}", "PG:x {} password='S3CR CR",
        "postgresql://user:S3CR@h/{}", "MSSQL:server=h;UID=u;PWD=S3CR;{}",
        "https://user:S3CR@CR@h/{}.tif", "https://user:S3CR/CR@h/{}.tif",
        "https://me@mail.org:S3CR/?CR@h/{}.tif", "/vsicurl/https://u:S3CR #CR@h/{}.tif?sig=S3CR",
        "https://S3CR@h/{}.tif", "georaster:scott/S3CR@{}",
    ],
)  # fmt: skip
def test_passwords_of_any_form_are_never_shown(name: str) -> None:
    shown = without_credentials(name.format("place"))
    assert "CR" not in shown
    assert "place" in shown or ";" in name
    identity = source_identity(name.format("place"))
    assert "CR" not in json.dumps(identity)
    assert identity["name"] == source_identity(name.replace("S3CR", "S3").format("place"))["name"]
    sentence = without_credentials_in_text(f"no file {name.format('place')}")
    assert " #" in name or "CR" not in sentence


@pytest.mark.parametrize(
    "text", ["<Histograms>", "<a>", "<a" * 3, "<?xml", '<MDI key="STATISTICS_']
)
def test_a_sidecar_that_repeats_itself_takes_no_time(tmp_path: Path, text: str) -> None:
    raster = tmp_path / "s2.tif"
    raster.write_bytes(b"II*" + OWN_NAME)
    raster.with_name("s2.tif.aux.xml").write_text(text * (1_000_000 // len(text)))
    start = time.monotonic()
    assert source_identity(str(raster))
    assert time.monotonic() - start < 5


def test_a_sidecar_of_any_size_and_a_name_of_any_length(tmp_path: Path) -> None:
    raster = tmp_path / f"{'n' * 251}.tif"
    raster.write_bytes(b"1")
    assert source_identity(str(raster))["size"] == 1
    other = tmp_path / "s2.tif"
    other.write_bytes(b"1")
    with other.with_name("s2.tif.aux.xml").open("wb") as stream:
        stream.truncate(10**10)  # sparse
    assert "parts" in source_identity(str(other))


@pytest.mark.parametrize(
    "tag",
    ['<SourceDataset relativeToVRT="1">a.tif</SourceDataset>',
     "<SourceDataset relativetoVRT='1'>a.tif</SourceDataset>",
     '<SourceFilename shared="0" relativeToVRT = "1" >a.tif</SourceFilename>'],
)  # fmt: skip
def test_what_a_virtual_raster_warps_counts(tmp_path: Path, tag: str) -> None:
    vrt, file = tmp_path / "warped.vrt", tmp_path / "a.tif"
    file.write_bytes(b"1")
    vrt.write_text(f"<VRTDataset>{tag}</VRTDataset>")
    before = source_identity(str(vrt))
    file.write_bytes(b"12")
    assert source_identity(str(vrt)) != before
