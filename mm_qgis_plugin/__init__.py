"""QGIS plugin: classify a Sentinel-1 and Sentinel-2 pair by a worker process of its own."""


def classFactory(iface):  # QGIS looks for this very name.
    """Return the plugin; QGIS calls this once when it loads the folder."""
    from .plugin import MultimodalPlugin

    return MultimodalPlugin(iface)
