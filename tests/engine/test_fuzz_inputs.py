"""Whatever stands in a file or an argument ends well or as a coded error, never otherwise.

The examples are the same every time, and few. ``MM_FUZZ=5000`` tries that many new ones of each.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from multimodal.backbones.weight_files import read_state
from multimodal.checkpoint import check_folder
from multimodal.cli_area import aoi_wkt, extent_wkt
from multimodal.cli_arguments import plain_numbers
from multimodal.cli_text import model_lines
from multimodal.config import ModelConfig
from multimodal.contract.band_map import read_band_map
from multimodal.contract.errors import MultimodalError
from multimodal.contract.model_folder import config_digest, read_spec
from multimodal.contract.qml import result_style_qml
from multimodal.contract.spec import default_spec, spec_from_dict
from multimodal.contract.weights import WeightFiles, find_weights
from multimodal.importing.spec_choice import class_names, given_spec
from multimodal.scene.calibration import read_calibration
from multimodal.scene.files import archive_names, parse_xml, read_text
from multimodal.scene.product import product_of
from multimodal.scene.special import check_openable
from multimodal.scene.stac import stac_asset
from multimodal.shards import read_shapes, read_weights

MANY = int(os.environ.get("MM_FUZZ", "0"))
# Thousands of examples have all the time they need.
pytestmark = pytest.mark.timeout(0 if MANY else 300)
MODEL = Path(__file__).parents[2] / "sample_data" / "model"
HARMLESS_TO_SHARE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow,
                     HealthCheck.filter_too_much, HealthCheck.data_too_large]  # fmt: skip


def few(examples: int) -> settings:
    return settings(
        max_examples=MANY or examples, derandomize=not MANY, deadline=None, database=None,
        suppress_health_check=HARMLESS_TO_SHARE,
    )  # fmt: skip


def told(call: Callable[[], Any]) -> Any:
    """Return what comes of it; only an error that says what to do may, None then."""
    try:
        return call()
    except MultimodalError as problem:
        refusal = problem
    assert refusal.message
    json.dumps(refusal.to_dict())
    return None


ODD = st.sampled_from(
    [None, True, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "",
     "x", "x" * 300, "\ud800", "\x00", "../x", "=1", "<b>", "[% 1 %]", [], {}, [[]], [1, "a"],
     {"": None}, ["B04"] * 3, "nan", "1e999"]
)  # fmt: skip
VALUES = st.recursive(
    ODD | st.text(max_size=8) | st.integers() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 3), VALUES), max_size=3)


def changed(value: Any, changes: list[tuple[int, int, Any]]) -> Any:
    """Return a JSON value with some of its parts exchanged, removed, doubled or added."""
    value = json.loads(json.dumps(value))
    for number, kind, other in changes:
        places = list(_places(value))
        # Hypothesis gives the same list again and again: put into itself it would have no end.
        other = copy.deepcopy(other)
        if not places:
            return value
        holder, key = places[number % len(places)]
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 2 and isinstance(holder, dict):
            holder[f"{key}_"] = other
        else:
            holder[key] = other
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (holder, key), those near the root as often as the many channels and classes."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value))
    for key, item in inner:
        for _ in range(3):
            yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)


SPEC = default_spec(["Water", "Forest", "Bog"]).to_dict()


@given(CHANGES)
@few(50)
def test_a_spec(changes: list) -> None:
    spec = told(lambda: spec_from_dict(changed(SPEC, changes)))
    if spec is not None:
        result_style_qml(spec).encode()
        "\n".join(model_lines(spec)).encode()
        assert spec_from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@given(CHANGES)
@few(80)
def test_a_configuration(changes: list) -> None:
    told(lambda: ModelConfig.from_dict(changed(ModelConfig().to_dict(), changes)))


@given(VALUES)
@few(100)
def test_any_json(value: Any) -> None:
    told(lambda: spec_from_dict(value))
    told(lambda: ModelConfig.from_dict(value))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample model, copied once: every example writes its description again."""
    copied = tmp_path_factory.mktemp("fuzz") / "model"
    shutil.copytree(MODEL, copied)
    return copied


DESCRIPTION = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))


@given(changes=CHANGES)
@few(10)
def test_a_description_of_a_model(folder: Path, changes: list) -> None:
    (folder / "config.json").write_text(json.dumps(changed(DESCRIPTION, changes)))
    told(lambda: check_folder(folder))
    told(lambda: config_digest(folder))
    told(lambda: given_spec(folder))


def mutant(data: bytes, seed: int) -> bytes:
    """Return bytes with some flipped, cut out, doubled, or put in."""
    chance = random.Random(seed)
    made = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(made) + 1)
        end = min(len(made), at + chance.choice((1, 1, 2, 8, 64)))
        kind = chance.randrange(4)
        if kind == 0:
            made[at:end] = chance.randbytes(end - at)
        elif kind == 1:
            del made[at:end]
        elif kind == 2:
            made[at:at] = made[at:end] * chance.choice((1, 2, 50))
        else:
            made[at:end] = chance.choice(
                (b"\0" * 8, b"\xff" * 8, b"9" * 30, b"<", b'"', b"]", b"-1")
            )
    return bytes(made)


SEEDS = st.integers(0, 2**32)


@given(seed=SEEDS)
@few(80)
def test_a_description_in_any_bytes(folder: Path, seed: int) -> None:
    (folder / "config.json").write_bytes(mutant(json.dumps({"spec": SPEC}).encode(), seed))
    told(lambda: read_spec(folder))


@given(seed=SEEDS)
@few(60)
def test_an_index_of_shards(folder: Path, seed: int) -> None:
    own = folder.parent / "sharded"
    own.mkdir(exist_ok=True)
    name = "model-00001-of-00001.safetensors"
    (own / name).write_bytes(b"")
    index = {"metadata": {"sha256": {name: "0" * 64}}, "weight_map": {"a": name, "b": name}}
    (own / "model.safetensors.index.json").write_bytes(mutant(json.dumps(index).encode(), seed))
    told(lambda: find_weights(own))


HEADER = {
    "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "I64", "shape": [1], "data_offsets": [24, 32]},
    "__metadata__": {"format": "pt"},
}
KINDS = st.sampled_from(["F64", "F16", "BF16", "F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "C64", "U64",
                         "BOOL", "I8", "X9", ""])  # fmt: skip
SHAPES = st.lists(st.integers(0, 4) | st.sampled_from([2**31, 2**62, 2**63 - 1]), max_size=5)


@given(changes=CHANGES, kind=KINDS, shape=SHAPES, seed=SEEDS)
@few(100)
def test_a_header_of_safetensors(
    folder: Path, changes: list, kind: str, shape: list, seed: int
) -> None:
    header = changed(HEADER, changes)
    if seed % 3 == 0 and isinstance(header.get("b"), dict):
        header["b"].update(dtype=kind, shape=shape)
    text = json.dumps(header).encode()
    if seed % 3 == 1:
        text = mutant(text, seed)
    length = len(text) if seed % 5 else seed
    path = folder.parent / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + text + bytes(32))
    for read in (read_shapes, read_weights):
        told(lambda: read(WeightFiles(path, {})))  # noqa: B023
    told(lambda: read_state(path))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """State dicts as torch saves them, today and long ago."""
    import torch

    path = tmp_path_factory.mktemp("saved") / "x.pth"
    made = []
    for zipped in (True, False):
        content = {"state_dict": {"a": torch.ones(2, 3), "b": torch.ones(1).half()}, "epoch": 3}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        made.append(path.read_bytes())
    return made


@given(seed=SEEDS)
@few(80)
def test_a_checkpoint(folder: Path, saved: list[bytes], seed: int) -> None:
    path = folder.parent / "mutant.pth"
    path.write_bytes(mutant(saved[seed % 2], seed))
    told(lambda: read_state(path))


MTD = b"""<?xml version="1.0" encoding="UTF-8"?><n1:Level-2A_User_Product xmlns:n1="https://x/y">
<Product_Info><PRODUCT_START_TIME>2023-06-13T10:10:31.024Z</PRODUCT_START_TIME>
<PROCESSING_BASELINE>05.09</PROCESSING_BASELINE></Product_Info>
<BOA_ADD_OFFSET band_id="0">-1000</BOA_ADD_OFFSET></n1:Level-2A_User_Product>"""
VECTORS = b"<c>" + b"".join(
    b"<calibrationVector><line>%d</line><pixel count='3'>0 40 80</pixel>"
    b"<sigmaNought>3.1e+02 3.2e+02 3.3e+02</sigmaNought></calibrationVector>" % line
    for line in (0, 50)
) + b"</c>"  # fmt: skip
VRT = b"""<VRTDataset rasterXSize="2" rasterYSize="2"><VRTRasterBand dataType="Byte" band="1">
<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand>
</SimpleSource></VRTRasterBand></VRTDataset>"""


@given(seed=SEEDS)
@few(150)
def test_xml(folder: Path, seed: int) -> None:
    place = folder.parent / "product"
    place.mkdir(exist_ok=True)
    (place / "MTD_MSIL2A.xml").write_bytes(mutant(MTD, seed))
    told(lambda: product_of(str(place / "B04.jp2"), str(place)))
    (place / "calibration.xml").write_bytes(mutant(VECTORS, seed))
    told(lambda: read_calibration(str(place / "calibration.xml")))
    (place / "a.vrt").write_bytes(mutant(VRT, seed))
    told(lambda: check_openable(str(place / "a.vrt")))
    told(lambda: parse_xml(str(place / "a.vrt"), 1000))


ITEM = {
    "stac_version": "1.0.0", "type": "Feature", "collection": "sentinel-2-l2a",
    "properties": {"datetime": "2023-06-13T10:10:31Z", "s2:processing_baseline": "05.09",
                   "earthsearch:boa_offset_applied": False, "processing:level": "L2A"},
    "assets": {"red": {"href": "./a.tif?x=1", "eo:bands": [
        {"name": "B04", "common_name": "red", "center_wavelength": 0.665}],
        "raster:bands": [{"scale": 0.0001, "offset": -0.1}]}},
}  # fmt: skip


@given(changes=CHANGES, seed=SEEDS)
@few(150)
def test_a_stac_item(folder: Path, changes: list, seed: int) -> None:
    place = folder.parent / "stac"
    place.mkdir(exist_ok=True)
    text = json.dumps(changed(ITEM, changes)).encode()
    (place / "a.json").write_bytes(text if seed % 3 else mutant(text, seed))
    asset = told(lambda: stac_asset(str(place / "a.tif")))
    if asset is not None:
        json.dumps([asset.names, asset.product.offset, asset.product.date])


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("archives")
    (place / "MTD_MSIL2A.xml").write_bytes(MTD)
    with zipfile.ZipFile(place / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(place / "MTD_MSIL2A.xml", "p.SAFE/MTD_MSIL2A.xml")
        packed.writestr("p.SAFE/B04.jp2", b"x" * 100)
    for name, mode in (("a.tar", "w"), ("a.tgz", "w:gz")):
        with tarfile.open(place / name, mode) as packed:
            packed.add(place / "MTD_MSIL2A.xml", "p.SAFE/MTD_MSIL2A.xml")
            packed.add(place / "a.zip", "./p.SAFE/" + "long" * 40 + ".jp2")
    return {name: (place / name).read_bytes() for name in ("a.zip", "a.tar", "a.tgz")}


@given(seed=SEEDS)
@few(150)
def test_an_archive(folder: Path, archives: dict[str, bytes], seed: int) -> None:
    name = list(archives)[seed % 3]
    path = folder.parent / name
    path.write_bytes(mutant(archives[name], seed))
    prefix = "/vsizip/" if name == "a.zip" else "/vsitar/"
    for member in (told(lambda: archive_names(path)) or [])[:3]:
        told(lambda: read_text(f"{prefix}{path}/{member}", 1000))  # noqa: B023


BAND_MAPS = st.from_regex(r"\A([A-Za-z0-9]{0,3}=?[-0-9a-z²]{0,9},?){0,4}\Z") | st.text(max_size=30)


@given(BAND_MAPS)
@few(200)
def test_a_band_map(text: str) -> None:
    bands = told(lambda: read_band_map(text))
    assert bands is None or all(number >= 0 for number in bands.values())


@given(st.text(max_size=60), st.lists(st.floats(), min_size=4, max_size=4))
@few(150)
def test_arguments(text: str, numbers: list[float]) -> None:
    # A short text may be the name of a file that happens to be here.
    assume(not os.path.exists(text.split("\0")[0] or "."))
    told(lambda: class_names(text))
    told(lambda: aoi_wkt(text))
    told(lambda: extent_wkt(numbers))
    plain_numbers([text, "-1e999", "-1e-999"])


GEOJSON = {"type": "FeatureCollection", "crs": {"properties": {"name": "EPSG:32633"}}, "features": [
    {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [
        [[0, 0], [1, 0], [1, 1], [0, 0]]]}}]}  # fmt: skip


@given(changes=CHANGES, seed=SEEDS)
@few(100)
def test_an_area(folder: Path, changes: list, seed: int) -> None:
    path = folder.parent / "area.geojson"
    text = json.dumps(changed(GEOJSON, changes)).encode()
    path.write_bytes(text if seed % 3 else mutant(text, seed))
    told(lambda: aoi_wkt(str(path)))
