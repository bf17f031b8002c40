"""The two branches: DINOv3 for RGB, a ResNet for every other channel."""

from .dinov3_backbone import Dinov3Backbone
from .resnet_backbone import ResNetBackbone

__all__ = ["Dinov3Backbone", "ResNetBackbone"]
