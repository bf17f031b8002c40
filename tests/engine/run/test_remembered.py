"""Speeds are remembered by model and device, and a damaged memory is only forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from multimodal import remembered


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "deep" / "speed.json"
    monkeypatch.setattr(remembered, "_path", lambda: path)
    return path


def test_the_speed_of_a_device_else_of_the_last_run() -> None:
    assert remembered.remembered_speed("m", "cpu") is None
    remembered.remember_speed("m", "cpu", 100, 10.0)
    remembered.remember_speed("m", "cuda", 1000, 2.0)
    assert remembered.remembered_speed("m", "cpu") == 10
    assert remembered.remembered_speed("m", "auto") == 500
    assert remembered.remembered_speed("n", "cpu") is None


def test_runs_that_are_too_short_say_nothing() -> None:
    remembered.remember_speed("m", "cpu", 4, 10.0)
    remembered.remember_speed("m", "cpu", 4000, 0.1)
    assert remembered.remembered_speed("m", "cpu") is None


@pytest.mark.parametrize("text", ["", "[1]", '{"m": 3}', '{"m": {"last": "x"}}', "[" * 100_000])
def test_a_damaged_memory_is_learned_again(cache: Path, text: str) -> None:
    cache.parent.mkdir()
    cache.write_text(text)
    assert remembered.remembered_speed("m", "cpu") is None
    remembered.remember_speed("m", "cpu", 100, 10.0)
    assert remembered.remembered_speed("m", "cpu") == 10


def test_only_the_newest_models_are_kept() -> None:
    for number in range(150):
        remembered.remember_speed(f"m{number}", "cpu", 100, 10.0)
    assert remembered.remembered_speed("m0", "cpu") is None
    assert remembered.remembered_speed("m149", "cpu") == 10


def test_a_folder_that_cannot_be_written_is_told_and_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(remembered, "_path", lambda: tmp_path / "file" / "speed.json")
    remembered.remember_speed("m", "cpu", 100, 10.0)
    assert "could not be kept" in capsys.readouterr().err
