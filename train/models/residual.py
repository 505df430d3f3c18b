"""What the residual networks for 48x48 faces share: dense convolutions, which a processor computes fast for their cost.

Blocks: He et al. 2016, "Deep Residual Learning", https://arxiv.org/abs/1512.03385 (the basic one). Each block ends with
an attention, which is where the networks differ: `residual_se.py`, `residual_cbam.py`.

What differs from the papers: sizes are for small pictures and a small processor, so the stem is 3x3 without pooling,
channels are few, and attention is reduced by 8 instead of 16.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from train.models.base import Build, Network

STEM_CHANNELS = 24
STAGES = ((24, 2), (48, 2), (96, 2), (192, 2))  # channels and blocks at 24x24, 12x12, 6x6 and 3x3
REDUCTION = 8  # of the channels inside an attention


class Residual(Network):
    """(B, channels, 48, 48) float32 -> (B, classes) logits. `attention(channels)` ends the inside of every block."""

    takes_smaller = True

    def __init__(self, build: Build, attention: Callable[[int], nn.Module]) -> None:
        super().__init__(build)
        stem = before = build.scaled(STEM_CHANNELS)
        blocks: list[nn.Module] = []
        for number, (channels, repeats) in enumerate(STAGES):
            after = build.scaled(channels)
            for repeat in range(repeats):
                stride = 2 if repeat == 0 and number > 0 else 1
                blocks.append(Block(before, after, stride, attention(after)))
                before = after
        self.stem = Conv2dNormActivation(build.channels, stem, kernel_size=3, stride=2)  # (B, 24, 24, 24)
        self.blocks = nn.Sequential(*blocks)  # (B, 24, 24, 24) -> (B, 48, 12, 12) -> (B, 96, 6, 6) -> (B, 192, 3, 3)
        self.pool = nn.AdaptiveAvgPool2d(1)  # (B, 192, 1, 1)
        self.dropout = nn.Dropout(build.dropout)
        self.classifier = nn.Conv2d(before, build.classes, kernel_size=1)

    def features(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.pool(self.blocks(self.stem(images)))
        return pooled


class Block(nn.Module):
    """(B, before, H, W) -> (B, after, H / stride, W / stride): two 3x3 convolutions, attention, and the way around."""

    def __init__(self, before: int, after: int, stride: int, attention: nn.Module) -> None:
        super().__init__()
        self.first = Conv2dNormActivation(before, after, kernel_size=3, stride=stride)
        self.second = Conv2dNormActivation(after, after, kernel_size=3, activation_layer=None)
        self.attention = attention
        self.around = _around(before, after, stride)
        nn.init.zeros_(self.second[1].weight)  # a block begins as the way around it (Goyal et al., arXiv 1706.02677)

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.attention(self.second(self.first(features)))
        return torch.relu(self.around(features) + changed)


def _around(before: int, after: int, stride: int) -> nn.Module:
    """What leads around a block: nothing, where the shape stays as it is."""
    if before == after and stride == 1:
        return nn.Identity()
    return Conv2dNormActivation(before, after, kernel_size=1, stride=stride, activation_layer=None)


def inner_channels(channels: int) -> int:
    """Channels between the two layers of an attention that weigh the channels."""
    return max(channels // REDUCTION, 8)
