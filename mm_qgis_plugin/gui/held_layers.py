"""Layers that show the file of a run: held off it while it is written, given back afterwards.

The worker writes the file: a layer that reads it would see torn batches, or lock it. A held layer
stays in the project with its id, name, style and place, and shows nothing meanwhile.
"""

from __future__ import annotations

from pathlib import Path

from qgis.core import (
    QgsDataProvider,
    QgsMapLayerStyle,
    QgsProject,
    QgsVectorLayer,
    QgsWkbTypes,
)

PREVIEW_MARK = "multimodal/preview"
_HELD_MARK = "multimodal/held_source"
_READ_ONLY_MARK = "multimodal/held_read_only"


class HeldLayer:
    """A layer off its file; ``give_back`` puts it on the file again."""

    def __init__(self, layer: QgsVectorLayer) -> None:
        self._id = layer.id()
        self._source = layer.source()
        self._style = _style_of(layer)
        fields = layer.fields()
        self._field_names = fields.names()
        self._read_only = layer.readOnly()
        own = layer.dataProvider().crs() if layer.isValid() else layer.crs()
        self._crs = layer.crs() if layer.crs() != own else None
        if layer.isEditable():
            layer.rollBack()
        kind = QgsWkbTypes.displayString(layer.wkbType())
        _set_source(layer, "None" if kind == "NoGeometry" else kind, "memory")
        # With its fields, or a project saved meanwhile would lose what is set for them.
        layer.dataProvider().addAttributes(list(fields))
        layer.updateFields()
        layer.setReadOnly(True)
        layer.setCustomProperty(_HELD_MARK, self._source)
        layer.setCustomProperty(_READ_ONLY_MARK, int(self._read_only))

    def give_back(self) -> QgsVectorLayer | None:
        """Return the layer, as it was, on its file; None where it left the project meanwhile."""
        layer = QgsProject.instance().mapLayer(self._id)
        if layer is None:
            return None
        _put_back(layer, self._source, self._style, self._read_only)
        if self._crs is not None:
            layer.setCrs(self._crs)
        layer.triggerRepaint()
        return layer

    def has_same_fields(self, layer: QgsVectorLayer) -> bool:
        """Return whether the style of before still fits what the file holds now."""
        return layer.fields().names() == self._field_names


def layers_of(path: Path) -> list[QgsVectorLayer]:
    """Return the layers of the project that show this file."""
    layers = QgsProject.instance().mapLayers().values()
    return [layer for layer in layers if _file_of(layer) == path.resolve()]


def clean_leftovers() -> None:
    """Mend a project that was saved during a run: no empty preview, no layer off its file."""
    project = QgsProject.instance()
    for layer in list(project.mapLayers().values()):
        held = layer.customProperty(_HELD_MARK)
        if layer.customProperty(PREVIEW_MARK):
            project.removeMapLayer(layer.id())
        elif held and isinstance(layer, QgsVectorLayer):
            read_only = bool(int(layer.customProperty(_READ_ONLY_MARK, 0)))
            _put_back(layer, held, _style_of(layer), read_only)


def _file_of(layer: object) -> Path | None:
    if not isinstance(layer, QgsVectorLayer) or layer.providerType() != "ogr":
        return None
    return Path(layer.source().split("|", 1)[0]).resolve()


def _set_source(layer: QgsVectorLayer, source: str, provider: str) -> None:
    options = QgsDataProvider.ProviderOptions()
    layer.setDataSource(source, layer.name(), provider, options, False)


def _put_back(layer: QgsVectorLayer, source: str, style: QgsMapLayerStyle, read_only: bool) -> None:
    layer.setReadOnly(False)
    _set_source(layer, source, "ogr")
    style.writeToLayer(layer)
    # The style carries both.
    layer.setReadOnly(read_only)
    layer.removeCustomProperty(_HELD_MARK)
    layer.removeCustomProperty(_READ_ONLY_MARK)


def _style_of(layer: QgsVectorLayer) -> QgsMapLayerStyle:
    style = QgsMapLayerStyle()
    style.readFromLayer(layer)
    return style
