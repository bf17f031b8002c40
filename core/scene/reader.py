"""Reading ahead of the model: strips of tiles, each compressed block decoded about once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import rasterio

from ..contract.result import OK
from ..contract.spec import ModelSpec
from ..stages import stage
from .assemble import Layer, assemble, overlay
from .block_cache import cache_bytes, panel_width
from .blocks import with_room_for
from .grid import Tile, TileGrid
from .layers import OpenPart, PartPlan, layers, open_parts, read_clouds
from .mask import CloudMask
from .pixels import GDAL_OPTIONS, Band, FloatArray
from .warp import Stack, StackReader, open_stacks

# Pixels along a strip that are read at once.
CHUNK_WIDTH = 1200
# A batch ends at this many reads for each tile asked for, so that progress goes on over nodata.
MAX_READS = 8


@dataclass(frozen=True)
class TileRead:
    """What reading a tile gave; ``status`` is ``ok`` or ``skipped: reason``.

    ``valid_*`` are fractions of the tile's pixels; ``cloud`` is None where no mask was read.
    """

    tile: Tile
    status: str
    valid_s2: float
    valid_s1: float
    cloud: float | None = None


@dataclass(frozen=True)
class Batch:
    """Tiles in reading order; the arrays hold those with status ``ok``, in the same order.

    ``s2`` and ``s1`` are float32 (N, C, size, size), normalised and free of NaN; N may be 0.
    """

    reads: tuple[TileRead, ...]
    s2: FloatArray
    s1: FloatArray

    def split(self, count: int) -> tuple[Batch, Batch]:
        """Return the part with the first ``count`` good tiles, and the rest, which may be empty."""
        good = [place for place, read in enumerate(self.reads) if read.status == OK]
        end = good[count] if len(good) > count else len(self.reads)
        first = Batch(self.reads[:end], self.s2[:count], self.s1[:count])
        return first, Batch(self.reads[end:], self.s2[count:], self.s1[count:])

    def joined(self, other: Batch) -> Batch:
        """Return this batch with another one behind it."""
        s2, s1 = (np.concatenate(pair) for pair in ((self.s2, other.s2), (self.s1, other.s1)))
        return Batch(self.reads + other.reads, s2, s1)


@dataclass(frozen=True)
class ReadPlan:
    """All that a reading thread needs: it opens files of its own."""

    grid: TileGrid
    spec: ModelSpec
    s2: tuple[PartPlan, ...]
    s1: tuple[PartPlan, ...]
    mask: CloudMask | None = None
    mask_stacks: tuple[Stack, ...] = ()
    max_cloud: float = 1.0

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """Every stack of every part, without the mask."""
        return tuple(stack for part in (*self.s2, *self.s1) for stack in part.stacks)

    @property
    def bands(self) -> tuple[Band, ...]:
        """Every band that is read, with those of the mask."""
        return tuple(b for stack in (*self.stacks, *self.mask_stacks) for b in stack.bands)


@dataclass(frozen=True)
class _Open:
    """The open files of a plan."""

    s2: list[OpenPart]
    s1: list[OpenPart]
    mask: list[StackReader]


def read_batches(
    plan: ReadPlan,
    tiles: Sequence[Tile],
    batch_size: int,
    min_valid: float,
    stopped: Callable[[], bool],
    readers: int = 1,
) -> Iterator[Batch]:
    """Read tiles in this thread and yield them in batches of ``batch_size`` good ones.

    ``readers`` threads that do so, each with another part of the scene, share GDAL's cache.
    """
    cache = cache_bytes(plan.stacks, plan.grid)
    panel = panel_width(plan.stacks, plan.grid, cache // readers, CHUNK_WIDTH)
    options = with_room_for(plan.bands, {**GDAL_OPTIONS, "GDAL_CACHEMAX": cache})
    with rasterio.Env(**options), ExitStack() as exits:
        files = _open(plan, exits)
        packer = _Packer(plan, batch_size, min_valid)
        for chunk in chunks(plan.grid, tiles, chunk_width(plan), panel):
            if stopped():
                return
            with stage("prepare"):
                full = packer.add(chunk, _read_chunk(plan, chunk, files))
            yield from full
        yield from packer.rest()


def chunks(
    grid: TileGrid, tiles: Sequence[Tile], width: int, panel: int
) -> Iterator[tuple[Tile, ...]]:
    """Yield runs of tiles of one row that touch, at most ``width`` pixels wide, row-major.

    A scene wider than ``panel`` pixels is read in vertical panels, row-major within each, so
    that the block cache holds a row of blocks.
    """
    columns = max(1, panel // grid.stride)
    first = min((tile.col for tile in tiles), default=0)

    def panel_of(tile: Tile) -> int:
        return (tile.col - first) // columns

    run: list[Tile] = []
    for tile in sorted(tiles, key=lambda t: (panel_of(t), t.row, t.col)):
        in_line = run and (tile.row, panel_of(tile)) == (run[0].row, panel_of(run[0]))
        if run and not (in_line and _continues(grid, run, tile, width)):
            yield tuple(run)
            run = []
        run.append(tile)
    if run:
        yield tuple(run)


def chunk_width(plan: ReadPlan) -> int:
    """Return how many grid pixels to read at once: fewer where the source is much finer."""
    size = plan.grid.geometry.pixel_size_m
    finest = min(stack.geometry.pixel_size_m for stack in plan.stacks)
    return max(plan.grid.tile_size, int(CHUNK_WIDTH * min(1.0, finest / size) ** 2))


@dataclass(frozen=True)
class _Strip:
    """A chunk's channels and masks; ``left`` is the grid column of its first pixel.

    ``cloud`` is None where no mask was read; ``masked`` is where the mask has a value.
    """

    left: int
    s2: FloatArray
    s1: FloatArray
    valid_s2: np.ndarray
    valid_s1: np.ndarray
    cloud: np.ndarray | None
    masked: np.ndarray | None


def _open(plan: ReadPlan, exits: ExitStack) -> _Open:
    grid = plan.grid.geometry
    s2, s1 = open_parts(plan.s2, grid, exits), open_parts(plan.s1, grid, exits)
    return _Open(s2, s1, open_stacks(plan.mask_stacks, grid, exits))


def _read_chunk(plan: ReadPlan, chunk: tuple[Tile, ...], files: _Open) -> _Strip:
    stride, size = plan.grid.stride, plan.grid.tile_size
    left, top = chunk[0].col * stride, chunk[0].row * stride
    width = chunk[-1].col * stride + size - left
    window = (top, left, size, width)
    nothing: Layer = {}, np.zeros((size, width), dtype=bool)
    optical, optical_valid = overlay(layers(files.s2, window)) or nothing
    radar, radar_valid = overlay(layers(files.s1, window)) or nothing
    if not plan.spec.s1:
        radar_valid = np.ones((size, width), dtype=bool)
    cloud, masked = read_clouds(plan.mask, files.mask, window)
    s1 = assemble(radar, radar_valid, plan.spec.s1) if plan.spec.s1 else None
    return _Strip(
        left, assemble(optical, optical_valid, plan.spec.s2),
        np.empty((0, size, width), dtype=np.float32) if s1 is None else s1,
        optical_valid, radar_valid, cloud, masked,
    )  # fmt: skip


class _Packer:
    """Cuts tiles from strips into batches."""

    def __init__(self, plan: ReadPlan, batch_size: int, min_valid: float) -> None:
        self._plan, self._size, self._min_valid = plan, batch_size, min_valid
        self._start()

    def add(self, chunk: tuple[Tile, ...], strip: _Strip) -> list[Batch]:
        """Take a chunk's tiles and return every batch that is full."""
        full: list[Batch] = []
        for tile in chunk:
            left = tile.col * self._plan.grid.stride - strip.left
            columns = slice(left, left + self._plan.grid.tile_size)
            read = self._judge(tile, strip, columns)
            self._reads.append(read)
            if read.status == OK:
                self._s2[self._good] = strip.s2[:, :, columns]
                self._s1[self._good] = strip.s1[:, :, columns]
                self._good += 1
            if self._good == self._size or len(self._reads) == MAX_READS * self._size:
                full += self.rest()
        return full

    def rest(self) -> Iterator[Batch]:
        """Yield what has been gathered, if anything."""
        if self._reads:
            batch = Batch(tuple(self._reads), self._s2[: self._good], self._s1[: self._good])
            self._start()
            yield batch

    def _start(self) -> None:
        spec, size = self._plan.spec, self._plan.grid.tile_size
        self._reads: list[TileRead] = []
        self._good = 0
        self._s2 = np.empty((self._size, len(spec.s2), size, size), dtype=np.float32)
        self._s1 = np.empty((self._size, len(spec.s1), size, size), dtype=np.float32)

    def _judge(self, tile: Tile, strip: _Strip, columns: slice) -> TileRead:
        valid_s2 = float(strip.valid_s2[:, columns].mean())
        valid_s1 = float(strip.valid_s1[:, columns].mean())
        cloud = None
        if strip.cloud is not None and strip.masked is not None:
            seen = bool(strip.masked[:, columns].any())
            cloud = float(strip.cloud[:, columns].mean()) if seen else None
        status = OK
        for sensor, share in (("Sentinel-2", valid_s2), ("Sentinel-1", valid_s1)):
            # Nothing at all is never enough, not even where the user accepts any share.
            if status == OK and (share < self._min_valid or share == 0):
                status = f"skipped: too few valid {sensor} pixels"
        if status == OK and cloud is not None and cloud > self._plan.max_cloud:
            status = "skipped: too cloudy"
        return TileRead(tile, status, valid_s2, valid_s1, cloud)


def _continues(grid: TileGrid, run: list[Tile], tile: Tile, width: int) -> bool:
    """Return whether a tile touches a run of its line, which stays within ``width`` pixels."""
    touches = (tile.col - run[-1].col) * grid.stride <= grid.tile_size
    return touches and (tile.col - run[0].col) * grid.stride + grid.tile_size <= width
