"""The batch size is found by a trial whose tiles count, and shrinks where memory ends."""

from __future__ import annotations

import pytest

from multimodal.batching import FORGET, PIECE_SECONDS, TRIAL_SECONDS, BatchSize


def tried(size: BatchSize, seconds_of: dict[int, float]) -> list[int]:
    """Go through a trial; return the pieces that it took."""
    pieces = []
    while size.to_remember is None:
        pieces.append(size.next)
        size.took(size.next, seconds_of[size.next])
    return pieces


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ({2: 1.0, 4: 1.0, 8: 1.0, 16: 1.0}, 16),  # twice as fast each time
        ({2: 0.2, 4: 0.4, 8: 0.8, 16: 1.6}, 2),  # no faster at all
        ({2: 1.2, 4: 2.0, 8: 3.9, 16: 7.8}, 4),  # a plateau from 4 on
        ({2: 0.3, 4: 0.5, 8: 3.0, 16: 6.0}, 4),  # slower again, as where memory is tight
    ],
)
def test_a_trial_doubles_and_keeps_where_the_plateau_begins(
    seconds: dict[int, float], found: int
) -> None:
    size = BatchSize.on_trial("cpu", 1024)
    # The first piece pays for what is set up once: its size is taken again.
    assert tried(size, seconds) == [2, 2, 4, 8, 16]
    assert (size.next, size.limit, size.to_remember) == (found, found, found)


@pytest.mark.parametrize(
    ("kind", "most", "sizes"),
    [
        ("cuda", 1024, [8, 8, 16, 32, 64, 128]), ("mps", 1024, [4, 4, 8, 16, 32]),
        ("cpu", 3, [2, 2]), ("cuda", 5, [5, 5]), ("other", 1024, [2, 2, 4, 8, 16]),
    ],
)  # fmt: skip
def test_the_sizes_of_a_device(kind: str, most: int, sizes: list[int]) -> None:
    size = BatchSize.on_trial(kind, most)
    assert size.limit == min(most, {"cuda": 128, "mps": 32}.get(kind, 16))
    assert tried(size, dict.fromkeys(sizes, 1.0)) == sizes


def test_a_slow_device_is_not_tried_for_long() -> None:
    size = BatchSize.on_trial("cpu", 1024)
    seconds = dict.fromkeys((2, 4, 8), 0.9 * PIECE_SECONDS)
    size.took(2, TRIAL_SECONDS - PIECE_SECONDS)
    assert tried(size, seconds) == [2, 4]
    assert size.next == 4


def test_where_a_piece_takes_seconds_no_larger_one_is_tried() -> None:
    """A cancel could come at the beginning of its longest layer."""
    size = BatchSize.on_trial("cpu", 1024)
    assert tried(size, {2: 2.0, 4: 1.1 * PIECE_SECONDS}) == [2, 2, 4]
    assert size.limit in (2, 4)


def test_the_last_tiles_of_what_was_read_are_no_measure() -> None:
    size = BatchSize.on_trial("cpu", 1024)
    size.took(2, 9.0)
    size.took(2, 1.0)
    assert size.next == 4
    size.took(3, 0.0001)
    assert (size.next, size.to_remember) == (4, None)


def test_want_of_memory_ends_a_trial_and_what_worked_is_remembered() -> None:
    size = BatchSize.on_trial("cuda", 1024)
    for seconds in (5.0, 1.0, 1.0):
        size.took(size.next, seconds)
    assert size.next == 32
    size.shrink(32)
    assert (size.next, size.to_remember) == (16, 16)
    size.shrink(16)  # what the trial found does not hold
    assert (size.next, size.to_remember) == (8, 8)


def test_want_of_memory_before_anything_was_measured() -> None:
    size = BatchSize.on_trial("cuda", 1024)
    size.shrink(8)
    assert (size.next, size.to_remember) == (4, 4)
    for failed in (4, 2):
        size.shrink(failed)
    assert size.next == 1


def test_a_remembered_size_that_no_longer_fits_is_tried_anew_next_time() -> None:
    size = BatchSize(64, is_remembered=True)
    assert (size.next, size.to_remember) == (64, None)
    size.shrink(64)
    assert (size.next, size.to_remember) == (32, FORGET)


def test_a_size_that_was_asked_for_is_neither_tried_nor_remembered() -> None:
    size = BatchSize(4)
    size.took(4, 1.0)
    size.shrink(4)
    assert (size.next, size.to_remember) == (2, None)


def test_a_tile_is_alone_only_where_two_have_no_room() -> None:
    size = BatchSize(1)
    assert size.next == 2
    size.shrink(2)
    assert size.next == 1
