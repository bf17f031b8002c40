"""Late fusion of the embeddings."""

from .fusion_module import build_fusion

__all__ = ["build_fusion"]
