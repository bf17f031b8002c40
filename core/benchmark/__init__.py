"""How fast this machine classifies, and where the time goes."""

from __future__ import annotations

from .bench import run_benchmark

__all__ = ["run_benchmark"]
