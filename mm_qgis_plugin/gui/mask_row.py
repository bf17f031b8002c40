"""The cloud mask: which raster, and where it has several bands, which of them."""

from __future__ import annotations

from qgis.core import QgsMapLayer, QgsMapLayerProxyModel, QgsProviderRegistry
from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtWidgets import QHBoxLayout, QWidget

from ..about import tr
from ..core.contract.channels import CLOUD_MASK
from ..core.contract.job import RasterSource
from ..layers import raster_source
from .widgets import let_go, narrow, number_box

_SHORTEST = 3  # The number of a band stands beside it.


class MaskRow(QWidget):
    """A combo box, and beside it the number of a band while there is more than one."""

    def __init__(self) -> None:
        super().__init__()
        self.combo = _mask_combo()
        self.band = number_box(0, 1, tr("band"))
        self.band.setPrefix(tr("band "))
        self.band.setToolTip(tr("Which band of the mask tells the clouds; 0: found by its name"))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(self.band)
        self._layer_id = ""
        # layerChanged tells nothing where the box is set by its index, or loses its layer.
        self.combo.currentIndexChanged.connect(lambda _: self._on_index())
        self._show_bands(None)

    def source(self) -> RasterSource | None:
        """Return the mask as the worker opens it; None where none was chosen."""
        layer, band = self.combo.currentLayer(), self.band.value()
        if layer is None:
            return None
        return raster_source(layer, {CLOUD_MASK: band} if band else {})

    def clear(self) -> None:
        """Choose no mask, and no band."""
        self.combo.setCurrentIndex(0)  # setLayer(None) would leave it without a word
        self.band.setValue(0)

    def _on_index(self) -> None:
        layer = self.combo.currentLayer()
        layer_id = "" if layer is None else layer.id()
        if layer_id != self._layer_id:  # Else it only stands in another row.
            self._layer_id = layer_id
            self._show_bands(layer)

    def _show_bands(self, layer: QgsMapLayer | None) -> None:
        """Another raster has other bands."""
        count = 0 if layer is None else layer.bandCount()
        self.band.setValue(0)
        self.band.setMaximum(count)
        self.band.setVisible(count > 1)


def _mask_combo() -> QgsMapLayerComboBox:
    combo = QgsMapLayerComboBox()
    combo.setFilters(QgsMapLayerProxyModel.Filter.RasterLayer)
    others = [key for key in QgsProviderRegistry.instance().providerList() if key != "gdal"]
    combo.setExcludedProviders(others)
    combo.setAllowEmptyLayer(True, tr("[Automatic]"))
    combo.setCurrentIndex(0)
    combo.setToolTip(
        tr("SCL, QA60 or another raster of cloud classes; automatic takes one beside Sentinel-2")
    )
    narrow(combo).setMinimumContentsLength(_SHORTEST)
    return let_go(combo)
