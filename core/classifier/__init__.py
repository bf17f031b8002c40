"""Heads on the fused embedding."""

from .classification_head import build_head

__all__ = ["build_head"]
