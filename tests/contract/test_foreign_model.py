"""A model folder of a stranger: its names and texts are text, its files cannot do harm."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from multimodal.contract.classes import slugify
from multimodal.contract.errors import ModelFolderError, SpecError
from multimodal.contract.foreign_text import inert
from multimodal.contract.model_folder import read_spec
from multimodal.contract.qml import quoted_string, result_style_qml
from multimodal.contract.result import result_fields
from multimodal.contract.spec import MAX_CLASSES, default_spec, spec_from_dict
from multimodal.contract.weights import INDEX_FILE, WEIGHTS_FILE, find_weights

SPEC = default_spec(["Water", "Forest", "Bog"])
DEEP = "[" * 100_000 + "]" * 100_000
needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are POSIX's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"spec": SPEC.to_dict()}))
    (tmp_path / WEIGHTS_FILE).write_bytes(b"unread")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "=1+1", "+1", "-1", "@SUM(A1)", "  =cmd|' /C calc'!A0",
        "\N{FULLWIDTH EQUALS SIGN}1+1", "\N{FULLWIDTH PLUS SIGN}1",
        "\N{FULLWIDTH HYPHEN-MINUS}1", "\N{FULLWIDTH COMMERCIAL AT}SUM(A1)",
    ],
)  # fmt: skip
def test_a_class_name_is_no_formula_of_a_spreadsheet(name: str) -> None:
    with pytest.raises(SpecError, match="begins like a formula"):
        default_spec(["Water", name])


@pytest.mark.parametrize("name", ["\u202eretaW", "a\x1b[2J", "a\x00", "a\ud800", "a\u2028b"])
def test_a_class_name_steers_neither_terminal_nor_direction(name: str) -> None:
    with pytest.raises(SpecError, match="printable"):
        default_spec(["Water", name])


@pytest.mark.parametrize("twin", ["WATER", "Water ", "Ｗater"])
def test_class_names_that_look_the_same_are_refused(twin: str) -> None:
    with pytest.raises(SpecError, match="same name"):
        default_spec(["Water", twin])


def test_a_result_has_no_more_columns_than_its_file_can_have() -> None:
    default_spec([f"c{n}" for n in range(MAX_CLASSES)])
    with pytest.raises(SpecError, match="1900 classes"):
        default_spec([f"c{n}" for n in range(MAX_CLASSES + 1)])


def test_names_of_one_slug_do_not_take_forever() -> None:
    names = [f"a{chr(0x4E00 + n)}" for n in range(MAX_CLASSES)]
    start = time.perf_counter()
    slugs = slugify(names)
    assert time.perf_counter() - start < 2
    assert len(set(slugs)) == MAX_CLASSES
    assert slugs[:3] == ("a", "a_2", "a_3")


def test_texts_of_a_spec_can_be_stored_and_printed() -> None:
    spec = replace(SPEC, license="a\ud800\x1b[31m\u202e\nb", provenance={"\ud800": ["\x07"]})
    assert spec.license == "a??[31m?\nb"
    assert spec.provenance == {"?": ["?"]}
    assert json.dumps(spec.to_dict(), ensure_ascii=False).encode()
    kept = "© Müller, 𝔘𝔫𝔦 \N{NO-BREAK SPACE}👩‍🌾\n\tmore"
    assert replace(SPEC, license=kept).license == kept


def test_a_spec_is_nested_no_deeper_than_python_can_walk() -> None:
    nested: dict = {}
    for _ in range(5000):
        nested = {"a": nested}
    spec = spec_from_dict({**SPEC.to_dict(), "provenance": nested})
    assert len(json.dumps(spec.to_dict())) < 3000


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("<b>x</b>", "<\u2060b>x<\u2060/b>"),
        ("<img src='//host/x'>", "<\u2060img src='//host/x'>"),
        ("[% env('HOME') %]", "[\u2060% env('HOME') %]"),
        ("a < b> & [c]", "a <\u2060 b> & [c]"),
    ],
)
def test_a_text_that_is_made_inert_looks_the_same(text: str, seen: str) -> None:
    assert inert(text) == seen
    assert inert(text).replace("\u2060", "") == text


def test_labels_and_aliases_are_inert_and_filters_exact() -> None:
    names = ["<b>x</b> ' \\ \"", "[% 1 %]", "a & b"]
    spec = default_spec(names)
    root = ElementTree.fromstring(result_style_qml(spec).split("\n", 1)[1])
    rules = list(root.iter("rule"))
    assert [rule.get("label") for rule in rules[:3]] == list(map(inert, names))
    assert [rule.get("filter") for rule in rules[:3]] == [
        f'"status" = \'ok\' AND "class" = {quoted_string(name)}' for name in names
    ]
    assert [field.alias for field in result_fields(spec)[-3:]] == list(map(inert, names))


@pytest.mark.parametrize(
    ("text", "words"),
    [(DEEP, "nested too deep"), ("9" * 5000, "cannot be read"), (" " * 10_000_001, "10 MB")],
)
def test_a_description_of_any_size_or_depth_is_refused(folder: Path, text: str, words: str) -> None:
    if text.startswith("9") and sys.version_info < (3, 11):
        pytest.skip("this Python reads whole numbers of any length")
    (folder / "config.json").write_text(f'{{"spec": {text}}}')
    with pytest.raises(ModelFolderError, match=words):
        read_spec(folder)


def test_deep_json_that_python_can_read_is_refused_too(folder: Path) -> None:
    (folder / "config.json").write_text('{"spec": ' + "[" * 60 + "]" * 60 + "}")
    with pytest.raises(ModelFolderError, match="nested too deep"):
        read_spec(folder)


@needs_fifo
@pytest.mark.parametrize("name", ["config.json", WEIGHTS_FILE, INDEX_FILE])
def test_a_pipe_in_a_model_folder_is_never_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    if name == INDEX_FILE:
        assert find_weights(folder).main.name == WEIGHTS_FILE
        return
    with pytest.raises(ModelFolderError):
        read_spec(folder)


@pytest.mark.parametrize(
    "name",
    ["../model-00001-of-00001.safetensors", "/etc/passwd", "..\\x.safetensors", "pytorch_model.bin",
     "model-00001-of-00001.safetensors/../../x", "model-00001-of-00001.safetensors\n"],
)  # fmt: skip
def test_an_index_names_nothing_outside_its_folder(folder: Path, name: str) -> None:
    (folder / WEIGHTS_FILE).unlink()
    (folder / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelFolderError, match="it names other files"):
        read_spec(folder)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="devices are files on POSIX")
@pytest.mark.parametrize("name", ["config.json", WEIGHTS_FILE])
def test_a_link_to_a_device_is_no_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(ModelFolderError):
        read_spec(folder)


def test_a_link_to_weights_elsewhere_is_followed(folder: Path, tmp_path: Path) -> None:
    """The hub's cache is made of such links."""
    blob = tmp_path / "blob"
    (folder / WEIGHTS_FILE).rename(blob)
    try:
        (folder / WEIGHTS_FILE).symlink_to(blob)
    except OSError:
        pytest.skip("this user may make no links")
    assert read_spec(folder) == SPEC
