"""Run under faults.so: let call after call on results or rasters fail, and go on afterwards."""

from __future__ import annotations

import ctypes
import errno
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_journal_kill import content, write

from multimodal.contract.errors import InternalError, MultimodalError, OutputError
from multimodal.contract.target import sweep

READS, WRITES, OPENS, SYNCS = 1, 2, 4, 8
ALL = READS | WRITES | OPENS | SYNCS
# name, error, whether it stays, which calls, every which of them
FAULTS = (
    ("full disk", errno.ENOSPC, True, WRITES, 1),
    ("I/O error once", errno.EIO, False, ALL, 2),
    ("drive gone", errno.EIO, True, ALL, 3),
    ("made read-only", errno.EROFS, True, WRITES | OPENS, 3),
)
DONE, REFUSED, WRONG = 0, 3, 1
SOURCE_TRIALS = 12


def arm(folder: Path, at: int, error: int = 0, stays: bool = False, calls: int = ALL) -> None:
    library = ctypes.CDLL(None)
    library.fault_arm(str(folder).encode(), ctypes.c_long(at), error, int(stays), calls)


def in_fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = WRONG
        try:
            work()
            code = DONE
        except MultimodalError as problem:
            is_told = not isinstance(problem, OutputError) or "cannot be" in problem.message
            code = REFUSED if is_told and not isinstance(problem, InternalError) else WRONG
            if code == WRONG:
                print(problem.message, file=sys.stderr)
        except BaseException as problem:  # noqa: BLE001  # anything else is what is looked for
            print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fail_at(folder: Path, at: int, fault: list, work: Callable[[], None]) -> None:
    arm(folder, at, *fault)
    work()


def calls_of(folder: Path, calls: int) -> int:
    """Return how many calls a run without faults makes."""

    def count() -> None:
        arm(folder, -1, calls=calls)
        write(folder / "counted.gpkg")
        (folder / "count").write_text(str(ctypes.CDLL(None).fault_seen()))

    assert in_fork(count) == DONE
    (folder / "counted.gpkg").unlink()
    return int((folder / "count").read_text())


def check_kept(path: Path) -> int:
    """Return how many tiles a file holds that a failing drive left: it must be whole."""
    if not path.exists():
        return 0
    assert sweep(str(path)), "a journal was left that nobody can play back"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return 0
        (count,) = connection.execute("SELECT count(*) FROM tiles").fetchone()
        (indexed,) = connection.execute("SELECT count(*) FROM rtree_tiles_geom").fetchone()
        (state,) = connection.execute("SELECT state FROM mm_run").fetchone()
        assert indexed == count
        assert state == "partial" or count == 5
        assert connection.execute("SELECT count(*) FROM layer_styles").fetchone() == (1,)
        return int(count)


def fail_results(folder: Path) -> None:
    """Let each call on the folder of a result fail."""
    whole = folder / "whole.gpkg"
    write(whole)
    expected = content(whole)
    path = folder / "tiles.gpkg"
    for name, *fault, step in FAULTS:
        ends: Counter[str] = Counter()
        total = calls_of(folder, fault[-1])
        for at in range(0, total, step):
            code = in_fork(partial(fail_at, folder, at, fault, partial(write, path)))
            assert code in (DONE, REFUSED), f"{name} at call {at}: ended with {code}"
            ends["refused" if code == REFUSED else "did no harm"] += 1
            ends["tiles kept"] += check_kept(path)
            if code == DONE:
                assert content(path) == expected, f"{name} at call {at}: wrong though it said done"
            write(path)
            assert content(path) == expected, f"{name} at call {at}: the resumed run differs"
            path.unlink()
        print(f"{name}: every {step}. of {total} calls, {dict(ends)}", flush=True)


def fail_sources(folder: Path) -> None:
    """Let reads and openings of the rasters fail, once and for ever, at some of the calls."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "soak"))
    import torch
    from killing import Killer
    from killing import content as whole_content

    torch.set_num_threads(1)
    rasters, results = folder / "rasters", folder / "results"
    rasters.mkdir()
    results.mkdir()
    killer = Killer(rasters)
    path, expected = results / "tiles.gpkg", whole_content(rasters / "whole.gpkg")[0]["ids"]
    calls = READS | OPENS

    def count() -> None:
        arm(rasters, -1, calls=calls)
        killer.run(path, 6)
        (folder / "count").write_text(str(ctypes.CDLL(None).fault_seen()))

    assert in_fork(count) == DONE
    path.unlink()
    total = int((folder / "count").read_text())
    ends: Counter[str] = Counter()
    for number in range(SOURCE_TRIALS):
        at = total * number // SOURCE_TRIALS

        fault = [errno.EIO, number % 2 == 0, calls]
        code = in_fork(partial(fail_at, rasters, at, fault, partial(killer.run, path, 6)))
        assert code in (DONE, REFUSED), f"call {at} on a raster: ended with {code}"
        ends["refused" if code == REFUSED else "did no harm"] += 1
        if path.exists():
            ids = whole_content(path)[0]["ids"]
            assert ids == expected[: len(ids)]
            ends["tiles kept"] += len(ids)
        assert in_fork(partial(killer.run, path, 5)) == DONE
        killer.check_whole(path, f"call {at} on a raster")
        path.unlink()
    print(f"rasters: {SOURCE_TRIALS} of {total} calls, {dict(ends)}", flush=True)


if __name__ == "__main__":
    {"results": fail_results, "sources": fail_sources}[sys.argv[1]](Path(sys.argv[2]))
