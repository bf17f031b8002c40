"""The layers of one run in the project: the preview while it runs, then the result itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsProject,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QObject, QTimer

from ..about import tr
from ..core.contract.errors import OutputError
from ..core.contract.result import LAYER, TileResult
from ..core.contract.spec import ModelSpec
from ..results import memory_layer, open_journal, qgis_fields, tile_feature
from ..style import apply_style

# Drawing the map again for each batch would take longer than the batch.
_FLUSH_MILLISECONDS = 500


class ResultLayers(QObject):
    """Preview and result of one run; lives on the main thread."""

    def __init__(self, spec: ModelSpec, title: str, parent: QObject) -> None:
        super().__init__(parent)
        self._spec = spec
        self._title = title
        self._fields = qgis_fields(spec)
        self._preview: QgsVectorLayer | None = None
        self._preview_id = ""
        self._waiting: list[QgsFeature] = []
        self._timer = QTimer(self)
        self._timer.setInterval(_FLUSH_MILLISECONDS)
        self._timer.timeout.connect(self._flush)

    def begin(self, crs_wkt: str) -> None:
        """Add the empty preview; nobody can edit what will be replaced."""
        crs = QgsCoordinateReferenceSystem.fromWkt(crs_wkt)
        name = tr("{} (running)").format(self._title)
        preview = memory_layer(name, crs, self._spec)
        preview.setReadOnly(True)
        _insert(preview, 0)
        self._preview, self._preview_id = preview, preview.id()
        self._timer.start()

    def add(self, rows: Iterable[TileResult]) -> None:
        """Show finished tiles soon."""
        self._waiting += [tile_feature(row, self._fields, self._spec) for row in rows]

    def show_file(self, path: Path, complete: bool) -> QgsVectorLayer:
        """Replace the preview by the GeoPackage that the worker has closed."""
        layer = QgsVectorLayer(f"{path}|layername={LAYER}", self._name(complete), "ogr")
        if not layer.isValid():
            raise OutputError(tr("The result '{}' cannot be opened by QGIS.").format(path))
        return self._replace(layer)

    def show_copy(self, path: Path, complete: bool) -> QgsVectorLayer:
        """Replace the preview by a temporary layer with the tiles of the journal."""
        journal = open_journal(path)
        layer = memory_layer(self._name(complete), journal.crs, self._spec)
        layer.dataProvider().addFeatures(list(journal.features(self._fields)))
        layer.updateExtents()
        return self._replace(layer)

    def remove_preview(self) -> int:
        """Take the preview away; returns its place among the layers of the project."""
        self._timer.stop()
        project = QgsProject.instance()
        node = project.layerTreeRoot().findLayer(self._preview_id)
        place = node.parent().children().index(node) if node and _is_top(node) else 0
        if project.mapLayer(self._preview_id) is not None:
            project.removeMapLayer(self._preview_id)
        self._preview = None
        return place

    def _replace(self, layer: QgsVectorLayer) -> QgsVectorLayer:
        apply_style(layer, self._spec)
        _insert(layer, self.remove_preview())
        return layer

    def _name(self, complete: bool) -> str:
        return self._title if complete else tr("{} (incomplete)").format(self._title)

    def _flush(self) -> None:
        # The user may have removed the preview; the run does not mind.
        if QgsProject.instance().mapLayer(self._preview_id) is None or not self._waiting:
            return
        features, self._waiting = self._waiting, []
        self._preview.dataProvider().addFeatures(features)
        self._preview.updateExtents()
        self._preview.triggerRepaint()


def layers_of(path: Path) -> list[QgsVectorLayer]:
    """Return the layers of the project that show this file."""
    layers = QgsProject.instance().mapLayers().values()
    return [layer for layer in layers if _file_of(layer) == path.resolve()]


def release(path: Path) -> int:
    """Remove layers of the project that show this file; returns how many.

    The worker writes the file: a layer that reads it would see torn batches, or lock it.
    """
    showing = [layer.id() for layer in layers_of(path)]
    QgsProject.instance().removeMapLayers(showing)
    return len(showing)


def _file_of(layer: object) -> Path | None:
    if not isinstance(layer, QgsVectorLayer) or layer.providerType() != "ogr":
        return None
    return Path(layer.source().split("|", 1)[0]).resolve()


def _insert(layer: QgsVectorLayer, place: int) -> None:
    QgsProject.instance().addMapLayer(layer, False)
    QgsProject.instance().layerTreeRoot().insertLayer(place, layer).setExpanded(True)


def _is_top(node: object) -> bool:
    return node.parent() == QgsProject.instance().layerTreeRoot()
