"""A real scene pair, the trained sample model, and a tiny random model for a larger scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin

from multimodal import MultiModalModel
from multimodal.contract.channels import S2_BANDS
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.spec import default_spec

ROOT = Path(__file__).resolve().parents[3]
SCENE = ROOT / "sample_data" / "scenes" / "33UUP_37-38_87-90"


@pytest.fixture(scope="session", autouse=True)
def _shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep workers that several tests share from what the user's own runs have learned."""
    folder = tmp_path_factory.mktemp("session cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("LOCALAPPDATA", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _nothing_remembered(
    tmp_path_factory: pytest.TempPathFactory, _shared_cache: Path, monkeypatch
) -> None:
    """Let no run begin with what another one has learned, nor leave anything in a home folder."""
    for learned in _shared_cache.rglob("speed.json"):
        learned.unlink()
    folder = str(tmp_path_factory.mktemp("cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", folder)
    monkeypatch.setenv("LOCALAPPDATA", folder)


@pytest.fixture(scope="session")
def pair() -> tuple[str, str]:
    return f"{SCENE}_S2_12band_10m.tif", f"{SCENE}_S1_VV_VH_dB.tif"


@pytest.fixture(scope="session")
def sample_model() -> str:
    return str(ROOT / "sample_data" / "model")


@pytest.fixture
def job(pair: tuple[str, str], sample_model: str, tmp_path: Path) -> ClassifyJob:
    """The held-out sample scene: 8 tiles, one of them without an image."""
    s2, s1 = pair
    return ClassifyJob(
        (RasterSource(s2),), (RasterSource(s1),), sample_model, str(tmp_path / "out.gpkg"),
        device="cpu", batch_size=2,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_model(
    tiny_config: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> str:
    torch.manual_seed(0)
    spec = replace(default_spec(), provenance={"made by": "the tests, from random weights"})
    folder = tmp_path_factory.mktemp("tiny") / "model"
    MultiModalModel(tiny_config(), spec).eval().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def large_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A fabricated scene of 12 x 12 tiles, for what takes time."""
    folder = tmp_path_factory.mktemp("large")
    numbers = np.random.default_rng(0)
    s2 = numbers.integers(100, 4000, (len(S2_BANDS), 1440, 1440)).astype("uint16")
    s1 = numbers.normal((-12, -19), 3, (1440, 1440, 2)).transpose(2, 0, 1).astype("float32")
    paths = str(folder / "s2.tif"), str(folder / "s1.tif")
    for path, values, names in zip(paths, (s2, s1), (S2_BANDS, ("VV", "VH")), strict=True):
        profile = {
            "driver": "GTiff", "width": 1440, "height": 1440, "count": len(values),
            "dtype": values.dtype, "crs": "EPSG:32633", "nodata": 0,
            "transform": from_origin(500_000, 5_300_000, 10, 10), "tiled": True,
        }  # fmt: skip
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(values)
            dataset.descriptions = names
    return paths


@pytest.fixture
def large_job(large_pair: tuple[str, str], tiny_model: str, tmp_path: Path) -> ClassifyJob:
    s2, s1 = large_pair
    return ClassifyJob(
        (RasterSource(s2),), (RasterSource(s1),), tiny_model, str(tmp_path / "large.gpkg"),
        device="cpu", batch_size=4,
    )  # fmt: skip
