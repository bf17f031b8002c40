"""Two real processes and one output: the second is refused, whatever it asks, the first ends."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from multimodal.contract.job import ClassifyJob

# The first convolution waits while a file is there: a run that lasts as long as it is wanted to.
SLOW = """
import os, sys, time
import torch

brake, reached = sys.argv[1:3]
compute = torch.nn.Conv2d.forward

def slowly(self, pixels):
    open(reached, "w").close()
    while os.path.exists(brake):
        time.sleep(0.02)
    return compute(self, pixels)

torch.nn.Conv2d.forward = slowly
from multimodal.cli import main
sys.exit(main(sys.argv[3:]))
"""


def arguments(job: ClassifyJob, *more: str) -> list[str]:
    return [
        "classify", "--s2", job.s2[0].path, "--s1", job.s1[0].path, "--model", job.model,
        "--output", job.output, "--device", "cpu", "--json", *more,
    ]  # fmt: skip


def finished(*words: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "multimodal.cli", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stdout, done.stderr


def state(path: str) -> tuple[str, int]:
    with sqlite3.connect(path) as connection:
        (text,) = connection.execute("SELECT state FROM mm_run").fetchone()
        return text, connection.execute("SELECT count(*) FROM tiles").fetchone()[0]


# Another stride is another run: "start over" must not take the file away either.
@pytest.mark.parametrize(
    ("first", "second"),
    [([], ["--overwrite", "--stride", "60"]), (["--overwrite"], [])],
    ids=["plain first", "overwrite first"],
)
def test_a_second_run_on_one_output_is_refused(
    job: ClassifyJob, tiny_model: str, tmp_path: Path, first: list[str], second: list[str]
) -> None:
    job = replace(job, model=tiny_model)
    program, brake, reached = (tmp_path / name for name in ("slow.py", "brake", "reached"))
    program.write_text(SLOW)
    brake.touch()
    command = [sys.executable, str(program), str(brake), str(reached)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, *arguments(job, *first)], **pipes) as holder:
        try:
            while not reached.exists() and holder.poll() is None:
                time.sleep(0.05)
            out, err = finished(*arguments(job, *second))
            told = json.loads(out.splitlines()[-1])["error"]
            assert told["code"] == "output", err
            assert told["message"].startswith("Another run holds")
        finally:
            brake.unlink()
        out, err = holder.communicate(timeout=120)
        assert holder.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["state"] == "complete"
    assert state(job.output) == ("complete", 8)
    assert not os.path.exists(f"{job.output}-journal")


def test_two_outputs_are_both_finished(job: ClassifyJob, tiny_model: str, tmp_path: Path) -> None:
    orders = [replace(job, model=tiny_model, output=str(tmp_path / f"{n}.gpkg")) for n in "ab"]
    plain = [sys.executable, "-m", "multimodal.cli"]
    runs = [subprocess.Popen([*plain, *arguments(o, "--quiet")]) for o in orders]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert [state(o.output) for o in orders] == [("complete", 8)] * 2
