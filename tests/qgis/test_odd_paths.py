"""Processing among folders and files of any name: it works, or says why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from qgis.core import QgsProcessingException, QgsProject, QgsRasterLayer, QgsVectorLayer

from mm_qgis_plugin.core.contract.errors import MultimodalError
from mm_qgis_plugin.layers import path_source, raster_source

ODD = "sp ace quo'te\" Übergröße 🛰️ 100% &<b>#;c, $(x) `x`"


def run(**values: object) -> dict:
    import processing

    extent = "345700,346700,5294500,5295500 [EPSG:32633]"
    return processing.run("multimodal:classify", {"DEVICE": "cpu", "EXTENT": extent, **values})


@pytest.fixture
def copies(s2_path: str, s1_path: str, model_folder: str, tmp_path: Path):
    """Copy the scene and the model under a name; returns folder, S2, S1, model."""

    def make(name: str) -> tuple[Path, str, str, str]:
        folder = tmp_path / name
        folder.mkdir()
        s2, s1 = (
            shutil.copy(path, folder / f"{name}{Path(path).name}") for path in (s2_path, s1_path)
        )
        shutil.copytree(model_folder, folder / name)
        return folder, str(s2), str(s1), str(folder / name)

    return make


@pytest.mark.parametrize("name", [ODD, "new\nline", "y" * 150])
def test_processing_among_files_of_any_name(provider, copies, tmp_path: Path, name: str) -> None:
    folder, s2, s1, model = copies(name)
    # QGIS itself loses a name of two lines.
    output = tmp_path / "out.gpkg" if "\n" in name else folder / f"{name} out.gpkg"
    result = run(S2=[s2], S1=[s1], MODEL=model, OUTPUT=str(output))
    assert result["CLASSIFIED"] == 1
    layer = QgsVectorLayer(result["OUTPUT"], name, "ogr")
    assert layer.featureCount() == 1
    assert layer.renderer().type() == "RuleRenderer"


def test_a_layer_of_any_name_is_a_source(provider, copies, model_folder: str) -> None:
    _, s2, s1, _ = copies(ODD)
    layers = [QgsRasterLayer(path, ODD * 20 + "\n<img src=x>") for path in (s2, s1)]
    try:
        QgsProject.instance().addMapLayers(layers)
        assert [raster_source(layer).path for layer in layers] == [s2, s1]
        result = run(S2=[layers[0]], S1=[layers[1]], MODEL=model_folder, OUTPUT="TEMPORARY_OUTPUT")
        assert result["CLASSIFIED"] == 1
    finally:
        QgsProject.instance().removeMapLayers([layer.id() for layer in layers])


@pytest.mark.parametrize("name", ["z" * 300, "/".join(["y" * 200] * 30)])
@pytest.mark.parametrize("part", ["S2", "MODEL", "OUTPUT"])
def test_a_name_that_no_file_can_have_is_told(
    provider, s2_path: str, s1_path: str, model_folder: str, tmp_path: Path, name: str, part: str
) -> None:
    values = {"S2": [s2_path], "S1": [s1_path], "MODEL": model_folder,
              "OUTPUT": str(tmp_path / "out.gpkg")}  # fmt: skip
    odd = f"{tmp_path}/{name}.gpkg"
    values[part] = [odd] if part == "S2" else odd
    with pytest.raises(QgsProcessingException):
        run(**values)


@pytest.mark.parametrize("name", ["z" * 300, "a\0b", ""])
def test_a_path_that_cannot_be_is_a_coded_error(qgis_app, name: str) -> None:
    with pytest.raises(MultimodalError):
        path_source(f"/nowhere/{name}.tif")


def test_an_error_that_nobody_foresaw_is_told_and_leaves_qgis_alone(
    provider, s2_path: str, s1_path: str, model_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that left a virtual method of QGIS in Python has ended the process."""

    def fails(*_: object) -> None:
        raise ValueError("unforeseen <b>")

    monkeypatch.setattr("mm_qgis_plugin.processing.reading.check_sink", fails)
    with pytest.raises(QgsProcessingException, match="unforeseen <b>"):
        run(S2=[s2_path], S1=[s1_path], MODEL=model_folder, OUTPUT="TEMPORARY_OUTPUT")
