"""The layers of one run in the project: the preview while it runs, then the result itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeature,
    QgsFeatureSink,
    QgsLayerTreeGroup,
    QgsProject,
    QgsVectorLayer,
)
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QObject, QTimer, pyqtSignal

from ..about import tr
from ..core.contract.errors import OutputError
from ..core.contract.result import LAYER, TileResult
from ..core.contract.spec import ModelSpec
from ..results import memory_layer, open_journal, qgis_fields, tile_feature
from ..style import apply_style
from .held_layers import PREVIEW_MARK, HeldLayer, layers_of
from .scratch_layers import fill, mark, scratch_layer_of
from .steps import Steps

# Drawing the map again for each batch would take longer than the batch.
_REPAINT_MILLISECONDS = 500
# So many make some 1.5 ms: that much of a slice may be too long.
_FEATURES_A_STEP = 16
_KEY_FIELD = "tile_id"

Showing = Generator[None, None, QgsVectorLayer]
"""Work in steps, see :class:`Steps`; it returns the layer that is in the project."""


@dataclass(frozen=True)
class _Place:
    """Where in the layer tree a layer stands, and whether it is drawn."""

    group: QgsLayerTreeGroup
    index: int
    is_visible: bool = True


class ResultLayers(QObject):
    """Preview and result of one run; lives on the main thread, and keeps it free."""

    failed = pyqtSignal(object)
    """(exception): rows cannot be shown while the run goes on."""

    def __init__(self, spec: ModelSpec, title: str, parent: QObject) -> None:
        super().__init__(parent)
        self._spec = spec
        self._title = title
        self._fields = qgis_fields(spec)
        self._preview_id = ""
        self._held: list[HeldLayer] = []
        self._waiting: deque[TileResult] = deque()
        self._adding = Steps(self)
        self._is_outdated = False
        self._timer = QTimer(self)
        self._timer.setInterval(_REPAINT_MILLISECONDS)
        self._timer.timeout.connect(self._repaint)

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
        self._stop_adding()
        self._held, self._preview_id = [], ""

    def begin(self, crs_wkt: str) -> None:
        """Add the empty preview soon; nobody can edit what will be replaced."""
        self._timer.start()
        self._adding.start(self._add_preview(crs_wkt), self._on_added)

    def add(self, rows: Iterable[TileResult]) -> None:
        """Show finished tiles soon."""
        if not self._timer.isActive():
            return
        self._waiting.extend(rows)
        if not self._adding.is_running:
            self._adding.start(self._add_waiting(), self._on_added)

    def rename(self, layer: QgsVectorLayer, complete: bool) -> QgsVectorLayer:
        """Say in the layer's name whether it is complete, unless the user has named it."""
        if layer.name() in (self._name(True), self._name(False)):
            layer.setName(self._name(complete))
        return layer

    def show_file(self, path: Path, complete: bool) -> Showing:
        """Replace the preview by the GeoPackage that the worker has closed."""
        options = QgsVectorLayer.LayerOptions()
        options.loadDefaultStyle = False  # It gets the same one from here.
        source = f"{path}|layername={LAYER}"
        layer = QgsVectorLayer(source, self._name(complete), "ogr", options)
        if not layer.isValid():
            raise OutputError(tr("The result '{}' cannot be opened by QGIS.").format(path))
        yield
        apply_style(layer, self._spec)
        yield
        return (yield from self._replace(layer))

    def show_copy(self, path: Path, complete: bool) -> Showing:
        """Replace the preview by a temporary layer with the tiles of the journal."""
        journal = open_journal(path)
        yield
        layer = memory_layer(self._name(complete), journal.crs, self._spec)
        features = journal.features(self._fields)
        # Never all of them in Python: its search for garbage would take 40 ms over so many.
        while some := list(islice(features, _FEATURES_A_STEP)):
            yield
            _append(layer, some)
        yield
        layer.updateExtents()
        apply_style(layer, self._spec)
        yield
        # Only now, and all at once: the user may edit it, or take it away, between two steps.
        earlier = scratch_layer_of(path)
        if earlier is not None:
            fill(earlier, layer)
            yield
            self.remove_preview()
            return self.rename(earlier, complete)
        mark(layer, path)
        return (yield from self._replace(layer))

    def remove_preview(self) -> None:
        """Take the preview away."""
        preview = self._take_preview()
        if preview is not None:
            sip.delete(preview)

    def _replace(self, layer: QgsVectorLayer) -> Showing:
        """Put a layer in the place of the preview."""
        place = self._preview_place()
        # In one step, or the map would begin to draw in between; its tiles are deleted in another.
        preview = self._take_preview()
        _insert(layer, place)
        yield
        if preview is not None:
            sip.delete(preview)
        return layer

    def _take_preview(self) -> QgsVectorLayer | None:
        """Take the preview out of the project; return it, if it was there."""
        self._stop_adding()
        preview = self._preview()
        self._preview_id = ""
        return None if preview is None else QgsProject.instance().takeMapLayer(preview)

    def _preview_place(self) -> _Place:
        node = QgsProject.instance().layerTreeRoot().findLayer(self._preview_id)
        if node is None:
            return _top()
        group = node.parent()
        return _Place(group, group.children().index(node), node.itemVisibilityChecked())

    def _name(self, complete: bool) -> str:
        return self._title if complete else tr("{} (incomplete)").format(self._title)

    def _add_preview(self, crs_wkt: str) -> Generator[None, None, None]:
        crs = QgsCoordinateReferenceSystem.fromWkt(crs_wkt)
        preview = memory_layer(tr("{} (running)").format(self._title), crs, self._spec)
        yield
        apply_style(preview, self._spec)
        yield
        preview.setReadOnly(True)
        # A project that is saved meanwhile is cleaned of it when it is opened.
        preview.setCustomProperty(PREVIEW_MARK, True)
        _insert(preview, _top())
        self._preview_id = preview.id()
        yield
        yield from self._add_waiting()

    def _add_waiting(self) -> Generator[None, None, None]:
        while self._waiting:
            count = min(len(self._waiting), _FEATURES_A_STEP)
            rows = [self._waiting.popleft() for _ in range(count)]
            preview = self._preview()
            if preview is None:
                self._waiting.clear()
                return
            _append(preview, [tile_feature(row, self._fields, self._spec) for row in rows])
            self._is_outdated = True
            yield

    def _on_added(self, _: None, problem: Exception | None) -> None:
        if problem is not None:
            self.failed.emit(problem)

    def _stop_adding(self) -> None:
        self._timer.stop()
        self._adding.stop()
        self._waiting.clear()

    def _preview(self) -> QgsVectorLayer | None:
        # Asked for each time: the user may have removed it, or reverted the project.
        return QgsProject.instance().mapLayer(self._preview_id)

    def _repaint(self) -> None:
        preview = self._preview()
        if preview is not None and self._is_outdated:
            self._is_outdated = False
            preview.updateExtents()
            preview.triggerRepaint()


def _append(layer: QgsVectorLayer, features: list[QgsFeature]) -> None:
    # Fast: nobody needs the features back with their numbers.
    layer.dataProvider().addFeatures(features, QgsFeatureSink.Flag.FastInsert)


def _top() -> _Place:
    return _Place(QgsProject.instance().layerTreeRoot(), 0)


def _insert(layer: QgsVectorLayer, place: _Place) -> None:
    QgsProject.instance().addMapLayer(layer, False)
    node = place.group.insertLayer(place.index, layer)
    node.setExpanded(True)
    node.setItemVisibilityChecked(place.is_visible)
