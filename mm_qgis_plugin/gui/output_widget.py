"""Where the result goes: a GeoPackage, or a temporary layer with a journal behind it."""

from __future__ import annotations

from pathlib import Path

from qgis.gui import QgsFileWidget

from .. import journals
from ..about import tr
from ..core.contract.job import ClassifyJob
from ..core.contract.target import SUFFIX


class OutputWidget(QgsFileWidget):
    """A file chooser; left empty, the result becomes a temporary layer."""

    def __init__(self) -> None:
        super().__init__()
        self.setStorageMode(QgsFileWidget.StorageMode.SaveFile)
        self.setFilter(tr("GeoPackage (*.gpkg)"))
        self.setDialogTitle(tr("Save the classified tiles"))
        # A file of the same run is gone on with; another one is asked about.
        self.setConfirmOverwrite(False)
        self.lineEdit().setPlaceholderText(tr("[Temporary layer]"))
        self.setToolTip(tr("GeoPackage for the result; empty for a temporary layer"))

    def is_temporary(self) -> bool:
        """Return whether no file was named."""
        return not self._given()

    def path(self, job: ClassifyJob) -> Path:
        """Return the file that the worker writes for this job."""
        if self.is_temporary():
            return journals.journal_path(job)
        given = Path(self._given()).absolute()
        # Not with_suffix: a name may have dots of its own.
        return given if given.suffix.lower() == SUFFIX else given.with_name(given.name + SUFFIX)

    def title(self, job: ClassifyJob, scene: str) -> str:
        """Return the name of the result layer."""
        if self.is_temporary():
            return tr("Classified {}").format(scene)
        return self.path(job).stem

    def _given(self) -> str:
        return self.filePath().strip()
