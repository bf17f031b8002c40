"""The tile grid on the map before a run: lines, however many tiles there are."""

from __future__ import annotations

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsPoint,
    QgsPointXY,
    QgsProject,
    QgsWkbTypes,
)
from qgis.gui import QgsMapCanvas, QgsRubberBand
from qgis.PyQt.QtGui import QColor

from ..report import GridFacts
from .lattice import (
    MOST_TILES,
    Tile,
    Window,
    centres,
    lattice,
    tile_lattice,
    tile_window,
    whole_window,
)

# Seen on forest, on snow, and on an empty map.
_EDGE_SHARE = 0.02
_COLOR, _HALO = QColor(255, 214, 0), QColor(0, 0, 0, 120)


class TileGrid:
    """Draws one lattice on a canvas, in whatever CRS the map has."""

    def __init__(self, canvas: QgsMapCanvas) -> None:
        self._canvas = canvas
        self._band: QgsRubberBand | None = None
        self._lines: QgsGeometry | None = None
        self._crs = QgsCoordinateReferenceSystem()
        canvas.destinationCrsChanged.connect(self._draw)

    @property
    def is_shown(self) -> bool:
        """Whether there are lines on the map."""
        return self._band is not None

    def show(self, grid: GridFacts, area: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> bool:
        """Draw the grid; where ``area`` (in ``crs``) is not empty, the tiles in it.

        Returns whether every tile is drawn that runs, and no other: of very many, it is the box.
        """
        self._crs = grid_crs(grid)
        lines, is_exact = self._shape(grid, area, crs)
        points = [[QgsPointXY(*point) for point in line] for line in lines]
        self._lines = QgsGeometry.fromMultiPolylineXY(points) if points else None
        self._draw()
        return is_exact

    def clear(self) -> None:
        """Take the lines off the map."""
        self._lines = None
        self._draw()

    def shut_down(self) -> None:
        """Leave the canvas for good."""
        self._canvas.destinationCrsChanged.disconnect(self._draw)
        self.clear()

    def geometry(self) -> QgsGeometry:
        """Return the lines as they are drawn, in the CRS of the map; empty without any."""
        return QgsGeometry() if self._band is None else self._band.asGeometry()

    def _shape(
        self, grid: GridFacts, area: QgsGeometry, crs: QgsCoordinateReferenceSystem
    ) -> tuple[list, bool]:
        placed = QgsGeometry() if area.isEmpty() else _placed_area(area, crs, self._crs)
        if placed is None:
            return lattice(grid, whole_window(grid)), False
        if placed.isEmpty():
            window = whole_window(grid)
            if grid.stride <= grid.tile_size:
                return lattice(grid, window), True
        else:
            window = tile_window(grid, [(point.x(), point.y()) for point in placed.vertices()])
        if window is None:
            return [], True
        if window.count <= MOST_TILES:
            tiles = _tiles_in(grid, window, placed)
            lines = tile_lattice(grid, tiles) if tiles else []
            if lines is not None:
                return lines, True
        return lattice(grid, window), False

    def _draw(self) -> None:
        if self._band is not None:
            self._canvas.scene().removeItem(self._band)
            self._band = None
        if self._lines is None:
            return
        shape = _transformed(self._lines, self._crs, self._canvas.mapSettings().destinationCrs())
        if shape is None:
            return  # It lies where this map cannot show it.
        self._band = QgsRubberBand(self._canvas, QgsWkbTypes.GeometryType.LineGeometry)
        self._band.setStrokeColor(_COLOR)
        self._band.setSecondaryStrokeColor(_HALO)
        self._band.setWidth(1)
        self._band.setToGeometry(shape, None)


def grid_crs(grid: GridFacts) -> QgsCoordinateReferenceSystem:
    """Return the CRS that the worker told, as WKT or by its code."""
    if "[" in grid.crs_wkt:
        return QgsCoordinateReferenceSystem.fromWkt(grid.crs_wkt)
    return QgsCoordinateReferenceSystem(grid.crs_wkt)


def _placed_area(
    area: QgsGeometry, crs: QgsCoordinateReferenceSystem, target: QgsCoordinateReferenceSystem
) -> QgsGeometry | None:
    """Return the area in the CRS of the grid, as the worker places it: edges keep their course."""
    if crs == target:
        return area
    box = area.boundingBox()
    length = _EDGE_SHARE * max(box.width(), box.height())
    placed = _transformed(area.densifyByDistance(length), crs, target)
    return None if placed is None else placed.makeValid()


def _tiles_in(grid: GridFacts, window: Window, area: QgsGeometry) -> list[Tile]:
    """Return the tiles of a window whose centres lie in the area; all where it is empty."""
    if area.isEmpty():
        return [tile for tile, _ in centres(grid, window)]
    engine = QgsGeometry.createGeometryEngine(area.constGet())
    engine.prepareGeometry()
    return [tile for tile, point in centres(grid, window) if engine.intersects(QgsPoint(*point))]


def _transformed(
    shape: QgsGeometry, crs: QgsCoordinateReferenceSystem, target: QgsCoordinateReferenceSystem
) -> QgsGeometry | None:
    placed = QgsGeometry(shape)
    if crs == target or not crs.isValid() or not target.isValid():
        return placed
    try:
        placed.transform(QgsCoordinateTransform(crs, target, QgsProject.instance()))
    except QgsCsException:
        return None
    return placed
