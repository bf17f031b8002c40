"""A result in the folder of its sources, and what else comes to lie there between two runs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from multimodal.contract.errors import OutputError
from multimodal.contract.job import ClassifyJob, RasterSource
from multimodal.contract.messages import Message, Rows
from multimodal.pipeline import classify


@pytest.fixture
def order(job: ClassifyJob, tiny_model: str, tmp_path: Path) -> ClassifyJob:
    """The sample pair as a folder, with the result in it."""
    folder = tmp_path / "scene"
    folder.mkdir()
    shutil.copy(job.s2[0].path, folder / "s2.tif")
    output = str(folder / "out.gpkg")
    return replace(job, s2=(RasterSource(str(folder)),), model=tiny_model, output=output)


def begin(order: ClassifyJob) -> None:
    """Run up to the first batch."""
    told: list[Message] = []
    summary = classify(order, told.append, lambda: any(isinstance(m, Rows) for m in told))
    assert (summary.state, summary.tiles) == ("partial", 8)


def test_a_run_goes_on_in_the_folder_of_its_source(order: ClassifyJob, tmp_path: Path) -> None:
    begin(order)
    (tmp_path / "scene" / "notes.csv").write_text("1")
    assert classify(order).state == "complete"
    assert classify(order).state == "complete"


def test_a_run_does_not_go_on_where_a_mask_appeared(order: ClassifyJob, tmp_path: Path) -> None:
    begin(order)
    raster = tmp_path / "scene" / "s2.tif"
    with rasterio.open(raster) as dataset:
        size = {"width": dataset.width, "height": dataset.height, "count": 1, "dtype": "uint8"}
    with rasterio.open(f"{raster}.msk", "w", driver="GTiff", **size) as mask:
        mask.write(np.zeros((1, size["height"], size["width"]), "uint8"))
    with pytest.raises(OutputError, match=r"Sentinel-2 rasters .the same files, changed since"):
        classify(order)


def test_a_run_does_not_go_on_where_an_item_says_another_offset(
    order: ClassifyJob, tmp_path: Path
) -> None:
    raster = tmp_path / "scene" / "s2.tif"
    order = replace(order, s2=(RasterSource(str(raster)),))

    def say(offset: float) -> None:
        bands = [{"scale": 0.0001, "offset": offset}]
        asset = {"href": "s2.tif", "raster:bands": bands}
        text = json.dumps({"stac_version": "1.0.0", "assets": {"s2": asset}})
        raster.with_name("item.json").write_text(text)

    say(0)
    begin(order)
    say(-0.01)
    with pytest.raises(OutputError, match=r"Sentinel-2 rasters .the same files, changed since"):
        classify(order)
