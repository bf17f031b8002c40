"""The plugin as QGIS holds it: actions, dock, provider; and their removal without a trace."""

from __future__ import annotations

from qgis.core import QgsApplication, QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QAction

from . import journals
from .about import display_name, icon, tr
from .gui.held_layers import clean_leftovers
from .processing.provider import MultimodalProvider
from .worker import session_worker


class MultimodalPlugin:
    """Made by classFactory; ``iface`` is None in qgis_process."""

    def __init__(self, iface: QgisInterface | None) -> None:
        self.iface = iface
        self.action: QAction | None = None
        self.dock = None
        self.provider: MultimodalProvider | None = None

    def initProcessing(self) -> None:
        """Add the provider; all that qgis_process calls."""
        self.provider = MultimodalProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Add provider, toolbar button and menu entry; the dock waits for the first click."""
        self.initProcessing()
        action = QAction(icon(), tr("Classify Sentinel-1 and Sentinel-2"), self.iface.mainWindow())
        action.setObjectName("multimodal_classify")
        action.setCheckable(True)
        action.setToolTip(tr("Show the panel that classifies a Sentinel-1 and Sentinel-2 pair"))
        action.triggered.connect(self._show_dock)
        self.iface.addToolBarIcon(action)
        self.iface.addPluginToRasterMenu(display_name(), action)
        self.action = action
        QgsProject.instance().readProject.connect(clean_leftovers)
        clean_leftovers()

    def unload(self) -> None:
        """Take everything back: running task, worker, dock, actions, provider."""
        if self.dock is not None:
            self.dock.shut_down()
            self.iface.removeDockWidget(self.dock)
            self.dock.deleteLater()
            self.dock = None
        if self.action is not None:
            self.iface.removeToolBarIcon(self.action)
            self.iface.removePluginRasterMenu(display_name(), self.action)
            self.action.deleteLater()
            self.action = None
            QgsProject.instance().readProject.disconnect(clean_leftovers)
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        session_worker().close()

    def _show_dock(self) -> None:
        if self.dock is not None:
            return  # From now on the action is tied to the dock itself.
        from .gui.dock import ClassifyDock

        journals.prune()
        self.dock = ClassifyDock(self.iface)
        self.iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self.dock.setToggleVisibilityAction(self.action)
        self.dock.setUserVisible(True)
