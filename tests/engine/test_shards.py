"""Weights in several files: what transformers and the plugin's side read, what a crash leaves."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from multimodal import MultiModalModel, load_model, save_model
from multimodal.contract.errors import ConfigError, ModelFolderError
from multimodal.contract.model_folder import CONFIG_FILE, config_digest, read_spec
from multimodal.contract.weights import INDEX_FILE, WEIGHTS_FILE, file_sha256, find_weights

SMALL = "30KB"  # the tiny model has about 90


@pytest.fixture(scope="module")
def model(tiny_config):
    torch.manual_seed(0)
    made = MultiModalModel(tiny_config())
    made(torch.randn(2, 2, 64, 64), torch.randn(2, 14, 64, 64))
    return made.eval()


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path / "model", max_shard_size=SMALL)
    return tmp_path / "model"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def shards(folder):
    return sorted(folder.glob("model-*-of-*.safetensors"))


def assert_same(model, folder):
    loaded = load_model(folder).state_dict()
    assert list(loaded) == list(model.state_dict())
    assert all(torch.equal(value, loaded[key]) for key, value in model.state_dict().items())


def test_shards_come_back_bit_for_bit_and_hold_the_size(model, folder):
    count = len(shards(folder))
    assert count > 2
    assert names(folder) == [
        CONFIG_FILE,
        *(f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)),
        INDEX_FILE,
    ]
    for path in shards(folder):
        tensors = load_file(path)
        assert sum(value.nbytes for value in tensors.values()) <= 30_000 or len(tensors) == 1
    assert_same(model, folder)


def test_the_index_is_that_of_transformers(model, folder):
    from transformers.modeling_utils import load_state_dict
    from transformers.utils.hub import get_checkpoint_shard_files

    files, metadata = get_checkpoint_shard_files(str(folder), str(folder / INDEX_FILE))
    found = {key: value for file in files for key, value in load_state_dict(file).items()}
    assert sorted(metadata["all_checkpoint_keys"]) == sorted(found)
    assert metadata["total_size"] == sum(v.nbytes for v in model.state_dict().values())
    assert all(torch.equal(value, found[key]) for key, value in model.state_dict().items())


def test_one_digest_covers_every_shard(model, folder, tmp_path):
    spec = read_spec(folder)
    assert spec.weights_sha256 == model.spec.weights_sha256 == file_sha256(folder / INDEX_FILE)
    told = json.loads((folder / INDEX_FILE).read_text())["metadata"]["sha256"]
    assert told == {path.name: file_sha256(path) for path in shards(folder)}
    # What a run is recognised by: another value in the last shard is another model.
    other = MultiModalModel(model.config.to_dict(), model.spec)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.classifier.fc.bias[0] += 1
    save_model(other, tmp_path / "other", max_shard_size=SMALL)
    assert config_digest(tmp_path / "other") != config_digest(folder)


@pytest.mark.parametrize("which", [0, -1])
def test_a_wrong_byte_in_any_shard_is_found(folder, which):
    path = shards(folder)[which]
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ModelFolderError, match=rf"{path.name}.*SHA-256 differs"):
        load_model(folder)
    load_model(folder, verify=False)


def test_an_exchanged_index_is_found(folder):
    index = json.loads((folder / INDEX_FILE).read_text())
    index["metadata"].pop("sha256")
    (folder / INDEX_FILE).write_text(json.dumps(index))
    with pytest.raises(ModelFolderError, match=rf"{INDEX_FILE}.*SHA-256 differs"):
        load_model(folder)


def test_an_index_without_checksums_is_not_taken_for_checked(folder):
    """The index may come from another tool, with its own digest in config.json."""
    index = json.loads((folder / INDEX_FILE).read_text())
    index["metadata"].pop("sha256")
    (folder / INDEX_FILE).write_text(json.dumps(index))
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["spec"]["weights_sha256"] = file_sha256(folder / INDEX_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(ModelFolderError, match="SHA-256 differs"):
        load_model(folder)


def test_the_index_counts_where_the_configuration_has_no_checksum(folder):
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["spec"]["weights_sha256"] = ""
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    load_model(folder)
    path = shards(folder)[0]
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ModelFolderError, match=rf"{path.name}.*{INDEX_FILE}.*SHA-256 differs"):
        load_model(folder)
    index = json.loads((folder / INDEX_FILE).read_text())
    index["metadata"].pop("sha256")
    (folder / INDEX_FILE).write_text(json.dumps(index))
    load_model(folder)


def test_checksums_in_capitals_are_the_same(folder):
    index = json.loads((folder / INDEX_FILE).read_text())
    digests = index["metadata"]["sha256"]
    index["metadata"]["sha256"] = {name: digest.upper() for name, digest in digests.items()}
    (folder / INDEX_FILE).write_text(json.dumps(index))
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["spec"]["weights_sha256"] = file_sha256(folder / INDEX_FILE).upper()
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    (folder / WEIGHTS_FILE).write_bytes(b"of an interrupted save")
    load_model(folder)


def test_a_missing_shard_is_named_before_any_engine_is_loaded(folder):
    missing = shards(folder)[1]
    missing.unlink()
    with pytest.raises(ModelFolderError, match=rf"has no {missing.name}, which"):
        read_spec(folder)
    with pytest.raises(ModelFolderError, match=rf"has no {missing.name}, which"):
        load_model(folder)


def test_read_spec_misses_weights_too(folder):
    for path in (*shards(folder), folder / INDEX_FILE):
        path.unlink()
    with pytest.raises(ModelFolderError, match=rf"has no {WEIGHTS_FILE}"):
        read_spec(folder)


def test_truncated_shards_are_explained_without_the_checksum_too(folder):
    path = shards(folder)[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFolderError, match=rf"{path.name}' is damaged"):
        load_model(folder, verify=False)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "../../elsewhere.safetensors"}}',
        '{"weight_map": {"a": "pytorch_model-00001-of-00001.bin"}}',
        '{"metadata": [], "weight_map": {"a": "model-00001-of-00001.safetensors"}}',
        '{"metadata": {"sha256": 1}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}',
    ],
)
def test_a_damaged_index_is_explained(folder, content):
    (folder / INDEX_FILE).write_text(content)
    with pytest.raises(ModelFolderError, match=INDEX_FILE):
        read_spec(folder)
    with pytest.raises(ModelFolderError, match=INDEX_FILE):
        load_model(folder, verify=False)


@pytest.mark.parametrize("sizes", [(SMALL, "5GB"), ("5GB", SMALL), (SMALL, "60KB")])
def test_what_no_longer_belongs_is_removed(model, tmp_path, sizes):
    save_model(model, tmp_path / "again", max_shard_size=sizes[1])
    expected = names(tmp_path / "again")
    for size in sizes:
        save_model(model, tmp_path / "model", max_shard_size=size)
    assert names(tmp_path / "model") == expected
    assert_same(model, tmp_path / "model")


def test_files_of_others_stay(model, folder):
    kept = ["README.md", "model-card.safetensors", "pytorch_model-00001-of-00001.safetensors"]
    for name in kept:
        (folder / name).write_text("mine")
    save_model(model, folder)
    assert names(folder) == sorted([CONFIG_FILE, WEIGHTS_FILE, *kept])


def changed(model):
    other = MultiModalModel(model.config.to_dict(), model.spec)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        for value in other.parameters():
            value += 1
    return other.eval()


@pytest.mark.parametrize("sizes", [(SMALL, SMALL), (SMALL, "5GB"), ("5GB", SMALL), ("5GB", "5GB")])
def test_a_crash_at_any_file_leaves_the_old_model_the_new_one_or_an_error(
    model, tmp_path, monkeypatch, sizes
):
    other, replace, unlink = changed(model), os.replace, Path.unlink
    before = {key: value.clone() for key, value in model.state_dict().items()}
    ends = set()
    for step in range(100):
        folder, done = tmp_path / str(step), []
        save_model(model, folder, max_shard_size=sizes[0])

        def counted(act, limit=step, done=done):
            def wrapped(*arguments, **options):
                if len(done) == limit:
                    raise OSError(5, "power cut")
                done.append(1)
                return act(*arguments, **options)

            return wrapped

        with monkeypatch.context() as patch:
            patch.setattr("multimodal.checkpoint.os.replace", counted(replace))
            patch.setattr("multimodal.checkpoint.Path.unlink", counted(unlink))
            try:
                save_model(other, folder, max_shard_size=sizes[1])
                finished = True
            except ModelFolderError:
                finished = False
        try:
            state = load_model(folder).state_dict()
        except ModelFolderError as problem:
            ends.add("error" if "SHA-256 differs" in problem.message else problem.message)
        else:
            old = all(torch.equal(value, before[key]) for key, value in state.items())
            new = all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
            assert old != new
            ends.add("old" if old else "new")
        if finished:
            break
    assert finished
    assert {"old", "new"} <= ends <= {"old", "new", "error"}
    if sizes[0] != sizes[1]:  # the two forms have no file in common but config.json
        assert "error" not in ends


def test_a_full_disk_leaves_the_old_shards(model, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    calls = []

    def full_disk(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        save_file(*arguments, **options)

    monkeypatch.setattr("multimodal.shards.save_file", full_disk)
    with pytest.raises(ModelFolderError, match="No space left"):
        save_model(changed(model), folder, max_shard_size=SMALL)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("size", ["5 apples", 0, -1, None, [1]])
def test_a_size_that_is_none_is_explained(model, tmp_path, size):
    with pytest.raises(ConfigError, match="like '5GB'"):
        save_model(model, tmp_path / "model", max_shard_size=size)


def test_the_method_of_the_model_takes_it_too(model, tmp_path):
    model.save_pretrained(tmp_path / "mine", max_shard_size=SMALL)
    assert len(find_weights(tmp_path / "mine", read_spec(tmp_path / "mine").weights_sha256).shards)


def test_a_folder_outlives_the_names_of_one_transformers(model, folder):
    """Until 5.x its layers were ``layer.N.``, since then ``model.layer.N.``."""
    save_model(model, folder)
    path = folder / WEIGHTS_FILE
    swapped = {k.replace(".model.model.layer.", ".model.layer."): v
               for k, v in load_file(path).items()}  # fmt: skip
    assert any(".model.layer.0." in key for key in swapped)
    save_file(swapped, path)
    state = load_model(folder, verify=False).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


COMMIT = "c" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub that lists and gives the files of one repository."""

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        folder, parts = self.server.folder, self.path.split("?")[0].strip("/").split("/")
        listed = [{"type": "file", "path": path.name, "size": path.stat().st_size,
                   "oid": path.name} for path in folder.iterdir()]  # fmt: skip
        if parts[:2] == ["api", "models"] and "tree" in parts:
            self.give(json.dumps(listed).encode(), with_body)
        elif parts[:2] == ["api", "models"]:
            files = [{"rfilename": item["path"]} for item in listed]
            told = {"id": "some/model", "sha": COMMIT, "siblings": files, "private": False}
            self.give(json.dumps({**told, "downloads": 0, "tags": []}).encode(), with_body)
        elif "resolve" in parts:
            self.server.given.add(parts[-1])
            self.give((folder / parts[-1]).read_bytes(), with_body, f'"{parts[-1]}"')
        else:
            self.send_error(404)

    def give(self, body, with_body, etag='"x"'):
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", etag)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_args):
        """Say nothing."""


def test_shards_come_from_the_hub(folder, tmp_path):
    (folder / "training-notes.bin").write_bytes(b"not asked for")
    code = (
        "import sys; from multimodal import load_model, save_model\n"
        "save_model(load_model('some/model'), sys.argv[1])\n"
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.folder, server.given = folder, set()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        own = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": os.pathsep.join(part for part in sys.path if part),
        }
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "got")],
                       env={**clean, **own}, check=True, timeout=200)  # fmt: skip
        server.shutdown()
    assert server.given == set(names(folder)) - {"training-notes.bin"}
    got, origin = (load_model(path).state_dict() for path in (tmp_path / "got", folder))
    assert all(torch.equal(value, got[key]) for key, value in origin.items())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
@pytest.mark.parametrize("size", [SMALL, "5GB"])
def test_whoever_may_read_new_files_may_read_weights(model, tmp_path, umask, mode, size):
    before = os.umask(umask)
    try:
        save_model(model, tmp_path / "model", max_shard_size=size)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert set(modes.values()) == {mode}, modes
