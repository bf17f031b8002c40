"""Which part of the scene: all, an extent, or polygons."""

from __future__ import annotations

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsFeatureRequest,
    QgsGeometry,
    QgsMapLayerProxyModel,
    QgsProject,
    QgsRectangle,
    QgsWkbTypes,
)
from qgis.gui import (
    QgsMapCanvas,
    QgsMapLayerComboBox,
    QgsMapTool,
    QgsMapToolExtent,
    QgsRubberBand,
)
from qgis.PyQt import sip
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QCheckBox, QPushButton, QVBoxLayout, QWidget

from ..about import tr
from ..core.contract.errors import CrsError
from ..layers import extent_wkt, polygons_wkt
from .order import NotReadyError
from .widgets import choice, name_children, narrow, note

SCENE, LAYER, CANVAS, DRAWN, POLYGONS = "scene", "layer", "canvas", "drawn", "polygons"
_POINTS_PER_EDGE = 20
_METRE_DECIMALS, _DEGREE_DECIMALS = 1, 5
_BAND_COLOR = QColor(220, 60, 20, 160)


class AreaWidget(QWidget):
    """Chooses the area; ``wkt`` gives it in the CRS of the scene."""

    changed = pyqtSignal()
    """Where no combo box tells it: the map was moved, or a rectangle drawn."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        super().__init__()
        self._canvas = canvas
        self._drawn: tuple[QgsRectangle, QgsCoordinateReferenceSystem] | None = None
        self._band: QgsRubberBand | None = None
        self._tool: QgsMapToolExtent | None = None
        self._earlier_tool: QgsMapTool | None = None
        self.mode = choice(
            (
                (tr("Whole scene"), SCENE),
                (tr("Extent of a layer"), LAYER),
                (tr("Map canvas"), CANVAS),
                (tr("Drawn rectangle"), DRAWN),
                (tr("Polygons of a layer"), POLYGONS),
            )
        )
        self.mode.setToolTip(tr("A tile is classified when its centre lies in the area"))
        self.layer = _layer_combo(QgsMapLayerProxyModel.Filter.All)
        self.polygons = _layer_combo(QgsMapLayerProxyModel.Filter.PolygonLayer)
        self.selected_only = QCheckBox(tr("Selected features only"))
        self.draw = QPushButton(tr("Draw on the map"))
        self.draw.setCheckable(True)
        self.drawn_note = note()
        self._lay_out()
        self.mode.currentIndexChanged.connect(self._on_mode)
        self.draw.toggled.connect(self._on_draw)
        canvas.destinationCrsChanged.connect(self._show_drawn)
        canvas.extentsChanged.connect(self._on_moved)
        QgsProject.instance().cleared.connect(self._forget_drawn)
        self._on_mode()

    def is_whole_scene(self) -> bool:
        """Return whether there is no area to place on the scene."""
        return self.mode.currentData() == SCENE

    def wkt(
        self, target: QgsCoordinateReferenceSystem, within: QgsRectangle | None = None
    ) -> tuple[str | None, str | None]:
        """Return (extent, polygons), each WKT in ``target`` or None; MultimodalError explains.

        ``within`` is the extent of the scene in ``target``, where it is known.
        """
        mode = self.mode.currentData()
        if mode == SCENE:
            return None, None
        if mode == POLYGONS:
            return None, self._polygons_wkt(target, within)
        context = QgsProject.instance().transformContext()
        return extent_wkt(*self._extent(mode), target, context, within), None

    def shut_down(self) -> None:
        """Take the map tool and the drawn rectangle off the canvas."""
        self._canvas.destinationCrsChanged.disconnect(self._show_drawn)
        self._canvas.extentsChanged.disconnect(self._on_moved)
        QgsProject.instance().cleared.disconnect(self._forget_drawn)
        self.stop_drawing()
        self._show_band(None)

    def stop_drawing(self) -> None:
        """Give the canvas the tool back that it had before."""
        self.draw.setChecked(False)

    def _extent(self, mode: str) -> tuple[QgsRectangle, QgsCoordinateReferenceSystem]:
        if mode == CANVAS:
            return self._canvas.extent(), _known(self._canvas.mapSettings().destinationCrs())
        if mode == LAYER:
            layer = self.layer.currentLayer()
            if layer is None:
                raise NotReadyError(tr("Choose the layer whose extent is to be used."))
            return layer.extent(), layer.crs()
        if self._drawn is None:
            raise NotReadyError(tr("No rectangle was drawn: press 'Draw on the map' and drag one."))
        return self._drawn[0], _known(self._drawn[1])

    def _polygons_wkt(
        self, target: QgsCoordinateReferenceSystem, within: QgsRectangle | None
    ) -> str:
        layer = self.polygons.currentLayer()
        if layer is None:
            raise NotReadyError(tr("Choose the polygon layer."))
        request = QgsFeatureRequest().setNoAttributes()
        features = (
            layer.getSelectedFeatures(request)
            if self.selected_only.isChecked()
            else layer.getFeatures(request)
        )
        context = QgsProject.instance().transformContext()
        return polygons_wkt(features, layer.crs(), target, context, within)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        parts = (
            self.mode, self.layer, self.polygons, self.selected_only, self.draw, self.drawn_note,
        )  # fmt: skip
        for part in parts:
            layout.addWidget(part)
        name_children(
            self, "multimodal_area", mode=self.mode, layer=self.layer, polygons=self.polygons,
            selected_only=self.selected_only, draw=self.draw, note=self.drawn_note,
        )  # fmt: skip

    def _on_mode(self) -> None:
        mode = self.mode.currentData()
        self.layer.setVisible(mode == LAYER)
        self.polygons.setVisible(mode == POLYGONS)
        self.selected_only.setVisible(mode == POLYGONS)
        self.draw.setVisible(mode == DRAWN)
        self.drawn_note.setVisible(mode == DRAWN)
        if mode != DRAWN:
            self.draw.setChecked(False)
        self._show_drawn()

    def _on_draw(self, active: bool) -> None:
        if active:
            self._earlier_tool = self._canvas.mapTool()
            self._tool = QgsMapToolExtent(self._canvas)
            self._tool.extentChanged.connect(self._on_drawn)
            self._tool.deactivated.connect(self.stop_drawing)
            self._canvas.setMapTool(self._tool)
        elif self._tool is not None:
            tool, self._tool = self._tool, None
            earlier, self._earlier_tool = self._earlier_tool, None
            # Not where the user has taken up another tool meanwhile.
            if self._canvas.mapTool() == tool:
                self._canvas.unsetMapTool(tool)
                if earlier is not None and not sip.isdeleted(earlier):
                    self._canvas.setMapTool(earlier)
            tool.deleteLater()

    def _on_drawn(self, rectangle: QgsRectangle) -> None:
        if rectangle.isEmpty():
            return
        crs = self._canvas.mapSettings().destinationCrs()
        self._drawn = (QgsRectangle(rectangle), crs)
        decimals = _DEGREE_DECIMALS if crs.isGeographic() else _METRE_DECIMALS
        self.drawn_note.setText(rectangle.toString(decimals))
        self._show_drawn()
        self.stop_drawing()
        self.changed.emit()

    def _on_moved(self) -> None:
        if self.mode.currentData() == CANVAS:
            self.changed.emit()

    def _forget_drawn(self) -> None:
        """The rectangle was drawn on a map that is gone."""
        self._drawn = None
        self.drawn_note.setText("")
        self.stop_drawing()
        self._show_band(None)

    def _show_drawn(self) -> None:
        """Draw the rectangle, in whatever CRS the map has by now."""
        if self.mode.currentData() != DRAWN or self._drawn is None:
            self._show_band(None)
            return
        rectangle, crs = self._drawn
        shape = QgsGeometry.fromRect(rectangle)
        now = self._canvas.mapSettings().destinationCrs()
        if crs != now:
            shape = shape.densifyByCount(_POINTS_PER_EDGE)
            try:
                shape.transform(QgsCoordinateTransform(crs, now, QgsProject.instance()))
            except QgsCsException:
                shape = None  # It lies where this map cannot show it.
        self._show_band(shape)

    def _show_band(self, shape: QgsGeometry | None) -> None:
        if self._band is not None:
            self._canvas.scene().removeItem(self._band)
            self._band = None
        if shape is None:
            return
        self._band = QgsRubberBand(self._canvas, QgsWkbTypes.GeometryType.PolygonGeometry)
        self._band.setStrokeColor(_BAND_COLOR)
        self._band.setFillColor(QColor(Qt.GlobalColor.transparent))
        self._band.setWidth(2)
        self._band.setToGeometry(shape, None)


def _known(crs: QgsCoordinateReferenceSystem) -> QgsCoordinateReferenceSystem:
    if not crs.isValid():
        raise CrsError(
            tr(
                "The project has no coordinate reference system, so no area can be taken from "
                "the map: set one (Project > Properties > CRS)."
            )
        )
    return crs


def _layer_combo(kind: QgsMapLayerProxyModel.Filter) -> QgsMapLayerComboBox:
    combo = QgsMapLayerComboBox()
    combo.setFilters(kind)
    narrow(combo)
    return combo
