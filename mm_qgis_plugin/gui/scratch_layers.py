"""Temporary result layers, and which journal each of them shows.

The same run again goes on in the layer of before, as it does in a file: with its id, name, style
and place. Not where the user has edited it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from qgis.core import QgsFeatureSink, QgsProject, QgsVectorLayer

_MARK = "multimodal/shows"


def mark(layer: QgsVectorLayer, journal: Path) -> None:
    """Remember what a layer shows, until somebody edits it."""
    # With its id: a duplicate, which has the same properties, is the user's.
    layer.setCustomProperty(_MARK, _content(layer, journal))
    layer.afterCommitChanges.connect(partial(_forget, layer.id()))


def scratch_layer_of(journal: Path) -> QgsVectorLayer | None:
    """Return the layer that shows this journal and that nobody has edited, if there is one."""
    for layer in QgsProject.instance().mapLayers().values():
        if not isinstance(layer, QgsVectorLayer) or layer.providerType() != "memory":
            continue
        is_ours = layer.customProperty(_MARK) == _content(layer, journal)
        if is_ours and not layer.isEditable() and layer.isValid():
            return layer
    return None


def fill(layer: QgsVectorLayer, source: QgsVectorLayer) -> None:
    """Put the features of ``source`` in the place of those that are there."""
    provider = layer.dataProvider()
    layer.removeSelection()
    provider.truncate()
    # The iterator itself: a list of them all would bring up Python's search for garbage.
    provider.addFeatures(source.getFeatures(), QgsFeatureSink.Flag.FastInsert)
    layer.updateExtents()
    layer.dataChanged.emit()  # An open attribute table listens to the layer alone.
    layer.triggerRepaint()


def _content(layer: QgsVectorLayer, journal: Path) -> str:
    return f"{layer.id()} {journal}"


def _forget(layer_id: str) -> None:
    layer = QgsProject.instance().mapLayer(layer_id)
    if layer is not None:
        layer.removeCustomProperty(_MARK)
