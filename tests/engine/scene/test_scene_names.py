"""Bands by every name that providers give them: descriptions, tags, STAC, wavelengths, files."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.shutil import copy as copy_raster
from scipy.io import netcdf_file

from multimodal.contract import stac_item
from multimodal.contract.channels import CENTRAL_WAVELENGTHS, S2_BANDS, s2_band_from_text
from multimodal.contract.errors import DecisionError, JobError, SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.json_file import read_json_file
from multimodal.contract.spec import ModelSpec
from multimodal.scene import open_scene
from multimodal.scene.sources import find_bands
from multimodal.scene.stac import stac_asset

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]
Pair = tuple[RasterSource, RasterSource]

# As each provider names the twelve bands of Level-2A, in the order of S2_BANDS.
PROVIDERS = {
    "earth engine": ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"),
    "element84": ("coastal", "blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir",
                  "nir08", "nir09", "swir16", "swir22"),
    "planetary computer": S2_BANDS,
    "gdal driver": ("B1, central wavelength 443 nm", "B2, central wavelength 490 nm",
                    "B3, central wavelength 560 nm", "B4, central wavelength 665 nm",
                    "B5, central wavelength 705 nm", "B6, central wavelength 740 nm",
                    "B7, central wavelength 783 nm", "B8, central wavelength 842 nm",
                    "B8A, central wavelength 865 nm", "B9, central wavelength 945 nm",
                    "B11, central wavelength 1610 nm", "B12, central wavelength 2190 nm"),
    "wavelengths": tuple(f"central wavelength {nm} nm" for nm in (
        443, 490, 560, 665, 705, 740, 783, 842, 865, 945, 1610, 2190)),
    "micrometres": tuple(f"wavelength: {um} um" for um in (
        0.4427, 0.4924, 0.5598, 0.6646, 0.7041, 0.7405, 0.7828, 0.8328, 0.8647, 0.9451, 1.6137,
        2.2024)),
    "granules": tuple(f"T33UUP_20170613T101031_{name}_10m" for name in S2_BANDS),
    "words": ("Coastal aerosol", "Blue", "Green", "Red", "Vegetation red edge 1",
              "Vegetation red edge 2", "Vegetation red edge 3", "Near infrared", "Narrow NIR",
              "Water vapour", "SWIR 1", "SWIR 2"),
    "eo common names": ("coastal", "blue", "green", "red", "rededge071", "rededge075",
                        "rededge078", "nir", "nir08", "nir09", "swir16", "swir22"),
}  # fmt: skip


def found(source: RasterSource, sensor: str = "s2") -> dict[str, tuple[int, str]]:
    wanted = S2_BANDS if sensor == "s2" else ("VV", "VH")
    bands = find_bands([source], sensor, wanted).bands
    return {name: (band.index, band.found_by) for name, band in bands.items()}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_descriptions_of_providers(provider: str, write_raster: Write, optical: Make) -> None:
    order = np.random.default_rng(3).permutation(12)
    names = [PROVIDERS[provider][place] for place in order]
    source = write_raster("s2.tif", optical(8, 8)[order], tuple(names))
    expected = {
        S2_BANDS[place]: (number, "description") for number, place in enumerate(order, start=1)
    }
    assert found(source) == expected


@pytest.mark.parametrize(
    "text",
    ["B04 B08", "quality", "nir and red", "NDVI", "band", "rededge", "wavelength 600 nm", ""],
)
def test_what_names_no_band_or_two_is_not_guessed(text: str) -> None:
    assert s2_band_from_text(text) is None


def test_wavelength_tags_of_envi_files(write_raster: Write, optical: Make) -> None:
    for unit, factor in (("Nanometers", 1.0), ("Micrometers", 1e-3), ("", 1e-3)):
        source = write_raster("envi.tif", optical(8, 8))
        with rasterio.open(source.path, "r+") as dataset:
            for number, name in enumerate(S2_BANDS, start=1):
                tags = {"wavelength": str(CENTRAL_WAVELENGTHS[name] * factor)}
                dataset.update_tags(number, **tags, wavelength_units=unit)
        assert found(source) == {
            name: (number, "wavelength") for number, name in enumerate(S2_BANDS, start=1)
        }


def item(asset: dict[str, Any], **properties: Any) -> str:
    return json.dumps(
        {"type": "Feature", "stac_version": "1.0.0", "collection": "sentinel-2-l2a",
         "properties": {"datetime": "2023-05-04T10:00:00Z", **properties},
         "assets": {"thumbnail": {"href": "x.jpg"}, "data": asset}}
    )  # fmt: skip


@pytest.mark.parametrize("style", ["eo:bands", "bands", "wavelengths"])
def test_a_stac_item_beside_the_raster(
    style: str, write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    source = write_raster("scene.tif", optical(8, 8))
    if style == "wavelengths":
        bands = [{"center_wavelength": CENTRAL_WAVELENGTHS[name] / 1000} for name in S2_BANDS]
    else:
        bands = [{"name": name} for name in S2_BANDS]
    key = "bands" if style == "bands" else "eo:bands"
    asset = {"href": "https://example.org/a/scene.tif?sig=x", key: bands}
    (tmp_path / "anything.json").write_text(item(asset))
    (tmp_path / "rubbish.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    names = find_bands([source], "s2", S2_BANDS)
    assert [band.index for band in names.bands.values()] == list(range(1, 13))
    assert {band.found_by for band in names.bands.values()} == {"STAC item"}
    assert (names.level, names.dates) == ("L2A", ("2023-05-04",))


@pytest.mark.parametrize(
    ("properties", "raster_bands", "offset"),
    [
        ({"s2:processing_baseline": "05.09"}, [], -1000),
        ({"s2:processing_baseline": "02.05"}, [], 0),
        ({}, [{"scale": 0.0001, "offset": -0.1}], -1000),
        ({"earthsearch:boa_offset_applied": True}, [{"scale": 0.0001, "offset": -0.1}], 0),
    ],
    ids=["since 04.00", "before", "raster:bands", "removed by Element84"],
)
def test_the_offset_of_a_stac_item(
    properties: dict, raster_bands: list, offset: float,
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec, tmp_path: Path,
) -> None:  # fmt: skip
    low = 1300 if offset else 60
    source = write_raster("scene.tif", optical(low=low), nodata=0)
    bands = [{"name": name} for name in S2_BANDS]
    asset = {"href": "./scene.tif", "eo:bands": bands, "raster:bands": raster_bands}
    (tmp_path / "scene.json").write_text(item(asset, **properties))
    with open_scene([source], [pair[1]], spec) as scene:
        described = scene.describe()
    assert described["s2"]["offset"] == pytest.approx(offset)
    assert "scene.json" in described["s2"]["evidence"]


def test_an_item_is_read_once_for_all_rasters_of_a_folder(
    write_raster: Write, optical: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}.tif" for number in range(4)]
    sources = [write_raster(name, optical(8, 8)[:1]) for name in names]
    assets = {f"B0{number + 2}": {"href": name} for number, name in enumerate(names)}
    file = tmp_path / "item.json"
    file.write_text(json.dumps({"stac_version": "1.0.0", "assets": assets}))
    (tmp_path / "a.json").write_text("{")
    read: list[str] = []
    monkeypatch.setattr(
        stac_item, "read_json_file",
        lambda path, limit: read.append(path.name) or read_json_file(path, limit),
    )  # fmt: skip
    for _ in range(2):
        assert set(find_bands(sources, "s2", S2_BANDS).parts[0].bands) == set(assets)
    assert sorted(read) == ["a.json", "item.json"]
    file.write_text("{}")
    assert stac_asset(sources[0].path) is None, "a changed item is read again"


@pytest.mark.parametrize("href", ["./old_scene.tif", "s3://b/scene.tif/x", "", "scene.tif.png"])
def test_an_asset_of_another_file_says_nothing(
    href: str, write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    source = write_raster("scene.tif", optical(8, 8))
    bands = [{"name": name} for name in S2_BANDS]
    (tmp_path / "a.json").write_text(item({"href": href, "eo:bands": bands}))
    assert stac_asset(source.path) is None


def test_an_asset_may_be_escaped_as_an_address(write_raster: Write, optical: Make) -> None:
    source = write_raster("a b%20.tif", optical(8, 8))
    folder = Path(source.path).parent
    for href in ("https://x.org/y/a%20b%2520.tif?sig=1", "C:\\y\\a b%20.tif"):
        (folder / "a.json").write_text(item({"href": href}))
        assert stac_asset(source.path) is not None


@pytest.mark.parametrize(
    ("properties", "band"),
    [
        ({}, {"offset": math.nan, "scale": 1e-4}),
        ({}, {"offset": -math.inf, "scale": 1e-4}),
        ({}, {"offset": -0.1, "scale": 1e-320}),
        ({}, {"offset": -0.1, "scale": math.inf}),
        ({}, {"offset": 10**400, "scale": 1e-4}),
        ({"s2:processing_baseline": "nan"}, {}),
        ({"s2:processing_baseline": None}, {"center_wavelength": 10**400}),
    ],
)
def test_numbers_of_an_item_that_are_none_say_nothing(
    properties: dict, band: dict, write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    source = write_raster("scene.tif", optical(8, 8))
    asset = {"href": "scene.tif", "eo:bands": [band], "raster:bands": [band]}
    (tmp_path / "a.json").write_text(item(asset, **properties))
    described = stac_asset(source.path)
    assert described is not None
    assert described.product.offset is None


@pytest.mark.parametrize(
    ("unit", "place", "day"),
    [
        ("days since 1990-01-01", 11_851, "2022-06-13"),
        ("days since 2021-01-01", 500, "2022-05-16"),
        ("hours since 1970-1-1 12:00:00", 459_708, "2022-06-12"),
        ("seconds since 1970-01-01T00:00:00Z", 1_655_114_400, "2022-06-13"),
        ("fortnights since 2021-01-01", 3, None),
        ("days since 2021-13-01", 3, None),
        ("days since 2021-01-01", 1e300, None),
        ("metres", 3, None),
    ],
)
@pytest.mark.parametrize("axis", ["t", "time"])
def test_the_date_of_a_time_axis(
    axis: str, unit: str, place: float, day: str | None, optical: Make, tmp_path: Path
) -> None:
    path = tmp_path / "cube.nc"
    _write_netcdf(path, optical(8, 8)[:2], ("B02", "B03"), {axis: (unit, [place])})
    bands = find_bands([RasterSource(str(path))], "s2", S2_BANDS).bands
    assert {name: band.date for name, band in bands.items()} == {"B02": day, "B03": day}


def test_the_date_of_the_file_behind_a_virtual_band(
    write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    files = [
        write_raster(f"d/T33UUP_2022061{n}T101031_{name}.tif", optical(8, 8)[:1], (name,)).path
        for n, name in enumerate(("B02", "B03"))
    ]
    source = virtual(tmp_path / "20240101.vrt", *files, options=("-separate",))
    bands = find_bands([source], "s2", S2_BANDS).bands
    assert {name: band.date for name, band in bands.items()} == {
        "B02": "2022-06-10", "B03": "2022-06-11",
    }  # fmt: skip


def test_variables_of_a_netcdf_file(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec, tmp_path: Path
) -> None:
    """As openEO and xarray write them: a variable a band."""
    xarray_like = tmp_path / "cube.nc"
    _write_netcdf(xarray_like, optical(240, 240), S2_BANDS)
    with open_scene([RasterSource(str(xarray_like))], [pair[1]], spec) as scene:
        assert {name: band.found_by for name, band in scene.s2.bands.items()} == dict.fromkeys(
            scene.s2.bands, "tag"
        )
        (cube,) = (b.s2 for b in scene.batches(scene.select(), 8, 0.5))
    with open_scene([pair[0]], [pair[1]], spec) as scene:
        (tiff,) = (b.s2 for b in scene.batches(scene.select(), 8, 0.5))
    np.testing.assert_array_equal(cube, tiff)


def _write_netcdf(
    path: Path, values: np.ndarray, names: tuple[str, ...],
    time: dict[str, tuple[str, list[float]]] | None = None,
) -> None:  # fmt: skip
    """Write a variable a band; ``time`` names an axis of days with its unit and places."""
    _, height, width = values.shape
    with netcdf_file(path, "w") as file:
        file.Conventions = "CF-1.8"
        axes = {
            "y": 5_300_000 - 5 - 10.0 * np.arange(height),
            "x": 500_005 + 10.0 * np.arange(width),
        }
        for name, places in axes.items():
            file.createDimension(name, len(places))
            axis = file.createVariable(name, "d", (name,))
            axis[:] = places
            axis.standard_name, axis.units = f"projection_{name}_coordinate", "m"
        file.createVariable("spatial_ref", "i", ()).crs_wkt = CRS.from_epsg(32633).to_wkt()
        for name, (unit, days) in (time or {}).items():
            file.createDimension(name, len(days))
            axis = file.createVariable(name, "d", (name,))
            axis[:], axis.units, axis.axis = days, unit, "T"
        for name, layer in zip(names, values, strict=True):
            band = file.createVariable(name, "h", (*(time or ()), "y", "x"))
            band[:] = layer
            band.grid_mapping = "spatial_ref"


def test_a_virtual_raster_of_unnamed_bands_is_told_by_its_files(
    shared_data: Path,
) -> None:
    source = RasterSource(str(shared_data / "majortom_48QUE_S2L2A" / "S2_12band_mixed_res.vrt"))
    bands = find_bands([source], "s2", S2_BANDS).bands
    assert [band.index for band in bands.values()] == list(range(1, 13))
    assert {band.found_by for band in bands.values()} == {"file of the virtual band"}


def virtual(path: Path, *sources: str, options: tuple[str, ...] = ()) -> RasterSource:
    """Let gdalbuildvrt make a virtual raster; its names are relative to it."""
    command = shutil.which("gdalbuildvrt")
    if command is None:
        pytest.skip("gdalbuildvrt is not here")
    subprocess.run([command, "-q", *options, str(path), *sources], check=True, timeout=60)
    return RasterSource(str(path))


def undescribed(path: Path) -> None:
    path.write_text(re.sub(r"<Description>.*?</Description>", "", path.read_text()))


def test_a_virtual_raster_has_the_names_of_the_bands_behind(
    write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    order = S2_BANDS[::-1]
    east = rasterio.Affine(10, 0, 500_080, 0, -10, 5_300_000)
    one = write_raster("d/one.tif", optical(8, 8), order)
    two = write_raster("d/two.tif", optical(8, 8), order, east)
    source = virtual(tmp_path / "mosaic.vrt", one.path, two.path)
    undescribed(tmp_path / "mosaic.vrt")
    expected = {n: (12 - k, "file of the virtual band") for k, n in enumerate(S2_BANDS)}
    assert found(source) == expected
    again = virtual(tmp_path / "again.vrt", source.path)
    undescribed(tmp_path / "again.vrt")
    assert found(again) == expected
    other = write_raster("d/two.tif", optical(8, 8), S2_BANDS, east)
    assert other.path == two.path
    assert found(source) == {}


def test_a_virtual_raster_of_lost_files_has_no_names(
    write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    one = write_raster("one.tif", optical(8, 8), S2_BANDS)
    source = virtual(tmp_path / "a.vrt", one.path)
    undescribed(tmp_path / "a.vrt")
    Path(one.path).unlink()
    assert found(source) == {}


def test_the_number_of_a_netcdf_variable_names_no_band(optical: Make, tmp_path: Path) -> None:
    """GDAL writes Band1, Band2, ... of a raster without names."""
    _write_netcdf(tmp_path / "x.nc", optical(8, 8), tuple(f"Band{n}" for n in range(1, 13)))
    assert found(RasterSource(str(tmp_path / "x.nc"))) == {}


def test_the_name_of_a_netcdf_file_says_nothing_of_its_variables(
    optical: Make, tmp_path: Path
) -> None:
    _write_netcdf(tmp_path / "B02.nc", optical(8, 8)[:2], ("B03", "B04"))
    assert list(found(RasterSource(str(tmp_path / "B02.nc")))) == ["B03", "B04"]


def test_a_folder_with_a_virtual_raster_of_its_own_files(shared_data: Path) -> None:
    found_there = find_bands(
        [RasterSource(str(shared_data / "majortom_48QUE_S2L2A"))], "s2", S2_BANDS
    )
    assert len(found_there.parts) == 1
    assert {round(b.geometry.pixel_size_m) for b in found_there.bands.values()} == {10, 20, 60}
    assert list(found_there.masks) == ["CLOUD"]


@pytest.mark.parametrize("place", ["/vsizip/{}/scene.tif", "{}"])
def test_sources_inside_a_zip(
    place: str, write_raster: Write, optical: Make, tmp_path: Path
) -> None:
    source = write_raster("scene.tif", optical(8, 8), S2_BANDS)
    archive = tmp_path / "a b.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(source.path, "scene.tif")
    assert len(found(RasterSource(place.format(archive)))) == 12


def test_jpeg_2000_and_cog(write_raster: Write, optical: Make, tmp_path: Path) -> None:
    source = write_raster("b.tif", optical(256, 256)[1:2], ("B02",))
    for driver, name in (("JP2OpenJPEG", "T33_B02.jp2"), ("COG", "T33_B02.tiff")):
        copy_raster(source.path, tmp_path / name, driver=driver)
        assert list(found(RasterSource(str(tmp_path / name)))) == ["B02"]


def test_radar_names(write_raster: Write, radar: Make) -> None:
    for names in (("Sigma0_VV_db", "Sigma0_VH_db"), ("VV", "VH"), ("vv_gamma0", "vh_gamma0"),
                  ("S1A_IW_GRDH_1SDV_20170613_VV", "S1A_IW_GRDH_1SDV_20170613_VH")):  # fmt: skip
        source = write_raster("s1.tif", radar(8, 8)[::-1], names[::-1])
        assert {name: index for name, (index, _) in found(source, "s1").items()} == {
            "VV": 2, "VH": 1,
        }  # fmt: skip


def test_a_netcdf_of_several_dates_is_not_told_to_take_a_band_map(
    optical: Make, tmp_path: Path
) -> None:
    path = tmp_path / "cube.nc"
    days = {"t": ("days since 1990-01-01", [11_851.0, 11_856.0])}
    _write_netcdf(path, optical(8, 8)[:2], ("B02", "B03"), days)
    with pytest.raises(SourceError, match=r"B02 was found twice .* several dates\. Export one"):
        find_bands([RasterSource(str(path))], "s2", S2_BANDS)
    with pytest.raises(JobError, match="2 variables, each a raster of its own"):
        find_bands([RasterSource(str(path), bands={"B02": 1})], "s2", S2_BANDS)
    # A variable that is given as such has bands to count.
    second = RasterSource(f'NETCDF:"{path}":B03', bands={"B03": 2})
    band = find_bands([second], "s2", S2_BANDS).bands["B03"]
    assert (band.index, band.date) == (2, "2022-06-18")


def test_dates_of_a_netcdf_series_are_not_chosen_for_the_user(
    write_raster: Write, optical: Make
) -> None:
    values = optical(8, 8)[:2]
    source = write_raster("two.tif", values, ("B02", "B02"))
    with pytest.raises((SourceError, DecisionError), match="found twice"):
        found(source)


def test_force_calls_b8a_nir_and_is_asked_about(write_raster: Write, optical: Make) -> None:
    """FORCE's BROADNIR is B08 and its NIR B8A: as NIR is B08 elsewhere, nobody can know."""
    names = ("BLUE", "GREEN", "RED", "REDEDGE1", "REDEDGE2", "REDEDGE3", "BROADNIR", "NIR")
    source = write_raster("force.tif", optical(8, 8)[:8], names)
    with pytest.raises(SourceError, match=r"B08 was found twice, in bands 7 and 8") as caught:
        find_bands([source], "s2", S2_BANDS)
    assert caught.value.details["choices"] == [{"B08": 7}, {"B08": 8}]
