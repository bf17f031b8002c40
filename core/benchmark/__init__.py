"""How fast this machine classifies, and where the time goes."""

from __future__ import annotations

from .bench import Order, run_benchmark

__all__ = ["Order", "run_benchmark"]
