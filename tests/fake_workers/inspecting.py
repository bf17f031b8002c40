"""A worker that answers inspections as its script says. Standard library only.

The script is a JSON file: ``report`` to give, ``decision`` {decision, choices, message} to ask for
until the job's options hold it, ``error`` {code, message} to refuse with, ``seconds`` to take,
``dies`` to end without a word.
Every job is noted, one a line, in the file ``orders`` names.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

SUMMARY = {
    "output": "out.gpkg", "tiles": 2, "classified": 1, "skipped": 1, "device": "cpu",
    "precision": "fp32", "seconds": 1.0, "tiles_per_second": 2.0, "state": "complete",
    "skipped_reasons": {}, "warnings": [],
}  # fmt: skip


def say(kind: str, job: str, **payload: object) -> None:
    print(json.dumps({"type": kind, "job": job, "payload": payload}), flush=True)


def is_open(decision: dict, options: dict) -> bool:
    """Whether the job leaves the decision to us."""
    return options.get(decision["decision"]) in (None, "auto", [], "", False)


def answer(order: dict, script: dict) -> None:
    number, job = order["job"], order["payload"]
    time.sleep(script.get("seconds", 0))
    decision, error = script.get("decision"), script.get("error")
    if decision and is_open(decision, job["options"]):
        details = {"decision": decision["decision"], "choices": decision["choices"]}
        say("failed", number, code="decision", message=decision["message"], details=details)
    elif error:
        say(
            "failed",
            number,
            code=error["code"],
            message=error["message"],
            details=error.get("details", {}),
        )
    elif order["type"] == "inspect":
        say("inspected", number, report=script["report"])
    else:
        say("finished", number, **SUMMARY)


def main(path: str) -> None:
    say("hello", "", protocol=3, version="0", python="3", pid=os.getpid(), log="")
    for line in sys.stdin:
        order = json.loads(line)
        # Read anew each time: a test may change its mind.
        script = json.loads(Path(path).read_text(encoding="utf-8"))
        if order["type"] in ("inspect", "classify"):
            with open(script["orders"], "a", encoding="utf-8") as orders:
                orders.write(json.dumps({"type": order["type"], **order["payload"]}) + "\n")
            if script.get("dies"):
                os._exit(9)
            answer(order, script)
        elif order["type"] == "shutdown":
            return


if __name__ == "__main__":
    main(sys.argv[1])
