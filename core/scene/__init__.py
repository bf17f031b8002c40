"""Rasters become aligned, masked, physical tiles."""

from .grid import Tile, TileGrid
from .reader import Batch, TileRead
from .scene import Scene, open_scene

__all__ = ["Batch", "Scene", "Tile", "TileGrid", "TileRead", "open_scene"]
