"""``multimodal import-checkpoint``: a training checkpoint becomes a model folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from .contract.errors import CancelledError

Interrupting = Callable[[Callable[[int], None]], AbstractContextManager[None]]


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT",
                        help="Lightning .ckpt or state dict (.pt, .pth, .safetensors)")  # fmt: skip
    parser.add_argument("--output", required=True, metavar="DIR", help="model folder to make")
    parser.add_argument("--config", metavar="CONFIG.json", help="configuration of the module, as "
                        "far as the checkpoint does not tell it")  # fmt: skip
    parser.add_argument("--spec", metavar="SPEC.json|DIR", help="channels, classes and task, of a "
                        "JSON file or another model folder")  # fmt: skip
    parser.add_argument("--classes", metavar="NAMES|FILE", help="class names in the order of the "
                        "outputs: a text file with one a line, or separated by commas")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an existing model folder")


def run_import(options: argparse.Namespace, interrupted_by: Interrupting) -> dict[str, Any]:
    """Run the command; returns what ``--json`` prints."""
    from .importing.importer import import_checkpoint

    try:
        # Only from here on: in the imports of torch an exception is lost, and nothing is written.
        with interrupted_by(_interrupt):
            imported = import_checkpoint(
                options.checkpoint,
                options.output,
                config=options.config,
                spec=options.spec,
                classes=options.classes,
                overwrite=options.overwrite,
            ).to_dict()
    except KeyboardInterrupt as problem:
        raise CancelledError("Cancelled. Nothing was imported.") from problem
    return imported


def _interrupt(number: int) -> None:
    raise KeyboardInterrupt


def import_lines(imported: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was made of a checkpoint, for people."""
    config, spec = imported["config"], imported["spec"]
    for name, text in (
        ("Model", imported["output"]),
        ("RGB", _rgb(config["backbones"]["dinov3"])),
        ("Others", _others(config["backbones"]["resnet101"])),
        ("Fusion", _fusion(config["fusion"])),
        ("Head", _head(config["classifier"])),
        ("Sentinel-2", ", ".join(spec["s2"])),
        ("Sentinel-1", ", ".join(spec["s1"])),
        ("Tile", f"{spec['tile_size']} px at {spec['ground_resolution']:g} m"),
        ("Task", f"{spec['task']}, {len(spec['classes'])} classes"),
    ):
        yield f"{name:11s} {text}"
    for number, name in enumerate(spec["classes"]):
        yield f"  {number:2d}  {name}"
    if imported["assumed"]:
        yield "Assumed, for neither the checkpoint nor this command says it:"
    for text in imported["assumed"]:
        yield f"  - {text}"


def _rgb(dinov3: Mapping[str, Any]) -> str:
    sizes = dinov3["config"]
    width = sizes.get("hidden_size") or sizes["hidden_sizes"][-1]
    depth = sizes.get("num_hidden_layers") or "-".join(map(str, sizes["depths"]))
    heads = f", {sizes['num_attention_heads']} heads" if "num_attention_heads" in sizes else ""
    side = dinov3["input_size"]
    resized = "not resized" if side is None else f"resized to {side} px"
    return (
        f"{dinov3['model_name']}: {width} wide, {depth} layers{heads}, {resized}, "
        f"pooling {dinov3['pooling']}, normalization {dinov3['normalization']}"
    )


def _others(resnet: Mapping[str, Any]) -> str:
    layers = f", layers {resnet['layers']}" if resnet["layers"] else ""
    return f"{resnet['arch']}, width {resnet['width']}{layers}, {resnet['in_channels']} channels"


def _fusion(fusion: Mapping[str, Any]) -> str:
    width = f" to {fusion['output_dim']}" if fusion["output_dim"] else ""
    return f"{fusion['type']}{width}, {'' if fusion['normalize'] else 'not '}normalized"


def _head(classifier: Mapping[str, Any]) -> str:
    hidden = f" with {classifier['hidden_dim']} hidden" if classifier["type"] == "mlp" else ""
    return f"{classifier['type']}{hidden}"
