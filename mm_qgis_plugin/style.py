"""Style on layers: the QML of the contract, applied in QGIS."""

from __future__ import annotations

from typing import ClassVar

from qgis.core import QgsMapLayer, QgsProcessingLayerPostProcessorInterface, QgsVectorLayer
from qgis.PyQt.QtXml import QDomDocument

from .core.contract.errors import InternalError
from .core.contract.qml import result_style_qml
from .core.contract.spec import ModelSpec


def apply_style(layer: QgsVectorLayer, spec: ModelSpec) -> None:
    """Give a result layer its classes, colours, opacity by confidence, map tips and aliases."""
    document = QDomDocument()
    document.setContent(result_style_qml(spec))
    done, problem = layer.importNamedStyle(
        document, QgsMapLayer.StyleCategory.AllStyleCategories
    )
    if not done:
        raise InternalError(f"QGIS did not accept the style of the result: {problem}")
    layer.triggerRepaint()


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
