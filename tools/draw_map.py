"""Draws the styled predictions over the Sentinel-2 image, with legend, by QGIS itself."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from pathlib import Path

from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsContrastEnhancement,
    QgsLayerTreeLayer,
    QgsLayoutExporter,
    QgsLayoutItemLabel,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsMapLayerLegendUtils,
    QgsMultiBandColorRenderer,
    QgsPrintLayout,
    QgsProject,
    QgsRasterLayer,
    QgsRasterMinMaxOrigin,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QFont

WIDTH, HEIGHT, LEGEND_WIDTH, MARGIN = 297.0, 170.0, 92.0, 6.0  # mm
NAME_WIDTH = 34  # characters of a line in the legend
RGB = ("B04", "B03", "B02")


def main() -> int:
    """Draw the map that the command line asks for; 0 when the picture was written."""
    options = _options()
    QgsApplication.setPrefixPath(os.environ.get("QGIS_PREFIX_PATH", "/usr"), True)
    application = QgsApplication([], False)
    application.initQgis()
    try:
        layers = [_predictions(options.predictions, options.model), _image(options.s2)]
        QgsProject.instance().addMapLayers(layers)
        QgsProject.instance().setCrs(layers[0].crs())
        result = _export(layers, options.output)
    finally:
        QgsProject.instance().clear()
        application.exitQgis()
    return result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("s2", "predictions", "model", "output"):
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_args()


def _predictions(path: str, model: str) -> QgsVectorLayer:
    from mm_qgis_plugin.core.contract.model_folder import read_spec
    from mm_qgis_plugin.style import apply_style

    layer = QgsVectorLayer(path, "Predicted class by tile", "ogr")
    if not layer.isValid():
        raise SystemExit(f"{path} is not a layer that QGIS can open.")
    apply_style(layer, read_spec(model))
    return layer


def _image(path: str) -> QgsRasterLayer:
    layer = QgsRasterLayer(path, "Sentinel-2")
    names = [layer.bandName(number) for number in range(1, layer.bandCount() + 1)]
    bands = [next(i for i, name in enumerate(names, 1) if band in name) for band in RGB]
    layer.setRenderer(QgsMultiBandColorRenderer(layer.dataProvider(), *bands))
    layer.setContrastEnhancement(
        QgsContrastEnhancement.StretchToMinimumMaximum, QgsRasterMinMaxOrigin.CumulativeCut
    )
    return layer


def _export(layers: list, output: str) -> int:
    layout = QgsPrintLayout(QgsProject.instance())
    layout.initializeDefaults()
    layout.pageCollection().page(0).setPageSize(QgsLayoutSize(WIDTH, HEIGHT))
    picture = _add_map(layout, layers)
    _add_title(layout)
    _add_legend(layout, layers[0], picture)
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = 120
    settings.exportMetadata = False
    # QGIS writes the map's place into the picture, and GDAL cannot do that to a PNG.
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    result = QgsLayoutExporter(layout).exportToImage(output, settings)
    gdal.PopErrorHandler()
    if result != QgsLayoutExporter.Success:
        raise SystemExit(f"The map could not be written to {output}.")
    return 0 if Path(output).stat().st_size else 1


def _add_map(layout: QgsPrintLayout, layers: list) -> QgsLayoutItemMap:
    item = QgsLayoutItemMap(layout)
    layout.addLayoutItem(item)
    # Without a size of its own the item has no aspect ratio, and its extent becomes NaN.
    item.setRect(0, 0, 1, 1)
    item.attemptMove(QgsLayoutPoint(MARGIN, MARGIN + 10))
    item.attemptResize(QgsLayoutSize(WIDTH - LEGEND_WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN - 10))
    item.setCrs(layers[0].crs())
    item.setLayers(layers)
    extent = layers[0].extent()
    extent.scale(1.03)
    item.zoomToExtent(extent)
    item.setFrameEnabled(True)
    return item


def _add_title(layout: QgsPrintLayout) -> None:
    label = QgsLayoutItemLabel(layout)
    label.setText("Sentinel-1 and Sentinel-2 fusion: predicted class, opacity by confidence")
    label.setFont(QFont("Sans Serif", 13))
    label.attemptMove(QgsLayoutPoint(MARGIN, MARGIN))
    label.attemptResize(QgsLayoutSize(WIDTH - 2 * MARGIN, 9))
    layout.addLayoutItem(label)


def _add_legend(layout: QgsPrintLayout, layer: QgsVectorLayer, picture: QgsLayoutItemMap) -> None:
    legend = QgsLayoutItemLegend(layout)
    legend.setAutoUpdateModel(False)
    legend.model().rootGroup().clear()
    node = legend.model().rootGroup().addLayer(layer)
    _wrap_names(legend, node)
    legend.setLinkedMap(picture)
    legend.setLegendFilterByMapEnabled(True)
    legend.attemptMove(QgsLayoutPoint(WIDTH - LEGEND_WIDTH, MARGIN + 10))
    layout.addLayoutItem(legend)


def _wrap_names(legend: QgsLayoutItemLegend, node: QgsLayerTreeLayer) -> None:
    legend.setWrapString("|")
    for position, item in enumerate(legend.model().layerLegendNodes(node)):
        name = "|".join(textwrap.wrap(item.data(Qt.ItemDataRole.DisplayRole), NAME_WIDTH))
        QgsMapLayerLegendUtils.setLegendNodeUserLabel(node, position, name)
    legend.model().refreshLayerLegend(node)


if __name__ == "__main__":
    sys.exit(main())
