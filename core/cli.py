"""The door for the shell: ``multimodal classify``, ``inspect``, ``benchmark`` and others."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from .cli_arguments import add_area_arguments, job, plain_numbers, sources
from .cli_benchmark import add_benchmark_arguments, measure
from .cli_evaluate import (
    add_embed_arguments,
    add_evaluate_arguments,
    embed_lines,
    evaluate_lines,
    run_embed,
    run_evaluate,
)
from .cli_import import add_import_arguments, import_lines, run_import
from .cli_output import allow_any_character, as_json, explain, write_out
from .cli_scene import add_scene_arguments, mask_source, scene_options
from .cli_text import model_lines, scene_lines, summary_lines
from .cli_train import IsCancelled, Show, add_train_arguments, run_train, train_lines
from .contract.benchmark import benchmark_lines
from .contract.channels import S1_BANDS, S2_BANDS
from .contract.errors import CancelledError, InternalError, JobError, MultimodalError
from .contract.job import PRECISIONS, check_sensors
from .contract.messages import Message
from .contract.model_folder import read_spec
from .contract.result import RunSummary
from .contract.spec import default_spec
from .contract.version import version
from .estimate import with_seconds

T = TypeVar("T")
EXIT_OK, EXIT_ERROR, EXIT_CANCELLED = 0, 2, 130
# A service that is stopped and a terminal that is closed end a run as Ctrl-C does.
_ENDINGS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

# Exit code, what --json prints, and the lines for people.
Answer = tuple[int, dict[str, Any], Iterable[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 success, 2 an explained error, 130 a cancel."""
    allow_any_character()
    arguments = plain_numbers(sys.argv[1:] if argv is None else argv)
    options = argparse.Namespace(json="--json" in arguments, debug=False, log="")
    try:
        _parser().parse_args(arguments, options)
        with _interrupted_by(lambda number: _leave(options)):
            code, result, lines = options.run(options)
            write_out([as_json(result)] if options.json else lines)
    except KeyboardInterrupt:
        return _failed(CancelledError("Cancelled. Finished tiles are kept."), options)
    except MultimodalError as problem:
        return _failed(problem, options)
    except Exception as problem:  # noqa: BLE001  # a user gets words, a developer --debug
        return _failed(_unknown(problem, options.log), options)
    return code


def _unknown(problem: Exception, log: str) -> InternalError:
    summary = "".join(traceback.format_exception_only(problem)).strip()
    text = f"An error that this program does not know: {summary}. Run again with --debug."
    if not log:
        return InternalError(text)
    return InternalError(f"{text} The log '{log}' tells more: attach it to a report.", log=log)


def _failed(problem: MultimodalError, options: argparse.Namespace) -> int:
    explain(problem, options)
    return EXIT_CANCELLED if isinstance(problem, CancelledError) else EXIT_ERROR


def _leave(options: argparse.Namespace) -> None:
    """End at once: nothing is being written. An exception is lost in the imports of torch."""
    os._exit(_failed(CancelledError("Cancelled. Finished tiles are kept."), options))


@contextmanager
def _interrupted_by(act: Callable[[int], None]) -> Iterator[None]:
    """Let ``act`` answer the signals that end a program; what nohup ignores stays ignored."""
    before = {}
    for number in _ENDINGS:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, lambda number, _: act(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _classify(options: argparse.Namespace) -> Answer:
    from .worker_log import (
        log_begin,
        log_job,
        log_message,
        log_of_a_command,
        log_summary,
        log_versions,
    )

    order = job(options)
    with log_of_a_command() as options.log:
        log_begin("command line")
        log_versions()
        log_job("classify", order)
        from .pipeline import classify

        def run(_: object, show: Show, is_cancelled: IsCancelled) -> RunSummary:
            def tell(message: Message) -> None:
                log_message(message)
                show(message)

            return classify(order, tell, is_cancelled)

        summary = _watched(run, options)
        log_summary(summary)
    result = summary.to_dict()
    code = EXIT_OK if summary.state == "complete" else EXIT_CANCELLED
    return code, result, () if options.quiet else summary_lines(result)


def _interrupt(stop: threading.Event, number: int) -> None:
    if stop.is_set() and number == signal.SIGINT:
        raise KeyboardInterrupt
    stop.set()


def _inspect_scene(options: argparse.Namespace) -> Answer:
    from .scene import open_scene

    spec = read_spec(options.model) if options.model else default_spec()
    s2, s1 = sources(options, "s2"), sources(options, "s1")
    check_sensors(s1, spec)
    mask, decisions = mask_source(options), scene_options(options)
    with open_scene(s2, s1, spec, mask=mask, options=decisions) as scene:
        described = scene.describe()
    if options.model:
        described = with_seconds(described, options.model, "auto")
    return EXIT_OK, described, scene_lines(described)


def _inspect_model(options: argparse.Namespace) -> Answer:
    read_spec(options.folder)  # the usual defects are told before torch is loaded
    from .checkpoint import check_folder

    spec = check_folder(options.folder)
    return EXIT_OK, {"folder": str(options.folder), "spec": spec.to_dict()}, model_lines(spec)


def _import(options: argparse.Namespace) -> Answer:
    imported = run_import(options, _interrupted_by)
    return EXIT_OK, imported, import_lines(imported)


def _benchmark(options: argparse.Namespace) -> Answer:
    stop = threading.Event()
    with _interrupted_by(lambda number: _interrupt(stop, number)):
        result = measure(options, stop)
    return EXIT_OK, result, benchmark_lines(result)


def _train(options: argparse.Namespace) -> Answer:
    result = _watched(run_train, options)
    return EXIT_OK, result, train_lines(result)


def _evaluate(options: argparse.Namespace) -> Answer:
    result = run_evaluate(options)
    return EXIT_OK, result, evaluate_lines(result)


def _embed(options: argparse.Namespace) -> Answer:
    result = _watched(run_embed, options)
    return EXIT_OK, result, embed_lines(result)


def _watched(
    run: Callable[[argparse.Namespace, Show, IsCancelled], T], options: argparse.Namespace
) -> T:
    """Run a command that can be cancelled, and show how far it is.

    The first signal ends it soon, with what it has; a second Ctrl-C at once.
    """
    from .cli_progress import ProgressBar

    stop = threading.Event()
    with (
        _interrupted_by(lambda number: _interrupt(stop, number)),
        ProgressBar(quiet=options.quiet) as bar,
    ):
        return run(options, bar.show, stop.is_set)


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
    train = _add(commands, "train", "train a head on labels over frozen networks", _train)
    _add_sources(train)
    add_train_arguments(train)
    text = "compare a result with a reference layer or class raster"
    add_evaluate_arguments(_add(commands, "evaluate", text, _evaluate))
    embed = _add(commands, "embed", "write the embeddings of a scene as GeoParquet", _embed)
    _add_sources(embed)
    add_embed_arguments(embed)
    text = "measure how fast this machine classifies, and where the time goes"
    add_benchmark_arguments(_add(commands, "benchmark", text, _benchmark))
    return parser


def _add_classify(commands: Any) -> None:
    classify = _add(commands, "classify", "classify a pair into a GeoPackage", _classify)
    _add_sources(classify)
    classify.add_argument("--model", required=True, metavar="DIR", help="model folder")
    classify.add_argument("--output", required=True, metavar="OUT.gpkg")
    add_area_arguments(classify)
    classify.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps")
    classify.add_argument("--precision", default="auto", choices=PRECISIONS)
    classify.add_argument("--batch-size", type=int, default=0, metavar="N", help="0 = automatic")
    classify.add_argument("--min-valid", type=float, default=0.75, metavar="SHARE",
                          help="valid share under which a tile is skipped")  # fmt: skip
    classify.add_argument("--overwrite", action="store_true", help="start over an existing output")
    classify.add_argument("--quiet", action="store_true", help="no progress bar, no summary")


def _add(
    commands: Any, name: str, text: str, run: Callable[[argparse.Namespace], Answer]
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
