"""Label layers and grids as small as a test needs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS

from multimodal.scene.geometry import Geometry
from multimodal.scene.grid import TileGrid

WriteLayer = Callable[..., str]
LEFT, TOP = 500_000.0, 5_300_000.0


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
