"""The command as a user runs it: a process, its output, its exit code."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal import cli
from multimodal.cli_output import as_json
from multimodal.contract.job import ClassifyJob

JSON_KEYS = {
    "output", "tiles", "classified", "skipped", "device", "precision", "seconds",
    "tiles_per_second", "state",
}  # fmt: skip


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "multimodal.cli", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess:
    """Run the command in this process: loading torch anew takes longer than all the rest."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(arguments)
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return subprocess.CompletedProcess(arguments, code, *texts)


def run_process(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def classify_arguments(job: ClassifyJob) -> list[str]:
    return [
        "classify", "--s2", job.s2[0].path, "--s1", job.s1[0].path, "--model", job.model,
        "--output", job.output, "--device", "cpu",
    ]  # fmt: skip


def last_json(done: subprocess.CompletedProcess) -> dict:
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_classify_with_json(job: ClassifyJob) -> None:
    done = run_process(*classify_arguments(job), "--json")
    assert done.returncode == 0, done.stderr
    summary = last_json(done)
    assert set(summary) >= JSON_KEYS
    assert (summary["tiles"], summary["classified"], summary["skipped"]) == (8, 7, 1)
    assert (summary["state"], summary["output"]) == ("complete", job.output)
    assert "8/8" in done.stderr


def test_classify_for_people(job: ClassifyJob) -> None:
    done = run(*classify_arguments(job))
    assert done.returncode == 0
    assert "7 of 8 tiles classified" in done.stdout
    assert "tiles/s on cpu" in done.stdout


def test_quiet_is_quiet(job: ClassifyJob) -> None:
    done = run(*classify_arguments(job), "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_inspect_scene(job: ClassifyJob) -> None:
    arguments = ["inspect", "scene", "--s2", job.s2[0].path, "--s1", job.s1[0].path]
    described = last_json(run(*arguments, "--json"))
    assert described["s2"]["bands"]["B8A"]["band"] == 9
    assert described["s1"]["unit"] == "db"
    assert described["grid"]["tiles"] == 8
    text = run(*arguments, "--model", job.model).stdout
    assert "B8A" in text
    assert "EPSG:32633" in text


def test_inspect_model(job: ClassifyJob) -> None:
    described = last_json(run("inspect", "model", job.model, "--json"))
    assert len(described["spec"]["classes"]) == 19
    assert "Urban fabric" in run("inspect", "model", job.model).stdout


def test_help_is_fast_and_loads_nothing_heavy() -> None:
    program = (
        "import sys; from multimodal import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: print('torch' in sys.modules or 'rasterio' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("False")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"--s2": "/no/such.tif"}, "source"),
        ({"--s2": __file__}, "source"),
        ({"--model": "/no/such"}, "model_folder"),
        ({"--output": "/no/such/out.gpkg"}, "output"),
        ({"--output": "out.shp"}, "output"),
        ({"--device": "abacus"}, "job"),
        ({"--aoi": "nowhere"}, "job"),
        ({"--aoi": "missing (1).geojson"}, "job"),
        ({"--aoi": "POLYGON ((0 0, nonsense))"}, "job"),
        ({"--extent": ["nan", "0", "1", "1"]}, "job"),
        ({"--s2-bands": "B02"}, "job"),
        ({"--s2-bands": "B99=1"}, "job"),
        ({"--mask-band": "2"}, "job"),
        ({"--batch-size": "1000000"}, "job"),
        ({"--stride": "9" * 20}, "job"),
        ({"--device": "cuda:" + "9" * 20}, "job"),
    ],
)
def test_errors_are_words_and_exit_code_2(job: ClassifyJob, change: dict, code: str) -> None:
    arguments = classify_arguments(job)
    for flag, value in change.items():
        if flag in arguments:
            arguments[arguments.index(flag) + 1] = value
        else:
            arguments += [flag, *(value if isinstance(value, list) else [value])]
    done = run(*arguments, "--json")
    assert done.returncode == 2
    assert last_json(done)["error"]["code"] == code
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert not Path(job.output).exists()


def test_wrong_usage_is_exit_code_2() -> None:
    assert run("classify").returncode == 2
    assert run("conquer").returncode == 2
    assert run().returncode == 2


def test_wrong_usage_is_told_in_json_too() -> None:
    done = run("classify", "--stride", "abc", "--json")
    assert done.returncode == 2
    assert last_json(done)["error"]["code"] == "job"
    assert "usage: multimodal classify" in done.stderr


def test_an_area_from_a_geojson_file(job: ClassifyJob, tmp_path: Path) -> None:
    area = {
        "type": "FeatureCollection",
        "features": [{
            "type": "Feature", "properties": {},
            "geometry": {"type": "Polygon", "coordinates": [[
                [344400, 5290800], [345600, 5290800], [345600, 5293200], [344400, 5293200],
                [344400, 5290800],
            ]]},
        }],
    }  # fmt: skip
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(area))
    done = run(*classify_arguments(job), "--aoi", str(path), "--json")
    assert last_json(done)["tiles"] == 2


def test_an_area_in_wkt_may_be_longer_than_a_file_name(job: ClassifyJob) -> None:
    ring = ["344400 5290800", "345600 5290800", "345600 5293200"]
    ring += [f"{345600 - 4 * step} 5293200" for step in range(1, 301)]
    area = f"POLYGON (({', '.join([*ring, ring[0]])}))"
    done = run(*classify_arguments(job), "--aoi", area, "--json")
    assert last_json(done)["tiles"] == 2


def test_ctrl_c_while_loading_is_no_traceback(job: ClassifyJob) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", *command(*classify_arguments(job), "--json")[1:]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines = iter(process.stderr)
    next(line for line in lines if line.rstrip().endswith("torch.version"))
    process.send_signal(signal.SIGINT)
    said = "".join(line for line in lines if not line.startswith("import time:"))
    answer = json.loads(process.stdout.read().strip().splitlines()[-1])
    assert process.wait(30) == 130
    assert "Traceback" not in said
    assert answer.get("state", "partial") == "partial"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_program_keeps_finished_tiles(large_job: ClassifyJob, ending: int) -> None:
    arguments = [*classify_arguments(large_job), "--stride", "60"]
    process = subprocess.Popen(
        command(*arguments, "--batch-size", "1", "--json"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # Whoever runs the tests may ignore it, as nohup does, and a child inherits that.
        preexec_fn=lambda: signal.signal(ending, signal.SIG_DFL),
    )  # fmt: skip
    # tqdm rewrites its line: the first count that is not 0 says that rows are in the file.
    said = ""
    while not re.search(r"[1-9]\d*/529", said):
        said += (letter := process.stderr.read(1))
        assert letter, said
    process.send_signal(ending)
    stdout, stderr = process.communicate(timeout=30)
    summary = json.loads(stdout.strip().splitlines()[-1])
    assert (process.returncode, summary["state"]) == (130, "partial"), stderr
    assert summary["classified"] < 529
    with sqlite3.connect(large_job.output) as connection:
        assert connection.execute("SELECT count(*) FROM layer_styles").fetchone() == (1,)
        index = connection.execute("SELECT count(*) FROM rtree_tiles_geom").fetchone()
    assert index == (summary["classified"],)
    if ending == signal.SIGINT:
        done = run(*arguments, "--json")
        assert last_json(done)["classified"] == 529


def test_what_nohup_ignores_stays_ignored(job: ClassifyJob) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli._interrupted_by(pytest.fail):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_inspect_model_looks_at_the_weights(job: ClassifyJob, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(job.model, folder)
    assert run("inspect", "model", str(folder)).returncode == 0
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    damaged = run("inspect", "model", str(folder))
    weights.unlink()
    missing = run("inspect", "model", str(folder))
    assert (damaged.returncode, missing.returncode) == (2, 2)
    assert "SHA-256 differs" in damaged.stderr
    assert "has no model.safetensors" in missing.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dropout": 0.5}, "Unknown key 'dropout'"),
        ({"image_size": 60}, "'image_size' is 60"),
        ({"classifier": {"type": "mlp", "hidden_dim": 7}}, "do not belong together"),
    ],
)
def test_inspect_model_refuses_what_classify_refuses(
    job: ClassifyJob, tmp_path: Path, change: dict, words: str
) -> None:
    folder = Path(shutil.copytree(job.model, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    inspected = run("inspect", "model", str(folder))
    classified = run(*classify_arguments(replace(job, model=str(folder))), "--quiet")
    assert (inspected.returncode, classified.returncode) == (2, 2)
    assert words in inspected.stderr
    assert inspected.stderr == classified.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_cannot_write_a_path_does_not_fail_a_run(
    job: ClassifyJob, tmp_path: Path, encoding: str
) -> None:
    output = tmp_path / "地図 č.gpkg"
    done = subprocess.run(
        command(*classify_arguments(replace(job, output=str(output)))), capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding}, check=False,
    )  # fmt: skip
    assert (done.returncode, output.exists()) == (0, True), done.stderr
    assert rb"\u5730\u56f3" in done.stdout


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_reader_that_has_enough_ends_it_quietly(job: ClassifyJob, flags: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    arguments = command("inspect", "model", job.model, *flags)
    done = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_is_told_in_words(job: ClassifyJob, flags: list[str]) -> None:
    for folder, words in ((job.model, "cannot be written to standard output"), ("/no", "is not a")):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                command("inspect", "model", folder, *flags), stdout=full, stderr=subprocess.PIPE,
                text=True, check=False,
            )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith("Error: ")
        assert len(done.stderr.splitlines()) == 1
        assert words in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX closes it")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_answer_that_nobody_can_get_is_no_success(job: ClassifyJob, flags: list[str]) -> None:
    arguments = shlex.join(command("inspect", "model", job.model, *flags))
    done = subprocess.run(
        ["sh", "-c", f"{arguments} >&-"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "Error: The answer cannot be written: standard output is closed.\n"


def test_numbers_that_are_none_are_null_in_json() -> None:
    assert as_json({"a": [float("nan"), 1.5], "b": float("inf")}) == '{"a": [null, 1.5], "b": null}'


def test_a_missing_sentinel_1_is_told_by_the_name_of_its_argument(job: ClassifyJob) -> None:
    arguments = classify_arguments(job)
    at = arguments.index("--s1")
    for without in (
        [*arguments[:at], *arguments[at + 2 :]],
        ["inspect", "scene", "--s2", job.s2[0].path],
    ):
        done = run(*without, "--json")
        assert done.returncode == 2
        assert last_json(done)["error"]["code"] == "missing_channels"
        assert "--s1" in done.stderr
        assert "VH, VV" in done.stderr
