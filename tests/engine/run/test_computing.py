"""Batches become pieces of the wanted size, computed ahead of whoever writes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from multimodal.batching import BatchSize
from multimodal.checkpoint import from_pretrained
from multimodal.computing import compute_ahead, computed, pieces, reading_threads
from multimodal.contract.errors import SourceError
from multimodal.devices import Device
from multimodal.inference import Pending, Predictor
from multimodal.launch import Launched
from multimodal.model import MultiModalModel
from multimodal.scene.grid import Tile
from multimodal.scene.reader import Batch, TileRead

CPU = Device(torch.device("cpu"), "cpu", "cpu")


def batch(first: int, statuses: str) -> Batch:
    """Return tiles numbered from ``first``: ``o`` is ok, any other letter is skipped."""
    reads = tuple(
        TileRead(
            Tile(number, 0, number),
            "ok" if letter == "o" else "skipped: x",
            float(letter == "o"),
            1.0,
        )
        for number, letter in enumerate(statuses, first)
    )
    good = [read.tile.tile_id for read in reads if read.status == "ok"]
    arrays = (np.zeros((len(good), c, 120, 120), dtype=np.float32) for c in (14, 2))
    s2, s1 = arrays
    for place, number in enumerate(good):
        s2[place], s1[place] = number / 100, -number / 100
    return Batch(reads, s2, s1)


def ids(piece: Batch) -> list[int]:
    return [read.tile.tile_id for read in piece.reads]


def test_pieces_are_cut_and_joined_without_loss() -> None:
    given = [batch(0, "ooxoo"), batch(5, "xoooo"), batch(10, "ox")]
    sizes = iter([1, 3, 3, 3, 3])  # the first is asked for before anything is there
    found = list(pieces(iter(given), lambda: next(sizes)))
    assert [len(piece.s2) for piece in found] == [1, 3, 3, 2]
    assert [number for piece in found for number in ids(piece)] == list(range(12))
    for piece in found:
        good = [read.tile.tile_id for read in piece.reads if read.status == "ok"]
        np.testing.assert_allclose(piece.s2[:, 0, 0, 0], np.array(good) / 100, rtol=1e-6)
        np.testing.assert_allclose(piece.s1[:, 1, 5, 5], -np.array(good) / 100, rtol=1e-6)


def test_the_first_piece_is_small() -> None:
    given = [batch(0, "o" * 16), batch(16, "o" * 16)]
    assert [len(piece.s2) for piece in pieces(iter(given), lambda: 16)] == [2, 16, 14]


def test_over_nodata_pieces_go_on_without_a_good_tile() -> None:
    given = [batch(64 * n, "x" * 64) for n in range(3)]
    assert [len(piece.reads) for piece in pieces(iter(given), lambda: 4)] == [64, 64, 64]


@pytest.fixture
def model(sample_model: str) -> MultiModalModel:
    return from_pretrained(sample_model)


def test_results_come_in_order_from_a_thread_that_ends(model: MultiModalModel) -> None:
    whole = batch(0, "o" * 12)
    expected = Predictor(model, CPU, BatchSize(4)).probabilities(whole.s2, whole.s1)
    parts = (part for part in (batch(0, "ooooo"), batch(5, "ooooooo")))
    results = list(compute_ahead(parts, Predictor(model, CPU, BatchSize(4))))
    assert [number for result in results for number in ids(result.batch)] == list(range(12))
    assert {result.device for result in results} == {CPU}
    found = np.concatenate([result.probabilities for result in results])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not [t for t in threading.enumerate() if t.name == "network"]


def test_an_error_of_reading_comes_after_what_was_computed(model: MultiModalModel) -> None:
    def failing() -> Iterator[Batch]:
        yield batch(0, "oo")
        raise SourceError("gone")

    results = compute_ahead(failing(), Predictor(model, CPU, BatchSize(2)))
    assert ids(next(results).batch) == [0, 1]
    with pytest.raises(SourceError, match="gone"):
        next(results)


def test_a_cancel_gives_what_is_computed_by_then(model: MultiModalModel) -> None:
    cancelled = threading.Event()
    endless = (batch(2 * n, "oo") for n in range(10**6))
    predictor = Predictor(model, CPU, BatchSize(2), is_cancelled=cancelled.is_set)
    results = compute_ahead(endless, predictor)
    seen = ids(next(results).batch)
    cancelled.set()
    for result in results:
        seen += ids(result.batch)
    assert seen == list(range(len(seen)))
    assert len(seen) <= 8


def test_who_gives_up_stops_the_network(model: MultiModalModel) -> None:
    endless = (batch(2 * n, "oo") for n in range(10**6))
    results = compute_ahead(endless, Predictor(model, CPU, BatchSize(2)))
    next(results)
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 5
    assert not [t for t in threading.enumerate() if t.name == "network"]


class Running(Launched):
    """A result of a device that computes by itself: it is there when it is waited for."""

    def __init__(self, values: np.ndarray, log: list[str], name: str) -> None:
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "log", log)
        object.__setattr__(self, "label", name)

    def wait(self) -> np.ndarray:
        self.log.append(f"wait {self.label}")
        if self.values is None:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.values


@pytest.mark.parametrize("lost", [None, 1])
def test_a_gpu_gets_the_next_piece_before_the_last_is_waited_for(
    model: MultiModalModel, monkeypatch: pytest.MonkeyPatch, lost: int | None
) -> None:
    """The twin computes at once what a GPU would; where it has no room it is computed again."""
    log: list[str] = []
    plain = Predictor(model, CPU, BatchSize(4))

    def begin(self: Predictor, s2: np.ndarray, s1: np.ndarray) -> Pending:
        number = sum(line.startswith("begin") for line in log)
        log.append(f"begin {number}")
        values = None if number == lost else plain.probabilities(s2, s1)
        return Pending(self, s2, s1, Running(values, log, str(number)))

    monkeypatch.setattr(Predictor, "begin", begin)
    given = batch(0, "o" * 10)
    results = list(computed((part for part in [given]), Predictor(model, CPU, BatchSize(4))))
    assert log == ["begin 0", "begin 1", "wait 0", "begin 2", "wait 1", "wait 2"]
    found = np.concatenate([result.probabilities for result in results])
    np.testing.assert_allclose(found, plain.probabilities(given.s2, given.s1), atol=1e-6)


def test_a_cancel_while_a_piece_is_computed_again_ends_quietly(
    model: MultiModalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU had no room for what was launched: it is computed anew when the cancel comes."""
    cancelled = threading.Event()

    def begin(self: Predictor, s2: np.ndarray, s1: np.ndarray) -> Pending:
        return Pending(self, s2, s1, Running(None, [], ""))

    def given() -> Iterator[Batch]:
        yield batch(0, "oo")
        cancelled.set()
        yield batch(2, "oo")

    monkeypatch.setattr(Predictor, "begin", begin)
    predictor = Predictor(model, CPU, BatchSize(2), is_cancelled=cancelled.is_set)
    assert list(computed(given(), predictor)) == []


def test_a_gpu_is_read_for_by_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Device(torch.device("cpu"), "cuda", "twin")
    for cores, readers in ((1, 1), (2, 1), (6, 5), (64, 8)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert reading_threads(gpu) == readers
    for threads, readers in ((1, 1), (4, 1), (16, 4), (96, 8)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert reading_threads(CPU) == readers


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_launched_results_are_those_of_waiting(model: MultiModalModel) -> None:
    device = Device(torch.device("cuda"), "cuda", "cuda:0")
    predictor = Predictor(model.to("cuda"), device, BatchSize(4))
    given = batch(0, "o" * 10)
    expected = predictor.probabilities(given.s2, given.s1)
    results = list(computed((part for part in [given]), predictor))
    found = np.concatenate([result.probabilities for result in results])
    np.testing.assert_allclose(found, expected, atol=1e-5)
