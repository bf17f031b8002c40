"""Weights of strangers: nothing in them is run or waited for, and downloads are what they say."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from multimodal.backbones import dinov3_hub, dinov3_weights, resnet_backbone
from multimodal.backbones.dinov3_backbone import Dinov3Backbone
from multimodal.backbones.dinov3_hub import Source, read_architecture
from multimodal.backbones.downloads import check_named, check_snapshot
from multimodal.backbones.resnet_backbone import ResNetBackbone
from multimodal.backbones.weight_files import read_state, weight_file
from multimodal.checkpoint import check_folder, from_pretrained
from multimodal.config import Dinov3Config, ResNetConfig
from multimodal.contract.errors import (
    ConfigError,
    ModelFolderError,
    MultimodalError,
    WeightsUnavailableError,
)
from multimodal.contract.spec import default_spec
from multimodal.contract.weights import INDEX_FILE, WEIGHTS_FILE, WeightFiles
from multimodal.importing.importer import import_checkpoint
from multimodal.shards import read_shapes, read_weights

RGB = default_spec().s2[:3]
SIZES = {
    "model_type": "dinov3_vit", "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 1, "num_attention_heads": 2,
}  # fmt: skip
MODEL = Path(__file__).parents[2] / "sample_data" / "model"
needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are POSIX's")


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.fixture
def dinov3(tmp_path: Path) -> Path:
    """A folder as the hub has it, and beside it a module that tells when it is imported."""
    folder = tmp_path / "dinov3"
    config = Dinov3Config(model_name="mine", config=SIZES, pretrained=False)
    Dinov3Backbone(config, RGB, pretrained=False).model.save_pretrained(folder)
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    return folder


def opened(folder: Path) -> Dinov3Backbone:
    return Dinov3Backbone(Dinov3Config(model_name=str(folder)), RGB, pretrained=True)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


AUTO_MAP = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoModelForX": "evil.X"}


def test_code_of_a_folder_is_neither_run_nor_asked_for(
    dinov3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("transformers asked whether it may run the code")

    monkeypatch.setattr("builtins.input", asked)
    edit(dinov3, auto_map=AUTO_MAP)
    opened(dinov3)
    edit(dinov3, model_type="evil")
    with pytest.raises(WeightsUnavailableError):
        opened(dinov3)
    with pytest.raises(WeightsUnavailableError):
        read_architecture(Source(str(dinov3)))
    assert not (tmp_path / "ran").exists()


def test_what_a_folder_says_beyond_sizes_changes_nothing(dinov3: Path) -> None:
    edit(
        dinov3, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True},
        _attn_implementation="kernels-community/flash-attn", torch_dtype="evil", adapter="evil",
    )  # fmt: skip
    assert "quantization_config" not in opened(dinov3).architecture()


@pytest.mark.parametrize("place", [WEIGHTS_FILE, "pytorch_model.bin", "model.bin"])
def test_a_pickle_in_a_folder_is_never_read(dinov3: Path, tmp_path: Path, place: str) -> None:
    (dinov3 / WEIGHTS_FILE).unlink()
    (dinov3 / place).write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    with pytest.raises(MultimodalError):
        opened(dinov3)
    weights = {"weight_map": {"embeddings.cls_token": place}, "metadata": {}}
    (dinov3 / INDEX_FILE).write_text(json.dumps(weights))
    with pytest.raises(MultimodalError):
        opened(dinov3)
    assert not (tmp_path / "ran").exists()


def test_an_index_of_a_folder_names_nothing_elsewhere(dinov3: Path, tmp_path: Path) -> None:
    (dinov3 / WEIGHTS_FILE).rename(tmp_path / "model-00001-of-00001.safetensors")
    name = "../model-00001-of-00001.safetensors"
    weights = {"weight_map": {"embeddings.cls_token": name}, "metadata": {}}
    (dinov3 / INDEX_FILE).write_text(json.dumps(weights))
    with pytest.raises(ModelFolderError, match="names other files"):
        opened(dinov3)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt", ".bin"])
def test_a_pickle_under_any_name_is_not_run(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    for save in (
        lambda: path.write_bytes(pickle.dumps(Touch(tmp_path / "ran"))),
        lambda: torch.save({"a": torch.zeros(1), "b": Touch(tmp_path / "ran")}, path),
        lambda: torch.save(Touch(tmp_path / "ran"), path, _use_new_zipfile_serialization=False),
    ):
        save()
        with pytest.raises(WeightsUnavailableError):
            read_state(path)
        with pytest.raises(MultimodalError):
            import_checkpoint(path, tmp_path / "out")
        with pytest.raises(ModelFolderError):
            read_weights(WeightFiles(path.rename(tmp_path / WEIGHTS_FILE), {}))
        (tmp_path / WEIGHTS_FILE).unlink()
    assert not (tmp_path / "ran").exists()


@needs_fifo
def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pth")
    for name in (str(tmp_path), str(tmp_path / "a.pth")):
        with pytest.raises(WeightsUnavailableError):
            weight_file(name, "key")
    with pytest.raises(WeightsUnavailableError):
        import_checkpoint(tmp_path / "a.pth", tmp_path / "out")
    (tmp_path / "config.json").symlink_to(tmp_path / "a.pth")
    with pytest.raises(ConfigError, match="regular file"):
        import_checkpoint(MODEL / WEIGHTS_FILE, tmp_path / "out", config=tmp_path / "config.json")


def test_a_header_that_claims_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_FILE
    huge = {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    for length, header in ((2**62, {}), (None, huge)):
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", length or len(text)) + text)
        for read in (read_shapes, read_weights):
            with pytest.raises(ModelFolderError, match="damaged"):
                read(WeightFiles(path, {}))


def test_a_network_is_not_allocated_before_its_weights_are_seen(tmp_path: Path) -> None:
    """Described are over 100 GB; the process may have 12."""
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    for change in ({"width": 1024}, {"width": 64, "layers": [1000] * 4}):
        config["backbones"]["resnet101"].update(change)
        (folder / "config.json").write_text(json.dumps(config))
        start = time.process_time()
        for load in (check_folder, from_pretrained):
            with pytest.raises(ModelFolderError, match=r"belong together|blocks"):
                load(folder)
        assert time.process_time() - start < 20


# --- downloads -------------------------------------------------------------------------------


def test_a_released_file_is_compared_with_the_digest_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = dinov3_state(tmp_path)
    right = tmp_path / f"tiny-{hashlib.sha256(state.read_bytes()).hexdigest()[:8]}.pth"
    wrong = tmp_path / "tiny-00000000.pth"
    shutil.copy(state, right)
    shutil.copy(state, wrong)
    monkeypatch.setattr(dinov3_weights, "OFFICIAL_FILES", {"mine": right.name, "other": wrong.name})
    config = {"model_name": "mine", "config": SIZES}
    Dinov3Backbone(Dinov3Config(**config, weights=str(right)), RGB, pretrained=True)
    Dinov3Backbone(Dinov3Config(**config, weights=str(state)), RGB, pretrained=True)
    with pytest.raises(WeightsUnavailableError, match="its SHA-256 differs"):
        Dinov3Backbone(Dinov3Config(**config, weights=str(wrong)), RGB, pretrained=True)
    for name in ("mine.pth", "tiny-zzzzzzzz.pth"):
        check_named(tmp_path / name)  # no digest in it: not even read


def dinov3_state(folder: Path) -> Path:
    config = Dinov3Config(model_name="mine", config=SIZES, pretrained=False)
    state = Dinov3Backbone(config, RGB, pretrained=False).model.state_dict()
    torch.save(state, folder / "own.pth")
    return folder / "own.pth"


def cached(folder: Path, content: bytes, name: str) -> Path:
    """Lay a file out as the hub's cache does; returns the snapshot."""
    blob, snapshot = folder / "blobs" / name, folder / "snapshots" / ("a" * 40)
    blob.parent.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    blob.write_bytes(content)
    try:
        (snapshot / WEIGHTS_FILE).symlink_to(blob)
    except OSError:
        pytest.skip("this user may make no links")
    (snapshot / "config.json").write_text("{}")
    return snapshot


def test_a_download_of_the_hub_is_compared_with_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()
    check_snapshot(cached(tmp_path / "good", b"weights", digest))
    check_snapshot(cached(tmp_path / "small", b"other", "0" * 40))
    bad = cached(tmp_path / "bad", b"changed", digest)
    with pytest.raises(WeightsUnavailableError, match="its SHA-256 differs"):
        check_snapshot(bad)
    asked = []

    def found(*key: object) -> str:
        asked.append(key)
        return str(bad / "config.json")

    monkeypatch.setattr(dinov3_hub, "try_to_load_from_cache", found)
    with pytest.raises(WeightsUnavailableError, match="its SHA-256 differs"):
        dinov3_hub._check_download(Source("owner/name", "a" * 40, local_only=False))
    assert asked == [("owner/name", "config.json", None, "a" * 40)]
    dinov3_hub._check_download(Source(str(tmp_path)))  # a folder of the user's own


def test_a_download_of_torchvision_is_compared_with_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "resnet18-00000000.pth"
    torch.save({"a": torch.zeros(1)}, served)
    asked = []

    class Weights:
        """What torchvision's enumeration does, from a file instead of its server."""

        url = served.as_uri()

        def get_state_dict(self, **options: bool) -> dict[str, torch.Tensor]:
            asked.append(options)
            return torch.hub.load_state_dict_from_url(self.url, **options)

    listed = SimpleNamespace(DEFAULT=Weights())
    monkeypatch.setattr(resnet_backbone, "get_model_weights", lambda _: listed)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    with pytest.raises(WeightsUnavailableError, match="invalid hash value"):
        ResNetBackbone(ResNetConfig(arch="resnet18"), ["VV"], pretrained=True)
    assert asked == [{"progress": False, "check_hash": True, "weights_only": True}]
    assert not list((tmp_path / "home").rglob("*.pth"))


def test_nothing_is_fetched_for_a_local_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.getaddrinfo", called)
    from_pretrained(MODEL)
    ResNetBackbone(ResNetConfig(arch="resnet18", width=4), ["VV"], pretrained=False)
