"""What our algorithms share: their place in the toolbox, and how problems are told."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
)
from qgis.PyQt.QtGui import QIcon

from ..about import home_page, icon, tr
from ..core.contract.errors import MultimodalError
from ..task import as_error
from .options import as_qgis_takes, told
from .reading import JobReader


class WorkerAlgorithm(QgsProcessingAlgorithm):
    """An algorithm whose work the worker does; subclasses check, prepare and work."""

    def __init__(self) -> None:
        super().__init__()
        self._problem: MultimodalError | None = None

    def check(self, reader: JobReader) -> None:
        """Raise a MultimodalError where the values do not fit together."""
        raise NotImplementedError

    def prepare(self, reader: JobReader) -> None:
        """Snapshot layers and area on the main thread; may raise a MultimodalError."""
        raise NotImplementedError

    def work(
        self, parameters: dict, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Do the work on the algorithm's thread; may raise a MultimodalError."""
        raise NotImplementedError

    def group(self) -> str:
        """Return the group shown."""
        return tr("Classification")

    def groupId(self) -> str:
        """Return the stable group id."""
        return "classification"

    def icon(self) -> QIcon:
        """Return the icon."""
        return icon()

    def helpUrl(self) -> str:
        """Return the address of the documentation."""
        return home_page()

    def checkParameterValues(
        self, parameters: dict, context: QgsProcessingContext
    ) -> tuple[bool, str]:
        """Return whether the values fit together, and what to do where they do not."""
        parameters = as_qgis_takes(parameters)
        try:
            self.check(JobReader(self, parameters, context))
        # An exception that leaves Python here has taken QGIS down.
        except Exception as problem:  # noqa: BLE001
            return False, as_error(problem).message
        # QGIS's own check last: it says no more than "Incorrect parameter value".
        return super().checkParameterValues(parameters, context)

    def prepareAlgorithm(
        self, parameters: dict, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Read the parameters on the main thread.

        A problem is kept for :meth:`processAlgorithm`: here ``processing.run`` loses its words.
        """
        try:
            self.prepare(JobReader(self, as_qgis_takes(parameters), context))
        except Exception as problem:  # noqa: BLE001  # kept, as above
            self._problem = as_error(problem)
        return True

    def processAlgorithm(
        self, parameters: dict, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Do the work; a problem ends it in words."""
        try:
            if self._problem is not None:
                raise self._problem
            return self.work(parameters, context, feedback)
        except MultimodalError as problem:
            raise QgsProcessingException(told(problem)) from problem
