"""Band maps as people write them."""

from __future__ import annotations

import pytest

from multimodal.contract.band_map import read_band_map
from multimodal.contract.errors import JobError


def test_channels_in_any_case() -> None:
    read = read_band_map("b02=1, B8a = 2,vv=3,Cloud=4")
    assert read == {"B02": 1, "B8A": 2, "VV": 3, "CLOUD": 4}


def test_an_unknown_channel_stays_as_it_was_written() -> None:
    assert read_band_map("Red=1") == {"Red": 1}


@pytest.mark.parametrize("text", ["", "  "])
def test_a_blank_text_is_an_empty_map(text: str) -> None:
    assert read_band_map(text) == {}


@pytest.mark.parametrize("text", ["B02=1,B03=2,", ",B02=1,,B03=2", "B02=1,B03=2, "])
def test_a_comma_too_many_is_let_go(text: str) -> None:
    assert read_band_map(text) == {"B02": 1, "B03": 2}


@pytest.mark.parametrize("text", ["B02=1,B02=2", "B02=1,b02=1"])
def test_a_channel_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(JobError, match=f"B02 stands twice in the band map '{text}'"):
        read_band_map(text)


@pytest.mark.parametrize(
    "piece",
    ["B02", "B02=", "=1", "B02=x", "B02=1=2", "B02=-1", "B02=²", "B02=٣", "B02=123456789", "B02:1"],
)
def test_another_form_is_told_where_and_what_to_write(piece: str) -> None:
    said = rf"'B03=2, {piece}' is not understood at '{piece}': write channel=band number, as in B02"
    with pytest.raises(JobError, match=said):
        read_band_map(f"B03=2, {piece}")


def test_nothing_but_commas_is_refused() -> None:
    with pytest.raises(JobError, match="is not understood at ', ,'"):
        read_band_map(", ,")
