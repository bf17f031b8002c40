"""The tile grid on the map before a run: lines, however many tiles there are."""

from __future__ import annotations

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCsException,
    QgsGeometry,
    QgsPointXY,
    QgsProject,
    QgsWkbTypes,
)
from qgis.gui import QgsMapCanvas, QgsRubberBand
from qgis.PyQt.QtGui import QColor

from ..report import GridFacts
from .lattice import Window, lattice, tile_window, whole_window

# Seen on forest, on snow, and on an empty map.
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

    def show(self, grid: GridFacts, area: QgsGeometry, crs: QgsCoordinateReferenceSystem) -> None:
        """Draw the grid; where ``area`` (in ``crs``) is not empty, around the tiles in it."""
        self._crs = grid_crs(grid)
        lines = lattice(grid, self._window(grid, area, crs))
        points = [[QgsPointXY(*point) for point in line] for line in lines]
        self._lines = QgsGeometry.fromMultiPolylineXY(points) if points else None
        self._draw()

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

    def _window(
        self, grid: GridFacts, area: QgsGeometry, crs: QgsCoordinateReferenceSystem
    ) -> Window | None:
        if area.isEmpty():
            return whole_window(grid)
        placed = _transformed(area, crs, self._crs)
        if placed is None:
            return whole_window(grid)
        return tile_window(grid, [(point.x(), point.y()) for point in placed.vertices()])

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
