"""Opens and reads whatever pair it is told to, line by line, and says how each ended."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback

from multimodal.contract.errors import MultimodalError
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import default_spec
from multimodal.scene import open_scene

SPEC = default_spec()
# A damaged header may promise millions of tiles.
TILES = 4


def outcome(s2: str, s1: str) -> str:
    """Return ``ok``, the code of a refusal, or the traceback of anything else."""
    try:
        with open_scene([RasterSource(s2)], [RasterSource(s1)], SPEC) as scene:
            json.dumps(scene.describe())
            for _ in scene.batches(scene.select()[:TILES], 2, 0.0):
                pass
    except MultimodalError as error:
        json.dumps(error.to_dict())
        return error.code
    except BaseException:  # noqa: BLE001  # what escapes is what is looked for
        return traceback.format_exc()
    return "ok"


def main() -> None:
    """Answer each ``[s2, s1]`` with ``[outcome, seconds of computing]``.

    Stdout belongs to the answers alone.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        start = time.process_time()
        ended = outcome(*json.loads(line))
        print(json.dumps([ended, time.process_time() - start]), file=answers, flush=True)


if __name__ == "__main__":
    main()
