"""Damaged files never crash or hang the process: each opens, or ends as a coded error."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.shutil import copy as copy_raster

from multimodal.contract.channels import S2_BANDS
from multimodal.contract.job import RasterSource

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]

WORKER = Path(__file__).with_name("fuzz_worker.py")
# Of each of 9 subjects; the last ones have found defects: a place at infinity, numbers too large
# for a float, lines of calibration that are no numbers.
SEEDS = (*range(52), 1001, 1097, 1182, 1275)
SECONDS = 5.0
# On a busy machine a mutant may wait long for its turn; its computing is counted apart.
PATIENCE = 30.0
HARMLESS = {
    "ok",
    "source",
    "radiometry",
    "crs",
    "missing_channels",
    "no_overlap",
    "decision",
    "job",
}
SIDE = 60


class Worker:
    """A process that opens pairs; started anew when a pair kills it."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("wb")
        self._start()

    def run(self, s2: Path, s1: Path) -> str:
        """Return how a pair ended: ``ok``, a code, a traceback, ``hung`` or ``crashed``."""
        watchdog = threading.Timer(PATIENCE, self._process.kill)
        watchdog.start()
        try:
            print(json.dumps([str(s2), str(s1)]), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        in_time = watchdog.is_alive()
        watchdog.cancel()
        if not line:
            status = self._process.wait()
            self._start()
            return f"crashed ({status})" if in_time else "hung"
        ended, seconds = json.loads(line)
        return ended if seconds < SECONDS else f"took {seconds:.1f} s of computing"

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)
        self._log.close()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True,
        )  # fmt: skip


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    opened = Worker(tmp_path_factory.mktemp("fuzz") / "stderr.txt")
    yield opened
    opened.close()


# Mutations of bytes.


def flipped(content: bytearray, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 8)):
        content[dice.randrange(min(len(content), 600))] = dice.randrange(256)


def scattered(content: bytearray, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 8)):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def truncated(content: bytearray, dice: random.Random) -> None:
    del content[dice.randrange(len(content)) :]


def extended(content: bytearray, dice: random.Random) -> None:
    place = dice.choice((len(content), dice.randrange(len(content))))
    content[place:place] = dice.randbytes(dice.randint(1, 2000))


def blanked(content: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(content))
    end = min(len(content), start + dice.randint(1, 300))
    content[start:end] = bytes((dice.choice((0, 255)),)) * (end - start)


def renumbered(content: bytearray, dice: random.Random) -> None:
    """Put something absurd in the place of a number of a text."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content)) or [re.match(rb"", content)]
    found = dice.choice(numbers)
    absurd = (
        b"nan",
        b"-1",
        b"0",
        b"1e999",
        b"9" * 400,
        b"",
        b"x",
        b"4294967296",
        b"1e-300",
        b"3 4",
    )
    content[found.start() : found.end()] = dice.choice(absurd)


MUTATIONS = (flipped, scattered, truncated, extended, blanked)


def mutant(content: bytes, seed: int, is_text: bool) -> bytes:
    dice = random.Random(seed)
    changed = bytearray(content)
    dice.choice((*MUTATIONS, renumbered, renumbered) if is_text else MUTATIONS)(changed, dice)
    return bytes(changed)


@dataclass(frozen=True)
class Subject:
    """A folder with an intact pair; ``victim`` is the file in it that is to be damaged."""

    folder: Path
    s2: str
    s1: str
    victim: str

    def copy(self, to: Path, seed: int | None = None) -> tuple[Path, Path]:
        """Copy the folder, with the victim damaged where there is a seed; return the pair."""
        shutil.copytree(self.folder, to)
        if seed is not None:
            file = to / self.victim
            is_text = file.suffix in (".xml", ".json", ".vrt")
            file.write_bytes(mutant(file.read_bytes(), seed, is_text))
        return to / self.s2, to / self.s1


class Bench:
    """Writes the small real-looking pairs that subjects are made of."""

    def __init__(self, folder: Path, write: Write, optical: Make, radar: Make) -> None:
        self.folder, self._write = folder / "intact", write
        self.optical, self.radar = optical(SIDE, SIDE), radar(SIDE, SIDE)

    def s2(self, name: str = "s2.tif", names: tuple[str, ...] = S2_BANDS, **profile: Any) -> str:
        self._write(f"intact/{name}", self.optical, names, **profile)
        return name

    def s1(self, name: str = "s1.tif", **profile: Any) -> str:
        self._write(f"intact/{name}", self.radar, ("VV", "VH"), **profile)
        return name

    def single(self, name: str, values: np.ndarray, **profile: Any) -> str:
        self._write(f"intact/{name}", values[None], **profile)
        return name

    def text(self, name: str, content: str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return name

    def subject(self, s2: str, s1: str, victim: str) -> Subject:
        return Subject(self.folder, s2, s1, victim)


@pytest.fixture
def bench(tmp_path: Path, write_raster: Write, optical: Make, radar: Make) -> Bench:
    return Bench(tmp_path, write_raster, optical, radar)


TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
MTD = (
    '<?xml version="1.0" encoding="UTF-8"?><n1:Product xmlns:n1="urn:x"><Info>'
    "<PRODUCT_START_TIME>2022-06-13T10:10:31.024Z</PRODUCT_START_TIME></Info><List>"
    + "".join(f'<BOA_ADD_OFFSET band_id="{n}">0</BOA_ADD_OFFSET>' for n in range(13))
    + "</List></n1:Product>"
)
VECTOR = (
    "<calibrationVector><line>{}</line><pixel>0 30 59</pixel>"
    "<sigmaNought>500.5 501 502.25</sigmaNought></calibrationVector>"
)
CALIBRATION = f"<calibration>{VECTOR.format(0)}{VECTOR.format(40)}{VECTOR.format(80)}</calibration>"


def tiled_optical(bench: Bench) -> Subject:
    s2 = bench.s2(**TILED)
    return bench.subject(s2, bench.s1(), s2)


def plain_optical(bench: Bench) -> Subject:
    s2 = bench.s2(interleave="band", scale_offset=(1e-4, 0.0))
    return bench.subject(s2, bench.s1(), s2)


def tiled_radar(bench: Bench) -> Subject:
    s1 = bench.s1(nodata=np.nan, **TILED)
    return bench.subject(bench.s2(), s1, s1)


def jpeg_2000(bench: Bench) -> Subject:
    for name, values in zip(S2_BANDS, bench.optical, strict=True):
        tif = bench.folder / bench.single(f"s2/{name}.tif", values)
        copy_raster(str(tif), str(tif.with_suffix(".jp2")), driver="JP2OpenJPEG", REVERSIBLE="YES")
        tif.unlink()
    return bench.subject("s2", bench.s1(), "s2/B04.jp2")


def product_metadata(bench: Bench) -> Subject:
    bench.s2("A_MSIL2A.SAFE/all.tif")
    xml = bench.text("A_MSIL2A.SAFE/MTD_MSIL2A.xml", MTD)
    return bench.subject("A_MSIL2A.SAFE", bench.s1(), xml)


def calibration(bench: Bench) -> Subject:
    raw = (10 ** (bench.radar / 20) * 500).astype(np.uint16)
    for name, values in zip(("vv", "vh"), raw, strict=True):
        bench.single(f"S1A.SAFE/measurement/iw-{name}.tiff", values)
        xml = bench.text(f"S1A.SAFE/annotation/calibration/calibration-iw-{name}.xml", CALIBRATION)
    return bench.subject(bench.s2(), "S1A.SAFE", xml)


def virtual_raster(bench: Bench) -> Subject:
    s2 = bench.folder / bench.s2()
    vrt = s2.with_suffix(".vrt")
    copy_raster(str(s2), str(vrt), driver="VRT")
    return bench.subject(vrt.name, bench.s1(), vrt.name)


def stac_item(bench: Bench) -> Subject:
    s2 = bench.s2(names=())
    bands = [{"name": name, "center_wavelength": 0.5} for name in S2_BANDS]
    item = {
        "stac_version": "1.0.0", "type": "Feature", "collection": "sentinel-2-l2a",
        "properties": {"datetime": "2021-06-13T10:10:31Z", "s2:processing_baseline": "03.00"},
        "assets": {"all": {"href": f"./{s2}", "eo:bands": bands,
                           "raster:bands": [{"scale": 0.0001, "offset": 0}]}},
    }  # fmt: skip
    return bench.subject(s2, bench.s1(), bench.text("s2.json", json.dumps(item)))


def archive(bench: Bench) -> Subject:
    s2 = bench.folder / bench.s2("scene/s2.tif", **TILED)
    with zipfile.ZipFile(bench.folder / "s2.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(s2, "scene/s2.tif")
        packed.writestr("scene/MTD_MSIL2A.xml", MTD)
    return bench.subject("s2.zip", bench.s1(), "s2.zip")


SUBJECTS = (
    tiled_optical, plain_optical, tiled_radar, jpeg_2000, product_metadata, calibration,
    virtual_raster, stac_item, archive,
)  # fmt: skip


@pytest.mark.parametrize("make", SUBJECTS, ids=lambda make: make.__name__)
def test_damage_ends_as_a_coded_error_or_does_no_harm(
    make: Callable[[Bench], Subject], bench: Bench, worker: Worker, tmp_path: Path
) -> None:
    subject = make(bench)
    assert worker.run(*subject.copy(tmp_path / "whole")) == "ok"
    ends = {}
    for seed in SEEDS:
        folder = tmp_path / f"{seed}"
        ends[seed] = worker.run(*subject.copy(folder, seed))
        shutil.rmtree(folder)
    assert {seed: end for seed, end in ends.items() if end not in HARMLESS} == {}
    assert len(set(ends.values())) > 1  # the damage does reach what is read
