"""Classifies a batch in a process that may not have the memory for it, and prints what it did."""

from __future__ import annotations

import json
import resource
import sys

import numpy as np
import torch

from multimodal.batching import BatchSize
from multimodal.checkpoint import from_pretrained
from multimodal.devices import known_device
from multimodal.inference import Predictor
from multimodal.memory import _STATUS, _kilobytes

TILES = 96
CPU = known_device(torch.device("cpu"))


def main(folder: str) -> None:
    torch.set_num_threads(1)  # each thread takes addresses of its own
    model = from_pretrained(folder)
    numbers = np.random.default_rng(0)
    s2, s1 = (numbers.normal(size=(TILES, c, 120, 120)).astype("float32") for c in (14, 2))
    expected = Predictor(model, CPU, BatchSize(8)).probabilities(s2[:16], s1[:16])
    used = 1024 * _kilobytes(_STATUS)["VmSize"]
    # What a batch of all takes in its first layers alone is more.
    resource.setrlimit(resource.RLIMIT_AS, (used + 120 * 2**20, resource.RLIM_INFINITY))
    told: list[str] = []
    predictor = Predictor(model, CPU, BatchSize(TILES), told.append)
    found = predictor.probabilities(s2, s1)
    apart = float(np.abs(found[:16] - expected).max())
    print(json.dumps({"told": told, "asked": TILES, "limit": predictor.size.limit, "apart": apart}))


if __name__ == "__main__":
    main(sys.argv[1])
