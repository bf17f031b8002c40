"""The locked packages, and what the set-up says of a system that is too old."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LISTS = ("core/client/worker-requirements.txt", "requirements-dev.txt")
PIN = re.compile(r"([a-z][a-z0-9_-]*)==[\d.]+(?:; python_version (<|>=) \"3\.11\")?")

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.mark.parametrize("name", LISTS)
def test_every_python_gets_one_version_of_a_package(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [PIN.fullmatch(line) for line in lines if "==" in line]
    assert all(pins), "a pin of another form: teach this test and tools/setup.sh about it"
    found: dict[str, list] = {}
    for pin in pins:
        found.setdefault(pin[1], []).append(pin[2])
    assert {tuple(sorted(marks, key=str)) for marks in found.values()} <= {(None,), ("<", ">=")}


def at_least(found: str) -> subprocess.CompletedProcess:
    script = f"source tools/env.sh; at_least QGIS '{found}' 3.22 'install a newer one.'"
    return subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True)


@needs_bash
@pytest.mark.parametrize("found", ["3.22", "3.22.16", "3.100", "4.0"])
def test_a_version_that_is_new_enough_passes(found: str) -> None:
    assert at_least(found).returncode == 0


@needs_bash
@pytest.mark.parametrize("found", ["3.4", "3.16.9", "2.99", ""])
def test_a_version_that_is_too_old_is_told(found: str) -> None:
    done = at_least(found)
    assert done.returncode == 1
    assert "is too old, 3.22 or newer is needed: install a newer one." in done.stderr
