"""Reading: the right pixels, masked and normalised, by a thread that always ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from multimodal import ahead
from multimodal.ahead import read_ahead
from multimodal.contract.channels import S2_BANDS
from multimodal.contract.errors import JobError, NoOverlapError, SourceError
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import ModelSpec, default_spec
from multimodal.scene import Batch, Scene, open_scene, sharing
from multimodal.scene.assemble import normalised_difference
from multimodal.scene.block_cache import cache_bytes, panel_width
from multimodal.scene.planning import read_plan
from multimodal.scene.reader import chunks
from multimodal.scene.sharing import shares
from multimodal.scene.warp import StackReader

Write = Callable[..., RasterSource]
Make = Callable[..., np.ndarray]
Pair = tuple[RasterSource, RasterSource]


def read_all(scene: Scene, min_valid: float = 0.75, size: int = 8) -> dict[int, tuple]:
    """Return tile id -> (read, s2 or None, s1 or None)."""
    result: dict[int, tuple] = {}
    for batch in scene.batches(scene.select(), size, min_valid):
        good = iter(zip(batch.s2, batch.s1, strict=True))
        for read in batch.reads:
            result[read.tile.tile_id] = (
                read,
                *(next(good) if read.status == "ok" else (None, None)),
            )
        assert next(good, None) is None
    return result


def denormalised(values: np.ndarray, spec: ModelSpec, sensor: str) -> dict[str, np.ndarray]:
    channels = spec.s2 if sensor == "s2" else spec.s1
    return {c.name: layer * c.std + c.mean for c, layer in zip(channels, values, strict=True)}


def scene_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "scene-reader"]


def test_tiles_of_the_mosaics_equal_the_original_patches(
    sample_scenes: list[Pair], shared_data: Path, spec: ModelSpec
) -> None:
    patches = {
        p.name.split("_T33UUP_")[1]: p for p in (shared_data / "ben_v2/patches").glob("*_T33UUP_*")
    }
    seen = 0
    for s2, s1 in sample_scenes:
        with open_scene([s2], [s1], spec) as scene:
            for read, optical, radar in read_all(scene).values():
                x, y = scene.grid.corners(read.tile)[3]
                key = f"{round((x - 300_000) / 1200):02d}_{round((5_400_000 - y) / 1200):02d}"
                assert (read.status == "ok") == (key in patches)
                if optical is not None:
                    assert_is_patch(optical, radar, patches[key], spec)
                    seen += 1
    assert seen == 19


def assert_is_patch(optical: np.ndarray, radar: np.ndarray, patch: Path, spec: ModelSpec) -> None:
    """Compare with values read and normalised here, without the code under test."""
    raw = {}
    for name in (*S2_BANDS, "VV", "VH"):
        with rasterio.open(next(patch.glob(f"*_{name}.tif"))) as dataset:
            band = dataset.read(1).astype(np.float32)
        raw[name] = band.repeat(120 // band.shape[0], 0).repeat(120 // band.shape[1], 1)
    raw["NDVI"] = (raw["B08"] - raw["B04"]) / (raw["B08"] + raw["B04"])
    raw["NDWI"] = (raw["B03"] - raw["B08"]) / (raw["B03"] + raw["B08"])
    for channel, layer in zip((*spec.s2, *spec.s1), (*optical, *radar), strict=True):
        expected = (raw[channel.name] - np.float32(channel.mean)) / np.float32(channel.std)
        np.testing.assert_array_equal(layer, expected, err_msg=channel.name)


def test_native_resolutions_give_the_same_tile_as_the_mosaic(
    sample_scenes: list[Pair], shared_data: Path, spec: ModelSpec
) -> None:
    patch = RasterSource(str(next((shared_data / "ben_v2/patches").glob("*_T33UUP_34_70"))))
    with open_scene([patch], [patch], spec) as scene:
        ((read, optical, radar),) = read_all(scene).values()
        sizes = {name: b["pixel_size_m"] for name, b in scene.describe()["s2"]["bands"].items()}
    assert read.status == "ok"
    assert (sizes["B02"], sizes["B05"], sizes["B01"]) == (10, 20, 60)
    assert_is_patch(optical, radar, Path(patch.path), spec)


def test_edge_tiles_reach_past_the_raster_and_count_the_outside_as_nodata(
    write_raster: Write, optical: Make, radar: Make, spec: ModelSpec
) -> None:
    s2 = write_raster("s2.tif", optical(240, 210), S2_BANDS)
    s1 = write_raster("s1.tif", radar(240, 210), ("VV", "VH"))
    with open_scene([s2], [s1], spec) as scene:
        tiles = read_all(scene, 0.75)
        assert [tiles[n][0].valid_s2 for n in range(4)] == [1, 0.75, 1, 0.75]
        assert [tiles[n][0].status for n in range(4)] == ["ok"] * 4
        assert np.all(tiles[1][1][:, :, 90:] == 0)
        strict = read_all(scene, 0.76)
    assert strict[1][0].status == "skipped: too few valid Sentinel-2 pixels"


def test_overlapping_strides_cut_the_same_pixels(pair: Pair, spec: ModelSpec) -> None:
    with open_scene([pair[0]], [pair[1]], spec) as scene:
        whole = read_all(scene)
    with open_scene([pair[0]], [pair[1]], spec, stride=40) as scene:
        fine = read_all(scene)
        assert (scene.grid.rows, scene.grid.columns) == (4, 4)
        np.testing.assert_array_equal(fine[3 * 4 + 3][1], whole[3][1])
        np.testing.assert_array_equal(fine[0][1][:, :, 40:], fine[1][1][:, :, :80])
    with open_scene([pair[0]], [pair[1]], spec, stride=200) as scene:
        assert len(read_all(scene, 0.0)) == 4


def test_what_is_read_depends_neither_on_the_extent_nor_on_the_batch_size(
    write_raster: Write, sample_scenes: list[Pair], radar: Make, spec: ModelSpec
) -> None:
    """Off the grid and in another projection, where a window could leak into the values."""
    place = Affine(0.00017, 0, 12.73, 0, -0.00012, 48.14)
    off = write_raster("off.tif", radar(600, 400), ("VV", "VH"), place, "EPSG:4326", nodata=np.nan)
    with open_scene([sample_scenes[0][0]], [off], spec) as scene:
        every = read_all(scene, 0.1)
        chosen = [tile for tile in scene.select() if every[tile.tile_id][0].status == "ok"][2]
        (alone,) = scene.batches([chosen], 1, 0.1)
    np.testing.assert_array_equal(alone.s1[0], every[chosen.tile_id][2])
    assert alone.reads[0] == every[chosen.tile_id][0]


def test_radar_off_the_grid_is_averaged_in_power(
    write_raster: Write, optical: Make, spec: ModelSpec
) -> None:
    """Half way between -5 and -25 dB power gives -7.97 dB; decibels would give -15."""
    stripes = np.full((2, 240, 240), -5, np.float32)
    stripes[:, :, 1::2] = -25
    s2 = write_raster("s2.tif", optical(), S2_BANDS)
    half = Affine(10, 0, 500_005, 0, -10, 5_300_000)
    for unit, values in (("db", stripes), ("power", 10 ** (stripes / 10))):
        s1 = write_raster(f"{unit}.tif", values.astype(np.float32), ("VV", "VH"), half)
        # Stripes of no real scene: the user says what they are.
        with open_scene([s2], [s1], spec, options=SceneOptions(s1_unit=unit)) as scene:
            decibels = denormalised(read_all(scene)[0][2], spec, "s1")["VV"]
        mixed = 10 * np.log10((10**-0.5 + 10**-2.5) / 2)
        np.testing.assert_allclose(decibels[:, 1:], mixed, atol=1e-3)


def test_radar_on_the_grid_keeps_every_bit_also_when_shifted_or_south_up(
    write_raster: Write, optical: Make, radar: Make, spec: ModelSpec
) -> None:
    s2 = write_raster("s2.tif", optical(), S2_BANDS)
    values = radar(260, 260)
    north = write_raster("n.tif", values, ("VV", "VH"), Affine(10, 0, 499_900, 0, -10, 5_300_100))
    south = write_raster(
        "s.tif", values[:, ::-1], ("VV", "VH"), Affine(10, 0, 499_900, 0, 10, 5_297_500)
    )
    expected = values[0, 10:130, 10:130]
    channel = next(c for c in spec.s1 if c.name == "VV")
    for s1 in (north, south):
        with open_scene([s2], [s1], spec) as scene:
            tile = read_all(scene)[0][2][spec.s1_names.index("VV")]
        wanted = (expected - np.float32(channel.mean)) / np.float32(channel.std)
        np.testing.assert_array_equal(tile, wanted)


def test_a_nodata_hole_in_the_radar_does_not_bleed_when_warped(
    write_raster: Write, optical: Make, spec: ModelSpec
) -> None:
    s2 = write_raster("s2.tif", optical(), S2_BANDS)
    values = np.full((2, 260, 260), -12, np.float32)
    values[:, 60:80, 60:80] = -9999
    s1 = write_raster("s1.tif", values, ("VV", "VH"), Affine(10, 0, 499_903, 0, -10, 5_300_097))
    with open_scene([s2], [s1], spec) as scene:
        read, _, radar = read_all(scene)[0]
    decibels = denormalised(radar, spec, "s1")["VV"]
    inside = ~np.isclose(radar[0], 0)
    np.testing.assert_allclose(decibels[inside], -12, atol=1e-3)
    assert read.valid_s1 == pytest.approx(1 - 400 / 14_400, abs=0.006)


@pytest.mark.parametrize("fill", [-9999, -32768, 0, np.nan, -np.inf])
def test_undeclared_radar_nodata_is_recognised(
    write_raster: Write, optical: Make, radar: Make, spec: ModelSpec, fill: float
) -> None:
    values = radar()
    values[:, :, :84] = fill
    s2, s1 = (
        write_raster("s2.tif", optical(), S2_BANDS),
        write_raster("s1.tif", values, ("VV", "VH")),
    )
    with open_scene([s2], [s1], spec) as scene:
        tiles = read_all(scene)
    assert tiles[0][0].status == "skipped: too few valid Sentinel-1 pixels"
    assert (tiles[0][0].valid_s2, tiles[0][0].valid_s1) == (1, pytest.approx(0.3))
    assert tiles[1][0].status == "ok"


def test_radar_with_one_polarisation_is_no_measurement(
    write_raster: Write, optical: Make, radar: Make, spec: ModelSpec
) -> None:
    values = radar()
    values[1, :, :200] = np.nan
    s2, s1 = (
        write_raster("s2.tif", optical(), S2_BANDS),
        write_raster("s1.tif", values, ("VV", "VH")),
    )
    with open_scene([s2], [s1], spec) as scene:
        assert {round(read.valid_s1, 3) for read, _, _ in read_all(scene).values()} == {0, 0.333}


@pytest.mark.parametrize("kind", ["declared", "zero", "nan"])
def test_optical_nodata_and_gaps_become_the_training_mean(
    write_raster: Write, optical: Make, radar: Make, spec: ModelSpec, kind: str
) -> None:
    declared = {"declared": 7, "zero": None, "nan": None}[kind]
    fill = {"declared": 7, "zero": 0, "nan": np.nan}[kind]
    values = optical().astype(np.float32)
    values[:, :60, :60] = fill
    gap = kind != "zero"
    if gap:
        values[S2_BANDS.index("B08"), 100, 100] = fill
    s2 = write_raster("s2.tif", values, S2_BANDS, nodata=declared)
    s1 = write_raster("s1.tif", radar(), ("VV", "VH"))
    with open_scene([s2], [s1], spec) as scene:
        read, tile, _ = read_all(scene)[0]
    assert read.valid_s2 == 0.75
    assert np.all(tile[:, :60, :60] == 0)
    zero = tile[:, 100, 100] == 0
    expected = {"B08", "NDVI", "NDWI"} if gap else set()
    assert {name for name, is_zero in zip(spec.s2_names, zero, strict=True) if is_zero} == expected


def test_a_mask_band_is_nodata(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec
) -> None:
    source = write_raster("masked.tif", optical(), S2_BANDS)
    mask = np.full((240, 240), 255, np.uint8)
    mask[:, 120:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source.path, "r+") as dataset:
        dataset.write_mask(mask)
    with open_scene([source], [pair[1]], spec) as scene:
        assert [read.valid_s2 for read, _, _ in read_all(scene).values()] == [1, 0, 1, 0]


def test_indices_are_zero_where_the_sum_is_and_stay_within_one() -> None:
    first = np.array([0.0, 300.0, -5.0, np.nan], np.float32)
    second = np.array([0.0, 100.0, 6.0, 1.0], np.float32)
    np.testing.assert_array_equal(normalised_difference(first, second), [0, 0.5, -1, np.nan])


def test_other_channel_orders_and_presets(pair: Pair, spec: ModelSpec) -> None:
    small = default_spec(s2_preset="s2-10", s1_names=("VV",))
    with (
        open_scene([pair[0]], [pair[1]], small) as scene,
        open_scene([pair[0]], [pair[1]], spec) as full,
    ):
        some, every = read_all(scene)[0], read_all(full)[0]
    order = [spec.s2_names.index(name) for name in small.s2_names]
    np.testing.assert_array_equal(some[1], every[1][order])
    np.testing.assert_array_equal(some[2], every[2][[spec.s1_names.index("VV")]])


def test_coarser_pixels_are_resampled_to_the_ground_resolution(
    write_raster: Write, optical: Make, radar: Make, spec: ModelSpec
) -> None:
    coarse = Affine(20, 0, 500_000, 0, -20, 5_300_000)
    s2 = write_raster("s2.tif", optical(60, 60), S2_BANDS, coarse)
    s1 = write_raster("s1.tif", radar(120, 120), ("VV", "VH"))
    with open_scene([s2], [s1], spec) as scene:
        _, tile, _ = read_all(scene)[0]
        assert scene.describe()["warnings"][0]["code"] == "s2_resampled"
    np.testing.assert_array_equal(tile, tile[:, ::2, ::2].repeat(2, 1).repeat(2, 2))


def test_finer_pixels_are_averaged(
    write_raster: Write, optical: Make, radar: Make, spec: ModelSpec
) -> None:
    fine = optical(240, 240)
    s2 = write_raster("s2.tif", fine, S2_BANDS, Affine(5, 0, 500_000, 0, -5, 5_300_000))
    s1 = write_raster("s1.tif", radar(120, 120), ("VV", "VH"))
    with open_scene([s2], [s1], spec) as scene:
        _, tile, _ = read_all(scene)[0]
    mean = fine[S2_BANDS.index("B04")].reshape(120, 2, 120, 2).mean((1, 3))
    np.testing.assert_allclose(denormalised(tile, spec, "s2")["B04"], mean, rtol=1e-4)


def test_a_damaged_raster_ends_as_a_source_error(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec
) -> None:
    smooth = np.linspace(300, 3000, 2000 * 240).reshape(1, 2000, 240).astype(np.uint16)
    values = np.repeat(smooth, 12, axis=0)
    layout = {"compress": "lzw", "interleave": "band", "blockysize": 16}
    source = write_raster("cut.tif", values, S2_BANDS, **layout)
    content = bytearray(Path(source.path).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = b"\xff" * 400
    Path(source.path).write_bytes(content)
    with open_scene([source], [pair[1]], spec) as scene:  # noqa: SIM117  # it must open
        with pytest.raises(SourceError, match=r"cut\.tif' is damaged or incomplete"):
            read_all(scene, 0.0)
    assert scene_threads() == []


def test_a_truncated_raster_ends_as_a_source_error(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec
) -> None:
    source = write_raster("short.tif", optical(), S2_BANDS, compress="deflate", interleave="band")
    content = Path(source.path).read_bytes()
    Path(source.path).write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match=r"short\.tif"):
        open_scene([source], [pair[1]], spec)


def test_no_overlap_is_refused_with_both_places(
    write_raster: Write, radar: Make, pair: Pair, spec: ModelSpec
) -> None:
    far = write_raster("far.tif", radar(), ("VV", "VH"), Affine(10, 0, 700_000, 0, -10, 5_300_000))
    with pytest.raises(NoOverlapError, match=r"covers longitude 15\.0.*covers longitude 17\."):
        open_scene([pair[0]], [far], spec)


def test_an_extent_without_tiles_is_refused_with_the_reason(pair: Pair, spec: ModelSpec) -> None:
    with open_scene([pair[0]], [pair[1]], spec) as scene:
        with pytest.raises(NoOverlapError, match="larger area"):
            scene.select(
                "POLYGON ((500000 5299990, 500010 5299990, 500010 5300000, 500000 5299990))"
            )
        with pytest.raises(NoOverlapError, match="in the CRS of Sentinel-2"):
            scene.select("POLYGON ((15 47, 16 47, 16 48, 15 47))")


def test_batches_keep_the_order_and_carry_skipped_tiles(
    sample_scenes: list[Pair], spec: ModelSpec
) -> None:
    s2, s1 = sample_scenes[0]
    with open_scene([s2], [s1], spec) as scene:
        tiles = scene.select()
        batches = list(scene.batches(tiles[::-1], 2, 0.75))
        reads = [read for batch in batches for read in batch.reads]
        assert [read.tile for read in reads] == list(tiles)
        assert [len(batch.s2) for batch in batches] == [2, 2, 2]
        for batch in batches:
            assert len(batch.s2) == sum(read.status == "ok" for read in batch.reads)
            assert batch.s2.dtype == batch.s1.dtype == np.float32
            assert np.isfinite(batch.s2).all()
            assert np.isfinite(batch.s1).all()
        with pytest.raises(JobError, match="batch size"):
            scene.batches(tiles, 0, 0.75)


def test_long_stretches_of_nodata_still_report_progress(
    write_raster: Write, optical: Make, radar: Make, spec: ModelSpec
) -> None:
    s2 = write_raster("s2.tif", optical() * 0, S2_BANDS)
    s1 = write_raster("s1.tif", radar(), ("VV", "VH"))
    with open_scene([s2], [s1], spec, stride=20) as scene:
        batches = list(scene.batches(scene.select(), 2, 0.75))
    assert {len(batch.reads) for batch in batches} == {16, 1}
    assert all(batch.s2.shape == (0, 14, 120, 120) for batch in batches)


def test_the_thread_ends_when_the_iterator_is_closed(pair: Pair, spec: ModelSpec) -> None:
    with open_scene([pair[0]], [pair[1]], spec, stride=5) as scene:
        batches = scene.batches(scene.select(), 1, 0.75)
        assert isinstance(next(batches), Batch)
        assert len(scene_threads()) == 1
        batches.close()
        assert scene_threads() == []


def test_a_cancel_ends_the_iterator_and_the_thread(pair: Pair, spec: ModelSpec) -> None:
    cancelled = threading.Event()
    with open_scene([pair[0]], [pair[1]], spec, stride=5) as scene:
        seen = 0
        for _ in scene.batches(scene.select(), 1, 0.75, cancelled.is_set):
            seen += 1
            cancelled.set()
        assert seen == 1
    assert scene_threads() == []


def test_closing_the_scene_ends_its_readers(pair: Pair, spec: ModelSpec) -> None:
    with open_scene([pair[0]], [pair[1]], spec, stride=5) as scene:
        batches = scene.batches(scene.select(), 1, 0.75)
        next(batches)
    assert list(batches) == []
    assert scene_threads() == []


def test_the_producer_is_one_item_ahead_and_no_more() -> None:
    made: list[int] = []

    def produce(stopped: Callable[[], bool]) -> object:
        for number in range(100):
            made.append(number)
            yield number

    items = read_ahead([produce], name="scene-reader")
    assert next(items) == 0
    deadline = time.monotonic() + 2
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 3  # one taken, one waiting, one in hand
    items.close()
    assert scene_threads() == []


def test_files_stay_open_for_a_reader_that_is_stuck(
    pair: Pair, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing them under it would be a crash in GDAL: only its own thread does, when it is back."""
    reached, released = threading.Event(), threading.Event()
    files: list[rasterio.DatasetReader] = []
    read, opened = StackReader.read, rasterio.open

    def stuck(self: StackReader, *window: int) -> np.ndarray:
        reached.set()
        assert released.wait(30)
        return read(self, *window)

    def noted(*arguments: object, **options: object) -> rasterio.DatasetReader:
        files.append(opened(*arguments, **options))
        return files[-1]

    monkeypatch.setattr(ahead, "JOIN_SECONDS", 0.2)
    with open_scene([pair[0]], [pair[1]], spec) as scene:
        monkeypatch.setattr(StackReader, "read", stuck)
        monkeypatch.setattr(rasterio, "open", noted)
        cancelled = threading.Event()
        batches = scene.batches(scene.select(), 2, 0.75, cancelled.is_set)
        consumer = threading.Thread(target=list, args=(batches,))
        consumer.start()
        assert reached.wait(10)
        started = time.monotonic()
        cancelled.set()
        consumer.join(5)
        assert time.monotonic() - started < 2, "not for ever"
        assert not consumer.is_alive()
    assert files
    assert not any(file.closed for file in files)
    (reader,) = scene_threads()
    released.set()
    reader.join(10)
    assert all(file.closed for file in files)


def test_an_error_in_the_thread_reaches_the_consumer() -> None:
    def produce(stopped: Callable[[], bool]) -> object:
        yield 1
        raise SourceError("gone")

    items = read_ahead([produce], name="scene-reader")
    assert next(items) == 1
    with pytest.raises(SourceError, match="gone"):
        next(items)


def test_wide_tiled_scenes_are_read_in_panels_each_tile_once(
    write_raster: Write,
    optical: Make,
    radar: Make,
    spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cache in ("BLOCK_CACHE", "LARGE_CACHE"):
        monkeypatch.setattr(f"multimodal.scene.block_cache.{cache}", 1)
    monkeypatch.setattr("multimodal.scene.reader.CHUNK_WIDTH", 240)
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    s2 = write_raster("s2.tif", optical(240, 600), S2_BANDS, **layout)
    s1 = write_raster("s1.tif", radar(240, 600), ("VV", "VH"))
    with open_scene([s2], [s1], spec) as scene:
        plan = read_plan(scene)
        assert panel_width(plan.stacks, plan.grid, 1, 240) == 240
        ids = [
            read.tile.tile_id for b in scene.batches(scene.select(), 3, 0.75) for read in b.reads
        ]
    assert ids == [0, 1, 5, 6, 2, 3, 7, 8, 4, 9]


def test_two_rows_of_blocks_of_a_scene_are_kept_where_they_fit(
    write_raster: Write, optical: Make, pair: Pair, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    s2 = write_raster("s2.tif", optical(240, 600), S2_BANDS, **layout)
    with open_scene([s2], [pair[1]], spec) as scene:
        plan = read_plan(scene)
        grid, needed = plan.grid, 2 * 64 * 12 * 2 * (600 + 120)
        monkeypatch.setattr("multimodal.scene.block_cache.BLOCK_CACHE", 1000)
        kept = cache_bytes(plan.stacks, grid)
        assert kept == int(1.1 * needed)
        assert panel_width(plan.stacks, grid, kept, 240) == 720, "all of it"
        monkeypatch.setattr("multimodal.scene.block_cache.LARGE_CACHE", needed)
        assert cache_bytes(plan.stacks, grid) == 1000, "too wide: panels"
        monkeypatch.undo()
        monkeypatch.setattr("multimodal.scene.block_cache.BLOCK_CACHE", 1000)
        monkeypatch.setattr("multimodal.scene.block_cache.free_memory", lambda: 2 * needed)
        assert cache_bytes(plan.stacks, grid) == 1000, "little memory"


def test_chunks_break_at_gaps_and_at_their_width(pair: Pair, spec: ModelSpec) -> None:
    with open_scene([pair[0]], [pair[1]], spec, stride=60) as scene:
        grid = scene.grid
        tiles = [grid.tile(0, 0), grid.tile(0, 1), grid.tile(1, 0)]
        assert [[t.tile_id for t in run] for run in chunks(grid, tiles, 1920, 9999)] == [
            [0, 1],
            [3],
        ]
        assert [len(run) for run in chunks(grid, tiles, 120, 9999)] == [1, 1, 1]


@pytest.mark.parametrize("layout", [{"tiled": True, "blockxsize": 64, "blockysize": 64}, {}])
def test_several_readers_give_each_tile_once_and_the_same(
    write_raster: Write, optical: Make, radar: Make, spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch, layout: dict,
) -> None:  # fmt: skip
    monkeypatch.setattr(sharing, "LEAST_TILES", 10)
    s2 = write_raster("s2.tif", optical(480, 600), S2_BANDS, **layout)
    s1 = write_raster("s1.tif", radar(480, 600), ("VV", "VH"), **layout)
    with open_scene([s2], [s1], spec, stride=40) as scene:
        tiles = scene.select()
        alone = read_all(scene)
        together: dict[int, tuple] = {}
        for batch in scene.batches(tiles, 8, 0.75, readers=3):
            good = iter(zip(batch.s2, batch.s1, strict=True))
            for read in batch.reads:
                assert read.tile.tile_id not in together
                together[read.tile.tile_id] = (
                    read, *(next(good) if read.status == "ok" else (None, None))
                )  # fmt: skip
        assert together.keys() == alone.keys()
        for tile, (read, *arrays) in alone.items():
            assert together[tile][0] == read
            for one, other in zip(arrays, together[tile][1:], strict=True):
                np.testing.assert_array_equal(one, other)
        parts = shares(read_plan(scene), tiles, 3)
    assert len(parts) in (1, 2, 3)
    assert sorted(tile for part in parts for tile in part) == sorted(tiles)
    lines = [{tile.col if layout else tile.row for tile in part} for part in parts]
    assert all(not a & b for a, b in zip(lines, lines[1:], strict=False)), "cut between lines"


def test_a_few_tiles_are_not_shared_out(pair: Pair, spec: ModelSpec) -> None:
    with open_scene([pair[0]], [pair[1]], spec) as scene:
        assert len(shares(read_plan(scene), scene.select(), 8)) == 1


def test_huge_blocks_are_read_by_one_thread(
    pair: Pair, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "LEAST_TILES", 1)
    monkeypatch.setattr(sharing, "_LEAST_LINES", 1)
    with open_scene([pair[0]], [pair[1]], spec, stride=20) as scene:
        tiles = scene.select()
        assert len(shares(read_plan(scene), tiles, 2)) == 2
        monkeypatch.setattr("multimodal.scene.blocks.HUGE", 1)
        assert len(shares(read_plan(scene), tiles, 2)) == 1


def test_an_error_of_one_of_several_readers_ends_the_others(
    pair: Pair, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "LEAST_TILES", 1)
    monkeypatch.setattr(sharing, "_LEAST_LINES", 1)
    read, calls = StackReader.read, []

    def failing(self: StackReader, *window: int) -> np.ndarray:
        calls.append(window)
        if len(calls) > 6:
            raise SourceError("gone")
        return read(self, *window)

    monkeypatch.setattr(StackReader, "read", failing)
    with open_scene([pair[0]], [pair[1]], spec, stride=10) as scene:
        batches = scene.batches(scene.select(), 2, 0.75, readers=2)
        with pytest.raises(SourceError, match="gone"):
            list(batches)
    assert scene_threads() == []
