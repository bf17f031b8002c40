"""Runs killed at 50 random instants end as if nothing had happened (`make soak`: 500)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

KILLING = Path(__file__).resolve().parents[2] / "soak" / "killing.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.timeout(900)
def test_fifty_killed_runs_equal_the_run_left_in_peace() -> None:
    # A process of its own, with one thread: a fork takes no other along.
    seed = os.environ.get("KILL_SEED") or str(random.SystemRandom().randrange(2**32))
    command = [sys.executable, str(KILLING), "--kills", "50", "--seed", seed]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"KILL_SEED={seed}\n{done.stdout}\n{done.stderr}"
    assert "All equal the run left in peace" in done.stdout
