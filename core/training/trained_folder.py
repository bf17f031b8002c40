"""The folder that a training makes: model, report and table of the tested tiles."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..checkpoint import remove_stale, save_pretrained
from ..contract._codec import finite
from ..contract.errors import OutputError
from ..contract.model_folder import CONFIG_FILE
from ..contract.train_order import TrainOrder
from ..model import MultiModalModel
from .gathering import Gathered
from .report_html import report_html
from .report_table import TABLE_FILE, outline, write_table

REPORT_JSON, REPORT_HTML = "report.json", "report.html"


def check_target(order: TrainOrder) -> None:
    """Raise an OutputError where the model cannot be written, before any work is done."""
    target = Path(os.path.realpath(order.output))
    if target == Path(os.path.realpath(order.base)):
        raise OutputError(f"'{target}' is the base of this training: choose another folder.")
    check_folder(target, order.overwrite)


def check_folder(
    target: Path, overwrite: bool, mark: str = CONFIG_FILE, what: str = "model folder"
) -> None:
    """Raise an OutputError for a folder that holds what must not be replaced, or is not to be.

    ``mark`` is the file by which a folder of ours is known, ``what`` its name for the user.
    """
    if os.path.exists(target) and not os.path.isdir(target):
        raise OutputError(f"'{target}' is a file: name a folder.")
    if os.path.isdir(target) and any(target.iterdir()):
        if not os.path.isfile(target / mark):
            raise OutputError(
                f"'{target}' is there and is no {what}: choose a new or an empty folder."
            )
        if not overwrite:
            raise OutputError(
                f"'{target}' is a {what} already: choose another one, or say --overwrite."
            )
    parent = target if os.path.isdir(target) else target.parent
    if not os.path.isdir(parent):
        raise OutputError(f"The folder '{parent}' does not exist: make it first.")
    with told(target), TemporaryDirectory(prefix=".training.", dir=parent):
        pass


def write_folder(
    order: TrainOrder, model: MultiModalModel, report: dict[str, Any], gathered: Gathered
) -> None:
    """Write all beside the folder first, then put it in its place, config.json last."""
    target = Path(os.path.realpath(order.output))
    with told(target), TemporaryDirectory(prefix=".training.", dir=target.parent) as temporary:
        aside = Path(temporary) / "model"
        save_pretrained(model, aside)
        rows = report["tested_tiles"]
        outlines = [outline(gathered.grids[row["scene"]], row["row"], row["col"]) for row in rows]
        report["table"] = write_table(aside / TABLE_FILE, rows, outlines, gathered.classes.names)
        write_reports(aside, report)
        move_into(aside, target)


def move_into(aside: Path, target: Path) -> None:
    """Put files in their place, config.json last; weights that no longer belong go."""
    target.mkdir(exist_ok=True)
    names = sorted(os.listdir(aside), key=lambda name: name == CONFIG_FILE)
    for name in names:
        os.replace(aside / name, target / name)
    remove_stale(target, names)


def write_reports(folder: Path, report: dict[str, Any]) -> None:
    """Write ``report.json`` and ``report.html``."""
    text = json.dumps(finite(report), indent=1, allow_nan=False, ensure_ascii=False)
    (folder / REPORT_JSON).write_text(text + "\n", encoding="utf-8")
    (folder / REPORT_HTML).write_text(report_html(report), encoding="utf-8")


@contextmanager
def told(target: Path) -> Iterator[None]:
    """Say of an error of the system where it happened and what to do."""
    try:
        yield
    except OSError as problem:
        raise OutputError(
            f"'{target}' cannot be written ({problem.strerror or problem}): choose a folder that "
            "you may write to, on a disk with room.",
            path=str(target),
        ) from problem
