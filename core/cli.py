"""The door for the shell: ``multimodal classify``, ``inspect`` and ``import-checkpoint``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .cli_area import aoi_wkt, extent_wkt
from .cli_import import add_import_arguments, run_import
from .cli_scene import add_scene_arguments, mask_source, print_scene, scene_options
from .contract.channels import S1_BANDS, S2_BANDS
from .contract.errors import CancelledError, InternalError, JobError, MultimodalError
from .contract.job import PRECISIONS, ClassifyJob, RasterSource
from .contract.spec import ModelSpec, config_digest, default_spec, read_spec
from .contract.version import version
from .contract.weights import check_weights, find_weights
from .remembered import with_seconds

EXIT_OK, EXIT_ERROR, EXIT_CANCELLED = 0, 2, 130

Result = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 success, 2 an explained error, 130 a cancel."""
    options = argparse.Namespace(json="--json" in (sys.argv if argv is None else argv), debug=False)
    try:
        _parser().parse_args(argv, options)
        with _interrupted_by(lambda: _leave(options)):
            code, result = options.run(options)
            if options.json:
                _print_json(result)
    except KeyboardInterrupt:
        return _explain(CancelledError("Cancelled. Finished tiles are kept."), options)
    except MultimodalError as problem:
        return _explain(problem, options)
    except Exception as problem:  # noqa: BLE001  # a user gets words, a developer --debug
        summary = "".join(traceback.format_exception_only(problem)).strip()
        text = f"An error that this program does not know: {summary}. Run again with --debug."
        return _explain(InternalError(text), options)
    return code


def _print_json(payload: Mapping[str, Any]) -> None:
    try:
        print(json.dumps(payload, default=str), flush=True)
    except OSError as problem:
        # Python would try to write what is left at its end, and complain in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise JobError(f"The answer cannot be written to standard output ({problem}).") from problem


def _explain(problem: MultimodalError, options: argparse.Namespace) -> int:
    if options.debug:
        traceback.print_exc()
    print(f"Error: {problem.message}", file=sys.stderr)
    if options.json:
        _print_json({"error": problem.to_dict()})
    return EXIT_CANCELLED if isinstance(problem, CancelledError) else EXIT_ERROR


def _leave(options: argparse.Namespace) -> None:
    """End at once: nothing is being written. An exception is lost in the imports of torch."""
    code = _explain(CancelledError("Cancelled. Finished tiles are kept."), options)
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _interrupted_by(act: Callable[[], None]) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, lambda *_: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _classify(options: argparse.Namespace) -> tuple[int, Result]:
    from .cli_progress import ProgressBar
    from .pipeline import classify

    job = _job(options)
    stop = threading.Event()
    # The first Ctrl-C ends the run after the batch at hand, the second one at once.
    with _interrupted_by(lambda: _interrupt(stop)), ProgressBar(quiet=options.quiet) as bar:
        summary = classify(job, bar.show, stop.is_set)
    if not options.quiet and not options.json:
        _print_summary(summary.to_dict())
    complete = summary.state == "complete"
    return (EXIT_OK if complete else EXIT_CANCELLED), summary.to_dict()


def _interrupt(stop: threading.Event) -> None:
    if stop.is_set():
        raise KeyboardInterrupt
    stop.set()


def _print_summary(summary: Mapping[str, Any]) -> None:
    print(f"{summary['output']}: {summary['state']}")
    print(
        f"{summary['classified']} of {summary['tiles']} tiles classified, {summary['skipped']} "
        f"skipped, {summary['tiles_per_second']:.1f} tiles/s on {summary['device']} "
        f"({summary['precision']})"
    )
    for reason, count in summary["skipped_reasons"].items():
        print(f"  skipped {count}: {reason}")
    if summary["state"] != "complete":
        print("Run the same command again to go on.")


def _inspect_scene(options: argparse.Namespace) -> tuple[int, Result]:
    from .scene import open_scene

    spec = read_spec(options.model) if options.model else default_spec()
    with open_scene(
        _sources(options, "s2"), _sources(options, "s1"), spec,
        mask=mask_source(options), options=scene_options(options),
    ) as scene:  # fmt: skip
        described = scene.describe()
    if options.model:
        described = with_seconds(described, config_digest(options.model), "auto")
    if not options.json:
        print_scene(described)
    return EXIT_OK, described


def _inspect_model(options: argparse.Namespace) -> tuple[int, Result]:
    spec = read_spec(options.folder)
    if spec.weights_sha256:
        check_weights(find_weights(options.folder, spec.weights_sha256), spec.weights_sha256)
    if not options.json:
        _print_model(spec)
    return EXIT_OK, {"folder": str(options.folder), "spec": spec.to_dict()}


def _print_model(spec: ModelSpec) -> None:
    print(f"Task        {spec.task}, {len(spec.classes)} classes")
    print(f"Sentinel-2  {', '.join(spec.s2_names)}")
    print(f"Sentinel-1  {', '.join(spec.s1_names)}")
    print(f"Tile        {spec.tile_size} px at {spec.ground_resolution:g} m")
    print(f"Calibrated  {'yes' if spec.calibrated else 'no'}, temperature {spec.temperature:g}")
    for key, value in (*spec.metrics.items(), *spec.provenance.items()):
        print(f"  {key}: {value}")
    print(f"Licence     {spec.license or 'not stated'}")
    for item, threshold in zip(spec.classes, spec.thresholds):
        print(f"  {item.color}  {threshold:.2f}  {item.name}")


def _import(options: argparse.Namespace) -> tuple[int, Result]:
    return EXIT_OK, run_import(options, _interrupted_by)


def _job(options: argparse.Namespace) -> ClassifyJob:
    return ClassifyJob(
        s2=_sources(options, "s2"),
        s1=_sources(options, "s1"),
        model=options.model,
        output=str(Path(options.output).absolute()),
        extent_wkt=extent_wkt(options.extent),
        aoi_wkt=aoi_wkt(options.aoi),
        stride=options.stride,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
        min_valid=options.min_valid,
        overwrite=options.overwrite,
        mask=mask_source(options),
        options=scene_options(options),
    )


def _sources(options: argparse.Namespace, sensor: str) -> tuple[RasterSource, ...]:
    bands = _band_map(getattr(options, f"{sensor}_bands"))
    return tuple(RasterSource(path, bands=bands) for path in getattr(options, sensor) or ())


def _band_map(text: str | None) -> dict[str, int]:
    if not text:
        return {}
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): int(number) for name, number in pairs}
    except ValueError as problem:
        raise JobError(f"The band map '{text}' is not like B02=1,B03=2.") from problem


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments as every other error is said."""

    def error(self, message: str) -> NoReturn:
        raise JobError(f"{message}. {self.format_usage().strip()}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="multimodal", description="Classify Sentinel-1 and Sentinel-2 scenes by tile."
    )
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_classify(commands)
    inspect = commands.add_parser("inspect", help="print what is understood of a scene or model")
    parts = inspect.add_subparsers(required=True, metavar="scene|model")
    scene = _add(parts, "scene", "what is understood of a pair of rasters", _inspect_scene)
    _add_sources(scene)
    scene.add_argument("--model", metavar="DIR", help="check against this model's channels")
    model = _add(parts, "model", "what a model folder holds", _inspect_model)
    model.add_argument("folder", metavar="DIR")
    text = "turn a training checkpoint into a model folder"
    add_import_arguments(_add(commands, "import-checkpoint", text, _import))
    return parser


def _add_classify(commands: Any) -> None:
    classify = _add(commands, "classify", "classify a pair into a GeoPackage", _classify)
    _add_sources(classify)
    classify.add_argument("--model", required=True, metavar="DIR", help="model folder")
    classify.add_argument("--output", required=True, metavar="OUT.gpkg")
    classify.add_argument("--extent", nargs=4, type=float, metavar=("XMIN", "YMIN", "XMAX", "YMAX"),
                          help="in the CRS of Sentinel-2")  # fmt: skip
    classify.add_argument("--aoi", metavar="WKT|FILE", help="polygons: WKT in the CRS of "
                          "Sentinel-2, or a GeoJSON file")  # fmt: skip
    classify.add_argument("--stride", type=int, metavar="PX", help="default: the tile size")
    classify.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    classify.add_argument("--precision", default="auto", choices=PRECISIONS)
    classify.add_argument("--batch-size", type=int, default=0, metavar="N", help="0 = automatic")
    classify.add_argument("--min-valid", type=float, default=0.75, metavar="SHARE",
                          help="valid share under which a tile is skipped")  # fmt: skip
    classify.add_argument("--overwrite", action="store_true", help="start over an existing output")
    classify.add_argument("--quiet", action="store_true", help="no progress bar, no summary")


def _add(
    commands: Any, name: str, text: str, run: Callable[[argparse.Namespace], tuple[int, Result]]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an error")
    return parser


def _add_sources(parser: argparse.ArgumentParser) -> None:
    for sensor, title, example in (
        ("s2", "Sentinel-2", f"{S2_BANDS[1]}=1,{S2_BANDS[2]}=2"),
        ("s1", "Sentinel-1", f"{S1_BANDS[1]}=1,{S1_BANDS[0]}=2"),
    ):
        parser.add_argument(f"--{sensor}", nargs="+", required=sensor == "s2", metavar="PATH",
                            help=f"{title}: rasters, folder or archive")  # fmt: skip
        parser.add_argument(f"--{sensor}-bands", metavar="MAP",
                            help=f"band map where names do not tell, like {example}")  # fmt: skip
    add_scene_arguments(parser)


if __name__ == "__main__":
    sys.exit(main())
