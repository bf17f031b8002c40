"""Where the result goes: a GeoPackage, or a temporary layer with a journal behind it."""

from __future__ import annotations

import os
from pathlib import Path

from qgis.core import QgsRasterFileWriter, QgsVectorFileWriter
from qgis.gui import QgsFileWidget

from .. import journals
from ..about import tr
from ..core.contract.errors import OutputError
from ..core.contract.job import ClassifyJob
from ..core.contract.target_place import SUFFIX

_SEPARATORS = tuple(filter(None, ("/", os.sep, os.altsep)))
# Formats that QGIS reads and does not write.
_MORE_FORMATS = ("parquet", "zip", "gdb", "mdb", "jpg", "jpeg")


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
        """Return the file that the worker writes for this job; OutputError where it cannot."""
        if self.is_temporary():
            return journals.journal_path(job)
        given = Path(self._given()).absolute()
        if self._given().endswith(_SEPARATORS) or os.path.isdir(given):
            raise OutputError(
                tr("'{}' is a folder: name a GeoPackage in it.").format(self._given())
            )
        if given.suffix.lower() == SUFFIX:
            return given
        if _is_format(given.suffix[1:]):
            raise OutputError(
                tr(
                    "The output must be a GeoPackage, but '{}' ends in {}: let it end in {}, and "
                    "export the layer afterwards (layer menu, Export) if you need another format."
                ).format(given.name, given.suffix, SUFFIX)
            )
        # Not with_suffix: a name may have dots of its own.
        return given.with_name(given.name + SUFFIX)

    def title(self, job: ClassifyJob, scene: str) -> str:
        """Return the name of the result layer."""
        if self.is_temporary():
            return tr("Classified {}").format(scene)
        return self.path(job).stem

    def _given(self) -> str:
        return self.filePath().strip()


def _is_format(extension: str) -> bool:
    """Return whether a file with this extension is taken for some format of geodata."""
    if not extension:
        return False
    writers = (QgsVectorFileWriter, QgsRasterFileWriter)
    known = any(writer.driverForExtension(extension) for writer in writers)
    return known or extension.lower() in _MORE_FORMATS
