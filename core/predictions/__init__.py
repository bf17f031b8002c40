"""Tiles become durable results."""

from .journal import Journal, JournalState

__all__ = ["Journal", "JournalState"]
