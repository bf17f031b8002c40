"""A scene and a model to measure with, where the user names none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.windows import Window

from ..contract.channels import S1_BANDS, S2_BANDS, STATISTICS
from ..contract.spec import default_spec
from ..model import MultiModalModel

TILE = 120
SEED = 20
_BLOCK = 512
# Pixels from one knot of the landscape to the next.
_KNOT = 24
_GRAIN_DN, _SPECKLE_DB = 12.0, 1.5
# How much of a band's pattern is that of all bands.
_SHARED = 0.8
_PLACE = {"crs": "EPSG:32633", "transform": Affine(10, 0, 300000, 0, -10, 5400000)}


def fabricate_scene(folder: Path, tiles: int) -> tuple[Path, Path]:
    """Write a Sentinel-2 and a Sentinel-1 GeoTIFF (deflate, 512 px) of at least so many tiles.

    Each channel has the mean and the spread of BigEarthNet's, a landscape that changes over some
    hundred metres, and noise, so that it compresses about as real scenes do. Always the same.
    """
    across = math.ceil(math.sqrt(tiles))
    width, height = TILE * across, TILE * math.ceil(tiles / across)
    random = np.random.default_rng(SEED)
    paths = folder / "benchmark_S2.tif", folder / "benchmark_S1.tif"
    for path, names, kind in zip(paths, (S2_BANDS, S1_BANDS), ("uint16", "float32"), strict=True):
        profile = {
            "driver": "GTiff", "width": width, "height": height, "count": len(names),
            "dtype": kind, "tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK,
            "compress": "deflate", "zlevel": 1, "nodata": 0 if kind == "uint16" else np.nan,
        }  # fmt: skip
        with rasterio.open(path, "w", **profile, **_PLACE) as out:
            for window, values in _strips(names, width, height, random):
                out.write(values.astype(kind), window=window)
            for index, name in enumerate(names, 1):
                out.set_band_description(index, name)
    return paths


def fabricate_model(folder: Path) -> Path:
    """Write the default network, ViT-B/16 and ResNet-101, with random weights."""
    torch.manual_seed(SEED)
    made_by = {"made by": "multimodal benchmark: random weights, of no use but to be timed"}
    spec = replace(default_spec(), provenance=made_by)
    config = {"backbones": {"dinov3": {"pretrained": False}, "resnet101": {"pretrained": False}}}
    MultiModalModel(config, spec).eval().save_pretrained(folder)
    return folder


def _strips(
    names: tuple[str, ...], width: int, height: int, random: np.random.Generator
) -> Iterator[tuple[Window, np.ndarray]]:
    shape = height // _KNOT + 2, width // _KNOT + 2
    shared = random.standard_normal(shape)
    own = math.sqrt(1 - _SHARED**2)
    knots = [_even(_SHARED * shared + own * random.standard_normal(shape)) for _ in names]
    across = _bilinear(0, width, shape[1])
    for top in range(0, height, _BLOCK):
        rows = min(_BLOCK, height - top)
        down = _bilinear(top, rows, shape[0])
        layers = [
            _channel(name, down @ pattern @ across.T, random)
            for name, pattern in zip(names, knots, strict=True)
        ]
        yield Window(0, top, width, rows), np.stack(layers)


def _even(knots: np.ndarray) -> np.ndarray:
    """Return knots between which the pixels have mean 0 and spread 1, also in a small scene."""
    # The weights of one axis leave 2/3 of the variance, those of both 4/9.
    return 1.5 * (knots - knots.mean()) / knots.std()


def _bilinear(start: int, count: int, knots: int) -> np.ndarray:
    """Return the weights (pixels, knots) of a row or column between its knots."""
    places = (start + np.arange(count)) / _KNOT
    left = places.astype(int)
    weights = np.zeros((count, knots))
    weights[np.arange(count), left] = 1 - (places - left)
    weights[np.arange(count), left + 1] += places - left
    return weights


def _channel(name: str, pattern: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return values with the channel's mean and spread: reflectance is skewed, decibels are not."""
    mean, spread = STATISTICS[name]
    noise = random.standard_normal(pattern.shape)
    if name in S1_BANDS:
        return mean + spread * pattern + _SPECKLE_DB * noise
    sigma = math.sqrt(math.log(1 + (spread / mean) ** 2))
    values = np.exp(math.log(mean) - sigma**2 / 2 + sigma * pattern) + _GRAIN_DN * noise
    return np.clip(values, 1, 10_000)
