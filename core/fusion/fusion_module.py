"""Late fusion strategies: concat, weighted sum, linear projection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..config import FusionConfig


class Fusion(nn.Module):
    """What all fusions share: one embedding (B, D_i) a branch in, one (B, output_dim) out.

    With ``normalize`` a LayerNorm stands on each branch, for a ResNet's features and DINOv3's
    differ in size by an order, and the larger would drown the other. Without, the module has
    no such keys.
    """

    output_dim: int

    def __init__(self, input_dims: Sequence[int], normalize: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            nn.LayerNorm(width) if normalize else nn.Identity() for width in input_dims
        )

    def normalized(self, embeddings: Sequence[Tensor]) -> list[Tensor]:
        """Return the embeddings, each through its own norm."""
        return [norm(item) for norm, item in zip(self.norms, embeddings, strict=True)]


class ConcatFusion(Fusion):
    """Side by side; output_dim is the sum of the widths."""

    def __init__(self, input_dims: Sequence[int], normalize: bool = True) -> None:
        super().__init__(input_dims, normalize)
        self.output_dim = sum(input_dims)

    def forward(self, *embeddings: Tensor) -> Tensor:
        """Fuse (B, D_i) each into (B, sum of D_i)."""
        return torch.cat(self.normalized(embeddings), dim=1)


class WeightedFusion(Fusion):
    """Sum with learnable weights (a softmax of scalars); output_dim is the largest width.

    Narrower branches are projected to that width first.
    """

    def __init__(self, input_dims: Sequence[int], normalize: bool = True) -> None:
        super().__init__(input_dims, normalize)
        self.output_dim = max(input_dims)
        self.projections = nn.ModuleList(
            nn.Identity() if width == self.output_dim else nn.Linear(width, self.output_dim)
            for width in input_dims
        )
        self.weights = nn.Parameter(torch.zeros(len(input_dims)))

    def forward(self, *embeddings: Tensor) -> Tensor:
        """Fuse (B, D_i) each into (B, max of D_i)."""
        shares = torch.softmax(self.weights, dim=0)
        branches = zip(self.projections, self.normalized(embeddings), strict=True)
        parts = [share * project(item) for share, (project, item) in zip(shares, branches)]
        return torch.stack(parts).sum(dim=0)


class LinearProjectionFusion(Fusion):
    """Each branch projected, then summed; output_dim is free, by default the largest width."""

    def __init__(
        self, input_dims: Sequence[int], normalize: bool = True, output_dim: int | None = None
    ) -> None:
        super().__init__(input_dims, normalize)
        self.output_dim = output_dim or max(input_dims)
        self.projections = nn.ModuleList(nn.Linear(width, self.output_dim) for width in input_dims)

    def forward(self, *embeddings: Tensor) -> Tensor:
        """Fuse (B, D_i) each into (B, output_dim)."""
        branches = zip(self.projections, self.normalized(embeddings), strict=True)
        return torch.stack([project(item) for project, item in branches]).sum(dim=0)


def build_fusion(config: FusionConfig, input_dims: Sequence[int]) -> Fusion:
    """Build the fusion that a validated configuration names."""
    if config.type == "concat":
        return ConcatFusion(input_dims, config.normalize)
    if config.type == "weighted":
        return WeightedFusion(input_dims, config.normalize)
    return LinearProjectionFusion(input_dims, config.normalize, config.output_dim)
