"""Arguments as people write them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from multimodal.cli import _parser
from multimodal.cli_arguments import band_map, job, plain_numbers
from multimodal.contract.errors import JobError


def test_band_maps_in_any_case() -> None:
    assert band_map("b02=1, B8a = 2,vv=3") == {"B02": 1, "B8A": 2, "VV": 3}
    assert band_map(None) == band_map("") == {}


@pytest.mark.parametrize("text", ["B02=1,B02=2", "B02=1,b02=1"])
def test_a_channel_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="B02 stands twice"):
        band_map(text)


@pytest.mark.parametrize("text", ["B02", "B02=", "=1", "B02=x", "B02=1=2", "B02=-1", "B02=²", ","])
def test_a_band_map_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(JobError, match="is not like B02=1,B03=2"):
        band_map(text)


@pytest.mark.parametrize("west", ["-1e6", "-1E+6", "-1.0e6", "-1000000", "-1000000."])
def test_an_extent_may_begin_with_a_minus(west: str) -> None:
    given = ["classify", "--s2", "a", "--model", "m", "--output", "o.gpkg", "--extent"]
    options = _parser().parse_args(plain_numbers([*given, west, "-2.5e-3", "1e6", "2"]))
    assert options.extent == [-1e6, -2.5e-3, 1e6, 2.0]
    assert job(options).extent_wkt.startswith("POLYGON ((-1000000.0 -0.0025,")


def test_other_arguments_stay_as_they_are() -> None:
    for text in ("-5", "--json", "-x", "a-1e6", "1e6", "-e5", "-1e9999", "-inf"):
        written = plain_numbers([text])[0]
        assert written == text or Decimal(written) == Decimal(text)
