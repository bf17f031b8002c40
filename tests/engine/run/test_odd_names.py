"""Folders, files and classes of any name: a run works, or says why not."""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from xml.etree import ElementTree

import pytest

from multimodal import cli
from multimodal.contract.spec import default_spec

# Lower left corner of a tile of the sample scene, and its upper right one.
ONE_TILE = ("345700", "5294500", "346700", "5295500")
WORKING = [
    "sp ace quo'te\"s Übergröße 🛰️ new\nline tab\there 100%25 &<b>#?x=1 ;c,|p $(x) `x` \\n",
    "x" * 200, "-dash", "a.gpkg",
]  # fmt: skip
HOSTILE = [
    "'; DROP TABLE tiles; --", '" OR 1=1', "[% env('HOME') %]", "<img src=x>", "{0} %s ${x}",
    "]]> &amp; <!--", "\\' || 1", "水 🛰", *(f"class {n}" for n in range(11)),
]  # fmt: skip


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(arguments)
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return code, texts[0], texts[1]


def arguments(pair: tuple[str, str], model: str, output: Path) -> list[str]:
    return [
        "classify", f"--s2={pair[0]}", f"--s1={pair[1]}", f"--model={model}", f"--output={output}",
        "--device", "cpu", "--extent", *ONE_TILE,
    ]  # fmt: skip


@pytest.mark.parametrize("name", WORKING)
def test_a_run_among_files_of_any_name(
    pair: tuple[str, str], sample_model: str, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copytree(sample_model, folder / "model")
    odd = tuple(str(shutil.copy(path, folder / f"{name[:100]}{Path(path).name}")) for path in pair)
    output = folder / f"{name[:100]}.gpkg"
    code, _, said = run(*arguments(odd, str(folder / "model"), output))
    assert code == 0, said
    with closing(sqlite3.connect(output)) as connection:
        assert connection.execute("SELECT count(*) FROM tiles").fetchone() == (1,)
    assert run(*arguments(odd, str(folder / "model"), output))[0] == 0  # complete already
    code, said, _ = run("inspect", "scene", f"--s2={odd[0]}", f"--s1={odd[1]}", "--json")
    assert code == 0
    assert json.loads(said)["s2"]["bands"]["B04"]["path"] == odd[0]


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["y" * 200] * 30), "a\0b", "\ud800"])
@pytest.mark.parametrize("part", ["s2", "model", "output"])
def test_a_name_that_no_file_can_have_is_told(
    pair: tuple[str, str], sample_model: str, tmp_path: Path, name: str, part: str
) -> None:
    given = {"s2": pair[0], "model": sample_model, "output": str(tmp_path / "out.gpkg")}
    given[part] = f"{tmp_path}/{name}.gpkg"
    code, _, said = run(*arguments((given["s2"], pair[1]), given["model"], Path(given["output"])))
    assert code == 2
    assert said.strip().splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == []


def test_classes_of_any_name_are_stored_as_they_are(
    pair: tuple[str, str], sample_model: str, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(sample_model, model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config["spec"]["classes"] = default_spec(HOSTILE).to_dict()["classes"]
    config["spec"]["license"] = "\x1b[31m\ud800 <b>free</b>"
    (model / "config.json").write_text(json.dumps(config))
    output = tmp_path / "out.gpkg"
    code, _, said = run(*arguments(pair, str(model), output))
    assert code == 0, said
    with closing(sqlite3.connect(output)) as connection:
        ((name, labels),) = connection.execute("SELECT class, labels FROM tiles").fetchall()
        qml = connection.execute("SELECT styleQML FROM layer_styles").fetchone()[0]
        stored = json.loads(connection.execute("SELECT spec FROM mm_run").fetchone()[0])
    assert name in HOSTILE
    assert labels == "" or name in labels
    assert [item["name"] for item in stored["classes"]] == HOSTILE
    assert stored["license"] == "?[31m? <b>free</b>"
    rules = list(ElementTree.fromstring(qml.split("\n", 1)[1]).iter("rule"))
    assert len(rules) == len(HOSTILE) + 2
    code, said, _ = run("inspect", "model", str(model))
    assert code == 0
    assert "\x1b" not in said
