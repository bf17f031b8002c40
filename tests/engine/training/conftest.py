"""Label layers and grids as small as a test needs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from rasterio.crs import CRS

from multimodal import MultiModalModel
from multimodal.contract.channels import S2_BANDS
from multimodal.contract.job import RasterSource
from multimodal.contract.spec import default_spec
from multimodal.contract.train_order import ScenePair
from multimodal.scene.geometry import Geometry
from multimodal.scene.grid import TileGrid

WriteLayer = Callable[..., str]
LEFT, TOP = 500_000.0, 5_300_000.0
SIZE = 1200
LOOKS = {"water": 0.3, "field": 1.5, "wood": 0.8}


def utm_grid(width: int = 480, height: int = 480, size: int = 120) -> TileGrid:
    """A grid of 10 m pixels in UTM 33N."""
    transform = Affine(10, 0, LEFT, 0, -10, TOP)
    return TileGrid(Geometry(CRS.from_epsg(32633), transform, width, height), size, 1)


def square(col: float, row: float, size: float = 120) -> Any:
    """A square with its upper left corner at a pixel of :func:`utm_grid`, in map units."""
    return shapely.box(LEFT + 10 * col, TOP - 10 * (row + size), LEFT + 10 * (col + size),
                       TOP - 10 * row)  # fmt: skip


def point(col: float, row: float) -> Any:
    """A point at a pixel of :func:`utm_grid`, in map units."""
    return shapely.Point(LEFT + 10 * col, TOP - 10 * row)


@pytest.fixture
def write_layer(tmp_path: Path) -> WriteLayer:
    """Write (shape, properties) features as GeoJSON and return the path."""

    def write(
        features: Sequence[tuple[Any, Mapping[str, Any]]], name: str = "labels.geojson",
        epsg: int = 32633,
    ) -> str:  # fmt: skip
        payload = {
            "type": "FeatureCollection",
            "crs": {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}},
            "features": [
                {
                    "type": "Feature", "properties": dict(properties),
                    "geometry": None if shape is None else json.loads(shapely.to_geojson(shape)),
                }
                for shape, properties in features
            ],
        }  # fmt: skip
        path = tmp_path / name
        path.write_text(json.dumps(payload), encoding="utf-8")
        return str(path)

    return write


def looks(row: int, col: int) -> str:
    return list(LOOKS)[(row * 10 + col) % 3]


def squares(**more: Any) -> list[tuple[Any, dict[str, Any]]]:
    return [(square(120 * col, 120 * row), {"class": looks(row, col), **more})
            for row in range(10) for col in range(10)]  # fmt: skip


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> ScenePair:
    """A scene of 10 x 10 tiles, each of one of three looks."""
    folder = tmp_path_factory.mktemp("scene")
    random = np.random.default_rng(0)
    looks = np.array(list(LOOKS.values()))[np.arange(100).reshape(10, 10) % 3]
    shade = np.kron(looks, np.ones((120, 120)))
    optical = (1500 * shade + random.normal(0, 200, (12, SIZE, SIZE))).clip(1, 9000)
    radar = -12 - 4 * shade + random.normal(0, 1, (2, SIZE, SIZE))
    sources = []
    for name, values, bands in (("S2", optical.astype("u2"), S2_BANDS),
                                ("S1", radar.astype("f4"), ("VV", "VH"))):  # fmt: skip
        path = folder / f"{name}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", count=len(values), height=SIZE, width=SIZE,
            dtype=values.dtype, crs="EPSG:32633",
            transform=rasterio.Affine(10, 0, LEFT, 0, -10, TOP),
        ) as dataset:  # fmt: skip
            dataset.write(values)
            for index, band in enumerate(bands, start=1):
                dataset.set_band_description(index, band)
        sources.append(RasterSource(str(path)))
    return ScenePair((sources[0],), (sources[1],))


@pytest.fixture(scope="session")
def base(
    tiny_config: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("base") / "model"
    spec = replace(default_spec(), provenance={"made by": "the tests"}, license="CC0-1.0")
    MultiModalModel(tiny_config(), spec).eval().save_pretrained(folder)
    return str(folder)
