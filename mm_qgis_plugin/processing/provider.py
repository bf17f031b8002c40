"""The provider of our algorithms in the Processing toolbox."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from ..about import display_name, icon
from .benchmark_algorithm import BenchmarkAlgorithm
from .classify_algorithm import ClassifyAlgorithm
from .inspect_algorithm import InspectAlgorithm


class MultimodalProvider(QgsProcessingProvider):
    """Provider ``multimodal``."""

    def id(self) -> str:
        """Return the stable id; part of every algorithm's id."""
        return "multimodal"

    def name(self) -> str:
        """Return the name shown in the toolbox."""
        return display_name()

    def icon(self) -> QIcon:
        """Return the icon shown in the toolbox."""
        return icon()

    def loadAlgorithms(self) -> None:
        """Add the algorithms; called by QGIS."""
        self.addAlgorithm(ClassifyAlgorithm())
        self.addAlgorithm(InspectAlgorithm())
        self.addAlgorithm(BenchmarkAlgorithm())
