"""Whatever stands on the pipe, it is a message or a ProtocolError, on both ends."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multimodal.contract import messages as m
from multimodal.contract.errors import MultimodalError, NoOverlapError, ProtocolError
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.lines import lines_of
from multimodal.contract.redaction import redacted
from multimodal.contract.result import RunSummary, TileResult

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
JOB = ClassifyJob((RasterSource("s2.tif", bands={"B02": 1}),), (RasterSource("s1.tif"),), "m", "o")
CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
SUMMARY = RunSummary("o", 2, 1, 1, "cpu", "fp32", 1.5, 2.0, "complete", {"x": 1}, ("w",))
MESSAGES = [
    m.Hello(2, "0.1", "3.11", 5, ""), m.Classify(JOB),
    m.Inspect(replace(JOB, mask=RasterSource("m"))), m.Cancel(), m.Shutdown(),
    m.Phase("open", "Opening"), m.Plan(3, 2, "WKT", "cpu", "fp32", 16),
    m.Rows((TileResult(1, 0, 1, CORNERS, "ok", (0.1, 0.9), 1.0, 1.0, 0.5),)),
    m.Progress(1, 2, 3.5, None), m.Log("warning", "w"), m.Heartbeat("p", 1.0),
    m.Finished(SUMMARY), m.Inspected({"a": [1]}), m.Failed(NoOverlapError("Apart.", distance=3)),
]  # fmt: skip

# Also halves of surrogate pairs, numbers that no float holds, and keys of Python's own.
texts = st.text(st.characters(), max_size=8) | st.sampled_from(["self", "message", "__class__"])
numbers = st.integers() | st.sampled_from([10**400, -(2**63) - 1]) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


def check(line: str) -> None:
    """Read a line as both ends do; what is understood can be written again."""
    try:
        job, message = m.decode(line)
    except MultimodalError:
        return
    assert m.decode(m.encode(message, job))[0] == job


@FUZZ
@given(st.binary(max_size=300))
def test_bytes(data: bytes) -> None:
    for line in lines_of(io.BytesIO(data), 20):
        if line is not None:
            check(line)


@FUZZ
@given(st.sampled_from(sorted(m._READERS)) | texts, values, values)
def test_any_payload(kind: str, job: Any, payload: Any) -> None:
    check(json.dumps({"type": kind, "job": job, "payload": payload}))


@FUZZ
@given(st.sampled_from(MESSAGES), st.data())
def test_one_wrong_value_in_a_right_message(message: m.Message, data: st.DataObject) -> None:
    whole = json.loads(m.encode(message, "j"))
    holder, key = data.draw(st.sampled_from(list(places(whole))))
    if data.draw(st.booleans()) and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = data.draw(values)
    check(json.dumps(whole))


def places(value: Any) -> Any:
    """Yield (holder, key) of everything in a value."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


@FUZZ
@given(st.sampled_from(MESSAGES), st.data())
def test_a_message_that_is_cut_or_changed(message: m.Message, data: st.DataObject) -> None:
    line = m.encode(message, "j")
    at = data.draw(st.integers(0, len(line) - 1))
    check(line[:at] + data.draw(texts) + line[at + data.draw(st.integers(0, 9)) :])


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [500, 100_000])
def test_deep_nesting(bracket: str, depth: int) -> None:
    nest = bracket * depth + "1" + ("]" if bracket == "[" else "}") * depth
    check(nest)
    for kind in m._READERS:
        check(
            f'{{"type":"{kind}","job":"","payload":{{"details":{nest},"report":{{"x":{nest}}}}}}}'
        )


@pytest.mark.parametrize(
    "number", ["9" * 5000, "1e999", "-1e999", "NaN", "Infinity", "1" + "0" * 400]
)
def test_numbers_that_are_none(number: str) -> None:
    line = f'{{"type":"heartbeat","job":"","payload":{{"phase":"","quiet_seconds":{number}}}}}'
    with pytest.raises(ProtocolError):
        m.decode(line)


def test_half_a_character_in_a_file_name_survives() -> None:
    """So Python writes a file name on Linux that is no UTF-8."""
    job = replace(JOB, output="/data/\udcff.gpkg")
    assert m.decode(m.encode(m.Classify(job), "j")) == ("j", m.Classify(job))


@FUZZ
@given(st.text(max_size=200))
def test_any_text_can_be_redacted(text: str) -> None:
    assert isinstance(redacted(text), str)
