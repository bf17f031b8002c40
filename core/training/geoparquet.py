"""embed(): the embeddings of a scene's tiles as GeoParquet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import shapely
from rasterio.crs import CRS

from ..contract.errors import JobError, OutputError
from ..contract.job import check_sensors
from ..contract.messages import Log, Message, Phase
from ..contract.scene_options import SceneOptions
from ..contract.train_order import ScenePair
from ..devices import choose_device, gpu_errors_told
from ..scene import Scene, Tile, open_scene
from .base import load_base
from .embedding_cache import NAMES, cache_of, prune
from .embeddings import Embedded, Embedder, embed_tiles, model_digest
from .extras import load_extra
from .probe import progress
from .trained_folder import told

SUFFIX = ".parquet"
GEOMETRY = "geometry"


def embed(
    pair: ScenePair, base: str, output: str, *, options: SceneOptions | None = None,
    extent_wkt: str | None = None, aoi_wkt: str | None = None, stride: int | None = None,
    min_valid: float = 0.75, device: str = "auto", overwrite: bool = False,
    emit: Callable[[Message], None] = lambda message: None,
    is_cancelled: Callable[[], bool] = lambda: False, cache: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write one row a tile with enough pixels, and return what was written.

    Columns: ``tile_id``, ``row``, ``col`` as in a result of ``classify``, ``fused``, ``cls``
    and ``mean`` as lists of float32, and the tile's polygon in the CRS of the grid.

    Raises:
        MultimodalError: what is wrong and what to do; nothing is written.
        CancelledError: stopped; embeddings that were computed are kept in the cache.
        RuntimeMissingError: pyarrow is not there.
    """
    _check_output(output, overwrite)
    parquet = load_extra("pyarrow.parquet", "GeoParquet needs")
    arrow = load_extra("pyarrow")
    emit(Phase("model", "Loading the base"))
    model = load_base(base, is_cancelled)
    check_sensors(pair.s1, model.spec)
    options = options or SceneOptions()
    with gpu_errors_told():
        embedder = Embedder(
            model, choose_device(device), lambda text: emit(Log("warning", text)), is_cancelled
        )
        emit(Phase("open", "Opening the scene"))
        with open_scene(pair.s2, pair.s1, model.spec, stride=stride, mask=pair.mask,
                        options=options, is_cancelled=is_cancelled) as scene:  # fmt: skip
            tiles = scene.select(extent_wkt, aoi_wkt)
            places = np.array([(t.row, t.col) for t in tiles], dtype=np.int32) * scene.grid.stride
            kept = cache_of(pair, options, min_valid, model_digest(model), cache)
            found = embed_tiles(scene, places, embedder, kept, min_valid, progress(emit))
            prune(cache)
            if not found.good.any():
                raise JobError("No tile has enough valid pixels: there is nothing to write.")
            table = _table(arrow, scene, [t for t, good in zip(tiles, found.good) if good], found)
    emit(Phase("finish", "Writing the embeddings"))
    _write(parquet, table, Path(os.path.realpath(output)))
    widths = {name: int(found.vectors[name].shape[1]) for name in NAMES}
    return {"output": output, "tiles": len(tiles), "written": table.num_rows, "widths": widths,
            "computed": found.computed}  # fmt: skip


def _check_output(output: str, overwrite: bool) -> None:
    if not output.lower().endswith(SUFFIX):
        raise OutputError(f"The output must be GeoParquet: '{output}' does not end in {SUFFIX}.")
    if os.path.exists(output) and not os.path.isfile(output):
        raise OutputError(f"'{output}' is no file: choose another name.")
    if os.path.exists(output) and not overwrite:
        raise OutputError(f"'{output}' is there already: choose another name, or --overwrite.")
    if not os.path.isdir(Path(output).absolute().parent):
        raise OutputError(f"The folder of '{output}' does not exist: make it first.")


def _table(arrow: Any, scene: Scene, tiles: list[Tile], found: Embedded) -> Any:
    shapes = [shapely.Polygon(scene.grid.corners(tile)) for tile in tiles]
    columns = {
        "tile_id": arrow.array([tile.tile_id for tile in tiles], arrow.int64()),
        "row": arrow.array([tile.row for tile in tiles], arrow.int32()),
        "col": arrow.array([tile.col for tile in tiles], arrow.int32()),
    }
    for name in NAMES:
        values = np.ascontiguousarray(found.vectors[name])
        columns[name] = arrow.FixedSizeListArray.from_arrays(
            arrow.array(values.reshape(-1)), values.shape[1]
        )
    columns[GEOMETRY] = arrow.array([shapely.to_wkb(shape) for shape in shapes], arrow.binary())
    table = arrow.table(columns)
    described = json.dumps(_geo(scene.grid.geometry.crs, shapes))
    return table.replace_schema_metadata({"geo": described})


def _geo(crs: CRS, shapes: list[Any]) -> dict[str, Any]:
    """Return the file's metadata: https://geoparquet.org/releases/v1.1.0."""
    bounds = shapely.total_bounds(np.array(shapes, dtype=object))
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": crs.to_dict(projjson=True),
        "bbox": [float(value) for value in bounds],
    }
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


def _write(parquet: Any, table: Any, target: Path) -> None:
    with told(target), TemporaryDirectory(prefix=".embedding.", dir=target.parent) as temporary:
        aside = Path(temporary) / target.name
        parquet.write_table(table, os.fspath(aside), compression="zstd")
        os.replace(aside, target)
