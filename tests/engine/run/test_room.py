"""What does not fit into memory is refused before it starts; what hardly fits is told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multimodal import memory, pipeline, room
from multimodal.contract.errors import DeviceError
from multimodal.contract.job import ClassifyJob
from multimodal.contract.messages import Log, Message
from multimodal.devices import Device
from multimodal.memory import free_memory
from multimodal.pipeline import classify


def test_this_machine_tells() -> None:
    free = free_memory()
    assert free is not None
    assert 10**7 < free < 10**15
    assert (free_memory(with_swap=True) or 0) >= free // 2


def test_a_limit_of_addresses_counts() -> None:
    pytest.importorskip("resource")
    program = (
        "import resource\nfrom multimodal.memory import free_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, resource.RLIM_INFINITY))\n"
        "print(free_memory())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 0 < int(done.stdout) < 2**30, done.stderr


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "1000", "a/memory.current": "900",
                     "a/memory.stat": "anon 5\ninactive_file 50\n"}),
        ("4:memory:/box", {"memory/box/memory.limit_in_bytes": "1000",
                           "memory/box/memory.usage_in_bytes": "850"}),
        # As seen from within a container: the path of outside is not there.
        ("0::/outside", {"memory.max": "1000", "memory.current": "850"}),
    ],
)  # fmt: skip
def test_the_limit_of_a_container_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, files: dict[str, str]
) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("control groups are of Linux")
    own = tmp_path / "cgroup"
    own.write_text(f"3:cpuset:/elsewhere\n{line}\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN_CGROUP", own)
    assert free_memory() == 150


def test_a_system_that_does_not_tell_refuses_nothing(
    job: ClassifyJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("_MEMINFO", "_OWN_CGROUP", "_STATUS"):
        monkeypatch.setattr(memory, name, tmp_path / "none")
    if sys.platform.startswith("linux"):
        assert free_memory() is None
    room.check_weights_fit(job.model)


def test_weights_larger_than_memory_are_refused_before_anything_is_written(
    job: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda with_swap=False: 10**6)
    with pytest.raises(DeviceError, match=r"does not fit into memory.*0\.0 GB are free") as caught:
        classify(job)
    assert caught.value.details == {"needed": room.weights_bytes(job.model), "free": 10**6}
    assert not Path(job.output).exists()


def test_a_tight_run_is_told_and_goes_on(job: ClassifyJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_memory", lambda with_swap=False: 2 * 10**8)
    messages: list[Message] = []
    summary = classify(job, messages.append)
    assert summary.state == "complete"
    told = [m.text for m in messages if isinstance(m, Log)]
    assert [text for text in told if "close other programs" in text] == list(summary.warnings)


@pytest.mark.parametrize(("kind", "is_tight"), [("cpu", True), ("mps", True), ("cuda", False)])
def test_what_a_card_holds_is_no_memory_of_the_computer(
    job: ClassifyJob, monkeypatch: pytest.MonkeyPatch, kind: str, is_tight: bool
) -> None:
    """The warning of a run where there is room for reading 8 tiles, and not for computing them."""
    twin = Device(torch.device("cpu"), kind, f"{kind} (Twin)")
    monkeypatch.setattr(pipeline, "choose_device", lambda wanted: twin)
    free = 2 * room.weights_bytes(job.model) + room.READING + 8 * 3 * 2**20
    monkeypatch.setattr(room, "free_memory", lambda with_swap=False: free)
    summary = classify(replace(job, batch_size=128))
    told = [text for text in summary.warnings if "close other programs" in text]
    assert bool(told) is is_tight


def test_only_tiles_that_are_there_are_counted(
    job: ClassifyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 2 * room.weights_bytes(job.model) + room.READING + 10 * (room.COMPUTING + 3 * 2**20)
    monkeypatch.setattr(room, "free_memory", lambda with_swap=False: free)
    summary = classify(replace(job, batch_size=1000))
    assert not [text for text in summary.warnings if "close other programs" in text]
