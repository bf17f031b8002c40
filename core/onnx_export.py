"""A model as an ONNX graph, checked against onnxruntime before anybody trusts it."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from .contract.errors import ModelFolderError, RuntimeMissingError
from .contract.spec import ModelSpec
from .model import MultiModalModel

INPUTS = ("s1_data", "s2_data")
OUTPUT = "logits"
SPEC_KEY = "multimodal.spec"
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
# Of the largest logit. Other kernels add in another order.
_TOLERANCE = 1e-4
_BATCHES = (1, 3)


def export_onnx(model: MultiModalModel, path: str | Path) -> Path:
    """Write ``model`` as ONNX, for any number of tiles of the spec's size.

    Inputs are ``s1_data`` (B, S1 channels, size, size) and ``s2_data`` (B, S2 channels, size,
    size), normalised by the spec, which stands in the graph's metadata under
    ``multimodal.spec``; the output ``logits`` is (B, classes). The model itself is unchanged.

    Raises:
        RuntimeMissingError: the extra ``onnx`` is not installed.
        ModelFolderError: the file cannot be written, or onnxruntime computes something else.
    """
    _check_installed()
    path = Path(path)
    modes = [(module, module.training) for module in model.modules()]
    try:
        _write(model.eval(), path)
        _verify(model, path)
    finally:
        for module, training in modes:  # one by one: some may have been in another mode
            module.training = training
    return path


def _check_installed() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise RuntimeMissingError(
            f"ONNX export needs {', '.join(missing)}: pip install 'mm-sentinel-fusion[onnx]'",
            missing=missing,
        )


def _write(model: MultiModalModel, path: Path) -> None:
    program = torch.onnx.export(
        model, _tiles(model.spec, 2, model), dynamo=True, verbose=False,
        input_names=list(INPUTS), output_names=[OUTPUT],
        dynamic_shapes={name: {0: "batch"} for name in INPUTS},
    )  # fmt: skip
    assert program is not None  # torch returns None to callers of the old exporter alone
    program.model.metadata_props[SPEC_KEY] = json.dumps(model.spec.to_dict())
    try:
        program.save(path)
    except OSError as problem:
        raise ModelFolderError(
            f"'{path}' cannot be written ({problem.strerror}): choose another folder.",
            path=str(path),
        ) from problem


def _verify(model: MultiModalModel, path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in _BATCHES:
        tiles = _tiles(model.spec, count, model)
        with torch.inference_mode():
            expected = model(*tiles).float().cpu()
        inputs = {name: tile.cpu().numpy() for name, tile in zip(INPUTS, tiles)}
        (found,) = session.run([OUTPUT], inputs)
        error = (torch.from_numpy(found).float() - expected).abs().max().item()
        if not error <= _TOLERANCE * max(1.0, expected.abs().max().item()):
            raise ModelFolderError(
                f"'{path}' gives other logits than the model (by {error:.2g}, for {count} tiles): "
                "do not use it. Update the packages of the extra 'onnx', or report this model.",
                path=str(path),
            )


def _tiles(spec: ModelSpec, count: int, model: MultiModalModel) -> tuple[Tensor, Tensor]:
    """Return standard normal noise, which normalised tiles look like."""
    like = next(model.parameters())
    generator = torch.Generator().manual_seed(count)
    s1, s2 = (
        torch.randn(count, channels, spec.tile_size, spec.tile_size, generator=generator)
        for channels in (len(spec.s1), len(spec.s2))
    )
    return s1.to(like), s2.to(like)
