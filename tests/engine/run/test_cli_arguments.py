"""Arguments as people write them."""

from __future__ import annotations

from argparse import Namespace
from decimal import Decimal

import pytest

from multimodal.cli import _parser
from multimodal.cli_arguments import job, plain_numbers, sources


def test_band_maps_are_read() -> None:
    given = ["classify", "--s2", "a", "b", "--s2-bands", "b02=1, B8a = 2", "--s1", "c",
             "--model", "m", "--output", "o.gpkg"]  # fmt: skip
    wanted = job(_parser().parse_args(given))
    assert [source.bands for source in wanted.s2] == [{"B02": 1, "B8A": 2}] * 2
    assert wanted.s1[0].bands == {}


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


def test_what_lies_beside_a_raster_is_not_taken_for_one() -> None:
    given = Namespace(s2=["a.tif", "a.tif.aux.xml", "a.tif.ovr", "b.tif.aux.xml"], s2_bands=None)
    assert [source.path for source in sources(given, "s2")] == ["a.tif", "b.tif.aux.xml"]
