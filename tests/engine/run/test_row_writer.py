"""Rows are told after their commit, and commits take a small share of a run's time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from multimodal.contract.errors import OutputError, SourceError
from multimodal.contract.result import TileResult
from multimodal.row_writer import RowWriter

CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def rows(first: int, count: int) -> list[TileResult]:
    return [
        TileResult(n, 0, n, CORNERS, "skipped: no data", None, 0.0, 0.0)
        for n in range(first, first + count)
    ]


class Disk:
    """A clock, and a disk on which a commit takes its time."""

    def __init__(self, commit_seconds: float) -> None:
        self.now = 100.0
        self.seconds = commit_seconds
        self.commits: list[list[int]] = []
        self.told: list[int] = []
        self.is_full = False

    def writer(self) -> RowWriter:
        return RowWriter(self.commit, self.tell, lambda: self.now)

    def commit(self, given: Sequence[TileResult]) -> None:
        self.now += self.seconds
        if self.is_full:
            raise OutputError("full")
        self.commits.append([row.tile_id for row in given])

    def tell(self, given: Sequence[TileResult]) -> None:
        ids = [row.tile_id for row in given]
        assert self.commits[-1] == ids, "told before it was committed"
        self.told += ids


def fed(disk: Disk, batches: int, size: int, seconds: float) -> RowWriter:
    """Give batches, each of which took so long to compute."""
    writer = disk.writer()
    for number in range(batches):
        disk.now += seconds
        writer.add(rows(number * size, size))
    return writer


def test_batches_that_take_long_are_committed_one_by_one() -> None:
    disk = Disk(commit_seconds=0.02)
    fed(disk, batches=5, size=8, seconds=1.0)
    assert [len(commit) for commit in disk.commits] == [8] * 5
    assert disk.told == list(range(40))


def test_the_first_batch_is_there_at_once() -> None:
    disk = Disk(commit_seconds=0.02)
    fed(disk, batches=1, size=8, seconds=0.001)
    assert disk.told == list(range(8))


def test_quick_batches_share_commits_that_take_a_twentieth_of_the_time() -> None:
    disk = Disk(commit_seconds=0.01)
    started = disk.now
    writer = fed(disk, batches=500, size=1, seconds=0.008)
    writer.flush()
    assert disk.told == list(range(500))
    passed = disk.now - started
    assert 0.03 < len(disk.commits) * 0.01 / passed < 0.06


def test_on_a_slow_disk_no_more_than_half_a_second_is_held() -> None:
    disk = Disk(commit_seconds=0.2)
    fed(disk, batches=200, size=1, seconds=0.01)
    assert 45 <= max(map(len, disk.commits)) <= 50
    assert len(disk.commits) == 5


def test_nothing_is_held_when_the_next_batch_would_come_too_late() -> None:
    disk = Disk(commit_seconds=0.01)
    # The pause is 0.2 s: after a batch of 0.15 s the next one is expected beyond it.
    fed(disk, batches=4, size=2, seconds=0.15)
    assert [len(commit) for commit in disk.commits] == [2] * 4


def test_a_commit_has_so_many_rows_at_most_and_batches_stay_whole() -> None:
    disk = Disk(commit_seconds=1.0)
    fed(disk, batches=41, size=100, seconds=0.0001)
    assert [len(commit) for commit in disk.commits] == [100] + [600] * 6
    assert len(disk.told) == 3700


def test_leaving_commits_what_is_held() -> None:
    disk = Disk(commit_seconds=0.02)
    with fed(disk, batches=3, size=2, seconds=0.001):
        assert disk.told == [0, 1]
    assert disk.told == list(range(6))
    assert len(disk.commits) == 2


def test_an_error_on_its_way_keeps_what_is_held() -> None:
    disk = Disk(commit_seconds=0.02)
    with pytest.raises(ValueError, match="lost"), fed(disk, batches=3, size=2, seconds=0.001):
        raise ValueError("the device was lost")
    assert disk.told == list(range(6))


def test_the_first_of_two_errors_is_told() -> None:
    disk = Disk(commit_seconds=0.02)
    writer = fed(disk, batches=3, size=2, seconds=0.001)
    disk.is_full = True
    with pytest.raises(ValueError, match="lost"), writer:
        raise ValueError("the device was lost")
    assert disk.told == [0, 1]


def test_a_full_disk_is_told_at_the_end_too() -> None:
    disk = Disk(commit_seconds=0.02)
    writer = fed(disk, batches=3, size=2, seconds=0.001)
    with pytest.raises(OutputError), writer:
        disk.is_full = True


def test_rows_whose_commit_failed_are_neither_told_nor_tried_again() -> None:
    disk = Disk(commit_seconds=0.02)
    disk.is_full = True
    writer = disk.writer()
    with pytest.raises(OutputError):
        writer.add(rows(0, 2))
    disk.is_full = False
    writer.flush()
    assert (disk.commits, disk.told) == ([], [])


def test_what_is_dropped_is_never_committed() -> None:
    disk = Disk(commit_seconds=0.02)
    writer = fed(disk, batches=3, size=2, seconds=0.001)
    writer.drop()
    with pytest.raises(SourceError), writer:
        raise SourceError("was changed")
    assert disk.told == [0, 1]
