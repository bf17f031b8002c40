"""Style on layers: the QML of the contract, applied in QGIS."""

from __future__ import annotations

from typing import ClassVar

from qgis.core import QgsMapLayer, QgsProcessingLayerPostProcessorInterface, QgsVectorLayer
from qgis.PyQt.QtXml import QDomDocument

from .about import tr
from .core.contract.errors import InternalError, OutputError
from .core.contract.qml import result_style_qml
from .core.contract.spec import ModelSpec

_STYLE_NAME = "class"
_STYLE_DESCRIPTION = "Class, opacity by confidence"


def apply_style(layer: QgsVectorLayer, spec: ModelSpec) -> None:
    """Give a result layer its classes, colours, opacity by confidence, map tips and aliases."""
    document = QDomDocument()
    document.setContent(result_style_qml(spec))
    done, problem = layer.importNamedStyle(document, QgsMapLayer.StyleCategory.AllStyleCategories)
    if not done:
        raise InternalError(tr("QGIS did not accept the style of the result: {}").format(problem))
    layer.triggerRepaint()


def save_default_style(source: str, spec: ModelSpec) -> None:
    """Store the style in a GeoPackage, so that it is there whenever the file is opened."""
    if not source.split("|", 1)[0].lower().endswith(".gpkg"):
        return
    layer = QgsVectorLayer(source, "result", "ogr")
    if not layer.isValid():
        # GDAL takes %25 in the name of a GeoPackage for a sign that was written so.
        raise OutputError(
            tr(
                "The result '{}' was written but QGIS cannot open it: choose a file name and "
                "folder without % followed by digits."
            ).format(source)
        )
    apply_style(layer, spec)
    layer.saveStyleToDatabase(_STYLE_NAME, _STYLE_DESCRIPTION, True, "")


class ResultStyler(QgsProcessingLayerPostProcessorInterface):
    """Styles one output of Processing when QGIS loads it.

    QGIS does not own a post-processor made in Python: ``_waiting`` keeps it alive until it
    has been used. One instance an output, or the runs of a batch would share one.
    """

    _waiting: ClassVar[set[ResultStyler]] = set()

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self._spec = spec
        self._waiting.add(self)

    def postProcessLayer(self, layer, context, feedback) -> None:
        """Style the layer; called by QGIS on the main thread."""
        if isinstance(layer, QgsVectorLayer):
            apply_style(layer, self._spec)
        self._waiting.discard(self)
