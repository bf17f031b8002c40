"""The layers of one run in the project: the preview while it runs, then the result itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsLayerTreeGroup,
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
from .held_layers import PREVIEW_MARK, HeldLayer, layers_of
from .scratch_layers import fill, mark, scratch_layer_of

# Drawing the map again for each batch would take longer than the batch.
_FLUSH_MILLISECONDS = 500
_KEY_FIELD = "tile_id"


@dataclass(frozen=True)
class _Place:
    """Where in the layer tree a layer stands, and whether it is drawn."""

    group: QgsLayerTreeGroup
    index: int
    is_visible: bool = True


class ResultLayers(QObject):
    """Preview and result of one run; lives on the main thread."""

    def __init__(self, spec: ModelSpec, title: str, parent: QObject) -> None:
        super().__init__(parent)
        self._spec = spec
        self._title = title
        self._fields = qgis_fields(spec)
        self._preview_id = ""
        self._held: list[HeldLayer] = []
        self._waiting: list[QgsFeature] = []
        self._timer = QTimer(self)
        self._timer.setInterval(_FLUSH_MILLISECONDS)
        self._timer.timeout.connect(self._flush)

    def hold(self, path: Path) -> None:
        """Take the layers that show this file off it, until ``give_back``."""
        for layer in layers_of(path):
            self._held.append(HeldLayer(layer))

    def give_back(self) -> QgsVectorLayer | None:
        """Put held layers on their file again; return the first one that shows the tiles."""
        held, self._held = self._held, []
        result = None
        for item in held:
            layer = item.give_back()
            if layer is None or not layer.isValid() or _KEY_FIELD not in layer.fields().names():
                continue
            if not item.has_same_fields(layer):
                apply_style(layer, self._spec)
            result = result or layer
        return result

    def forget(self) -> None:
        """Let go of a project that is gone, with all layers that were in it."""
        self._timer.stop()
        self._held, self._waiting, self._preview_id = [], [], ""

    def begin(self, crs_wkt: str) -> None:
        """Add the empty preview; nobody can edit what will be replaced."""
        crs = QgsCoordinateReferenceSystem.fromWkt(crs_wkt)
        name = tr("{} (running)").format(self._title)
        preview = memory_layer(name, crs, self._spec)
        preview.setReadOnly(True)
        # A project that is saved meanwhile is cleaned of it when it is opened.
        preview.setCustomProperty(PREVIEW_MARK, True)
        _insert(preview, _top())
        self._preview_id = preview.id()
        self._timer.start()

    def add(self, rows: Iterable[TileResult]) -> None:
        """Show finished tiles soon."""
        if self._preview_id:
            self._waiting += [tile_feature(row, self._fields, self._spec) for row in rows]

    def rename(self, layer: QgsVectorLayer, complete: bool) -> QgsVectorLayer:
        """Say in the layer's name whether it is complete, unless the user has named it."""
        if layer.name() in (self._name(True), self._name(False)):
            layer.setName(self._name(complete))
        return layer

    def show_file(self, path: Path, complete: bool) -> QgsVectorLayer:
        """Replace the preview by the GeoPackage that the worker has closed."""
        layer = QgsVectorLayer(f"{path}|layername={LAYER}", self._name(complete), "ogr")
        if not layer.isValid():
            raise OutputError(tr("The result '{}' cannot be opened by QGIS.").format(path))
        return self._replace(layer)

    def show_copy(self, path: Path, complete: bool) -> QgsVectorLayer:
        """Replace the preview by a temporary layer with the tiles of the journal."""
        journal = open_journal(path)
        earlier = scratch_layer_of(path)
        layer = earlier or memory_layer(self._name(complete), journal.crs, self._spec)
        fill(layer, journal.features(self._fields))
        if earlier is not None:
            self.remove_preview()
            return self.rename(earlier, complete)
        mark(layer, path)
        return self._replace(layer)

    def remove_preview(self) -> None:
        """Take the preview away."""
        self._timer.stop()
        self._waiting = []
        project = QgsProject.instance()
        if project.mapLayer(self._preview_id) is not None:
            project.removeMapLayer(self._preview_id)
        self._preview_id = ""

    def _replace(self, layer: QgsVectorLayer) -> QgsVectorLayer:
        apply_style(layer, self._spec)
        place = self._preview_place()
        self.remove_preview()
        _insert(layer, place)
        return layer

    def _preview_place(self) -> _Place:
        node = QgsProject.instance().layerTreeRoot().findLayer(self._preview_id)
        if node is None:
            return _top()
        group = node.parent()
        return _Place(group, group.children().index(node), node.itemVisibilityChecked())

    def _name(self, complete: bool) -> str:
        return self._title if complete else tr("{} (incomplete)").format(self._title)

    def _flush(self) -> None:
        # Asked for each time: the user may have removed it, or reverted the project.
        preview = QgsProject.instance().mapLayer(self._preview_id)
        features, self._waiting = self._waiting, []
        if preview is None or not features:
            return
        preview.dataProvider().addFeatures(features)
        preview.updateExtents()
        preview.triggerRepaint()


def _top() -> _Place:
    return _Place(QgsProject.instance().layerTreeRoot(), 0)


def _insert(layer: QgsVectorLayer, place: _Place) -> None:
    QgsProject.instance().addMapLayer(layer, False)
    node = place.group.insertLayer(place.index, layer)
    node.setExpanded(True)
    node.setItemVisibilityChecked(place.is_visible)
