"""Embeddings: what they are, that they are computed once, and what damage does to the cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multimodal import MultiModalModel
from multimodal.contract.errors import CancelledError
from multimodal.contract.job import RasterSource
from multimodal.contract.scene_options import SceneOptions
from multimodal.contract.spec import default_spec
from multimodal.contract.train_order import ScenePair
from multimodal.devices import known_device
from multimodal.scene import Scene, open_scene
from multimodal.training.embedding_cache import EmbeddingCache, cache_of, prune
from multimodal.training.embeddings import Embedder, embed_tiles, model_digest

SCENES = Path(__file__).resolve().parents[3] / "sample_data" / "scenes"
NAME = "33UUP_37-38_87-90"
PLACES = np.array([[0, 120], [37, 111], [200, 80], [240, 0], [360, 120]])


@pytest.fixture(scope="module")
def pair() -> ScenePair:
    s2, s1 = (RasterSource(str(SCENES / f"{NAME}_{end}.tif")) for end in
              ("S2_12band_10m", "S1_VV_VH_dB"))  # fmt: skip
    return ScenePair((s2,), (s1,))


@pytest.fixture(scope="module")
def scene(pair: ScenePair) -> Iterator[Scene]:
    with open_scene(pair.s2, pair.s1, default_spec(), stride=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(tiny_config: Callable[..., dict[str, Any]]) -> MultiModalModel:
    torch.manual_seed(0)
    return MultiModalModel(tiny_config()).eval()


@pytest.fixture
def embedder(model: MultiModalModel) -> Embedder:
    return Embedder(model, known_device(torch.device("cpu")))


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def test_embeddings_are_those_of_the_model(
    scene: Scene, model: MultiModalModel, embedder: Embedder, cache: EmbeddingCache
) -> None:
    found = embed_tiles(scene, PLACES, embedder, cache, 0.75)
    assert found.good.all()
    tiles = [scene.grid.tile(*place) for place in PLACES.tolist()]
    (batch,) = scene.batches(tiles, 5, 0.75)
    inputs = torch.from_numpy(batch.s1), torch.from_numpy(batch.s2)
    with torch.inference_mode():
        _, expected = model(*inputs, return_embeddings=True)
    order = np.lexsort(PLACES.T[::-1])
    assert np.allclose(found.vectors["fused"][order], expected["fused"], atol=1e-5)
    assert np.allclose(found.vectors["cls"][order], expected["dinov3"], atol=1e-5)
    tokens = model.dinov3_backbone.model(
        pixel_values=model.dinov3_backbone.rgb_input(inputs[1][:, :3])
    ).last_hidden_state
    mean = tokens[:, 1 + 4 :].mean(dim=1).detach()
    assert np.allclose(found.vectors["mean"][order], mean, atol=1e-5)


def test_only_new_tiles_are_computed(
    scene: Scene, embedder: Embedder, cache: EmbeddingCache
) -> None:
    first = embed_tiles(scene, PLACES[:3], embedder, cache, 0.75)
    told: list[tuple[int, int]] = []
    second = embed_tiles(scene, PLACES[::-1], embedder, cache, 0.75,
                         lambda done, total: told.append((done, total)))  # fmt: skip
    assert (first.computed, second.computed) == (3, 2)
    assert told[0] == (3, 5)
    assert told[-1] == (5, 5)
    assert np.array_equal(second.vectors["fused"][::-1][:3], first.vectors["fused"])
    assert embed_tiles(scene, PLACES, embedder, cache, 0.75).computed == 0


def test_tiles_without_pixels_are_told_and_not_kept(
    scene: Scene, embedder: Embedder, cache: EmbeddingCache
) -> None:
    found = embed_tiles(scene, np.array([[0, 0], [0, 120]]), embedder, cache, 0.75)
    assert found.good.tolist() == [False, True]
    assert len(found.vectors["fused"]) == 1
    assert len(cache.read()[0]) == 1


def test_a_cancel_keeps_what_was_computed(
    scene: Scene, model: MultiModalModel, cache: EmbeddingCache
) -> None:
    looks = iter([False] * 10_000)
    stop = False

    def is_cancelled() -> bool:
        next(looks)
        return stop

    embedder = Embedder(model, known_device(torch.device("cpu")), is_cancelled=is_cancelled)
    embedder.at_once = 2

    def tell(done: int, total: int) -> None:
        nonlocal stop
        stop = done >= 2

    with pytest.raises(CancelledError, match="are kept"):
        embed_tiles(scene, PLACES, embedder, cache, 0.75, tell)
    assert len(cache.read()[0]) == 2
    stop = False
    assert embed_tiles(scene, PLACES, embedder, cache, 0.75).computed == 3


@pytest.mark.parametrize("harm", ["cut", "noise", "nan", "empty"])
def test_a_damaged_file_is_computed_again(
    scene: Scene, embedder: Embedder, cache: EmbeddingCache, harm: str
) -> None:
    good = embed_tiles(scene, PLACES, embedder, cache, 0.75)
    (path,) = cache.folder.iterdir()
    data = path.read_bytes()
    if harm == "nan":
        places, vectors = cache.read()
        path.unlink()
        vectors["fused"][1, 3] = np.nan
        cache.add(places, vectors)
        (path,) = cache.folder.iterdir()
    else:
        path.write_bytes({"cut": data[:-9], "noise": b"\xff" * 99, "empty": b""}[harm])
    again = embed_tiles(scene, PLACES, embedder, cache, 0.75)
    assert again.computed == len(PLACES)
    assert np.array_equal(again.vectors["fused"], good.vectors["fused"])
    assert path not in list(cache.folder.iterdir())


def test_many_small_files_become_one(cache: EmbeddingCache) -> None:
    for row in range(20):
        vectors = {
            name: np.full((1, 4), row, dtype=np.float32) for name in ("fused", "cls", "mean")
        }
        cache.add(np.array([[row, 0]]), vectors)
    places, vectors = cache.read()
    assert len(list(cache.folder.iterdir())) == 1
    assert vectors["fused"][:, 0].tolist() == places[:, 0].tolist() == list(range(20))
    assert len(cache.read()[0]) == 20


def test_the_key_knows_scene_options_and_network_but_not_the_head(
    pair: ScenePair, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def key(model: str = "m", options: SceneOptions | None = None, valid: float = 0.75) -> str:
        return cache_of(pair, options or SceneOptions(), valid, model, tmp_path).folder.name

    assert key() == key(options=SceneOptions(max_days=99))
    assert len({key(), key("n"), key(options=SceneOptions(s2_offset=0)), key(valid=0.5)}) == 4
    torch.manual_seed(0)
    model = MultiModalModel(tiny_config())
    digest = model_digest(model)
    with torch.no_grad():
        model.classifier.fc.weight.zero_()
        assert model_digest(model) == digest
        model.resnet_backbone.conv1.weight.zero_()
    assert model_digest(model) != digest


def test_old_caches_make_room(tmp_path: Path) -> None:
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.safetensors").write_bytes(b"x" * 100)
        os.utime(folder, (number, number))
    prune(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]
