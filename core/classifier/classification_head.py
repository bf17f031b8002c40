"""Classification heads: linear and MLP. Both return raw logits."""

from __future__ import annotations

from torch import Tensor, nn

from ..config import ClassifierConfig


class LinearHead(nn.Module):
    """Dropout, then one linear layer."""

    def __init__(self, input_dim: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(input_dim, num_classes)

    def forward(self, fused: Tensor) -> Tensor:
        """Return logits (B, num_classes) for embeddings (B, input_dim)."""
        return self.fc(self.dropout(fused))


class MLPHead(nn.Module):
    """One hidden layer with GELU, dropout, then a linear layer."""

    def __init__(self, input_dim: int, hidden_dim: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(input_dim, hidden_dim)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(hidden_dim, num_classes)

    def forward(self, fused: Tensor) -> Tensor:
        """Return logits (B, num_classes) for embeddings (B, input_dim)."""
        return self.fc(self.dropout(self.activation(self.hidden(fused))))


def build_head(config: ClassifierConfig, input_dim: int, num_classes: int) -> nn.Module:
    """Build the head that a validated configuration names."""
    if config.type == "linear":
        return LinearHead(input_dim, num_classes, config.drop_rate)
    return MLPHead(input_dim, config.hidden_dim, num_classes, config.drop_rate)
