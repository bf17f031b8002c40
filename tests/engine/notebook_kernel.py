"""Runs cells of code from stdin, one JSON line each, in a process of its own; see conftest.py.

``{"code", "facts", "fresh"}`` in; ``{"printed", "facts"}`` or ``{"error"}`` out. ``facts`` is an
expression of plain values, ``fresh`` forgets every name first.
"""

from __future__ import annotations

import contextlib
import doctest
import gc
import io
import json
import os
import sys
import traceback
from typing import Any


def run_prompts(code: str, names: dict[str, Any]) -> None:
    """Run a session of ``>>>`` and raise where it prints something else than it says."""
    test = doctest.DocTestParser().get_doctest(code, names, "cell", None, None)
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    runner.run(test, out=said.append, clear_globs=False)
    names.update(test.globs)  # a doctest works on a copy
    if said:
        raise AssertionError("".join(said))


def run_cell(code: str, names: dict[str, Any]) -> None:
    """Run a cell as a module, or as a session where it begins with a prompt."""
    if code.lstrip().startswith(">>>"):
        run_prompts(code, names)
    else:
        exec(compile(code, "cell", "exec"), names)


def answer(order: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """Run one order; every failure becomes part of the answer."""
    if order["fresh"]:
        names.clear()
        gc.collect()  # models hold cycles: two of the large ones do not fit side by side
    names["__name__"] = "__main__"
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            run_cell(order["code"], names)
            facts = eval(order["facts"], names)
    except Exception:  # noqa: BLE001
        return {"error": traceback.format_exc()}
    return {"printed": printed.getvalue(), "facts": facts}


def main() -> None:
    """Answer until stdin is closed; stdout belongs to the answers alone."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    names: dict[str, Any] = {}
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), names)), file=answers, flush=True)


if __name__ == "__main__":
    main()
