"""Where the time goes: stages within stages, on several threads, and as a Chrome trace."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from multimodal.stages import STAGES, StageClock, stage


def test_a_stage_within_another_counts_once() -> None:
    with StageClock() as clock, stage("prepare"):
        time.sleep(0.05)
        with stage("read"):
            time.sleep(0.1)
    seconds = clock.seconds()
    assert set(seconds) == set(STAGES)
    assert seconds["read"] == pytest.approx(0.1, abs=0.04)
    assert seconds["prepare"] == pytest.approx(0.05, abs=0.04)


def test_threads_do_not_mix() -> None:
    def work() -> None:
        with stage("read"):
            time.sleep(0.1)

    with StageClock() as clock:
        threads = [threading.Thread(target=work, name=f"reader {n}") for n in range(2)]
        with stage("waiting"):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert clock.seconds()["read"] == pytest.approx(0.2, abs=0.08)
    assert clock.seconds()["waiting"] == pytest.approx(0.1, abs=0.08)


def test_without_a_clock_nothing_is_kept() -> None:
    with StageClock() as clock:
        pass
    with stage("read"):
        pass
    assert clock.spans == []


def test_a_trace_is_what_chrome_reads(tmp_path: Path) -> None:
    with StageClock() as clock, stage("prepare"), stage("read"):
        pass
    clock.write_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = [(event["ph"], event["name"]) for event in events]
    assert names == [("M", "thread_name"), ("X", "read"), ("X", "prepare")]
    assert all({"ts", "dur", "pid", "tid"} <= set(event) for event in events[1:])
    assert {event["tid"] for event in events} == {1}
