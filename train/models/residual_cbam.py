"""The residual network with the convolutional block attention module, which also says where to look.

Woo et al. 2018, https://arxiv.org/abs/1807.06521. The convolution over places has a bias where the authors' code has a
batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.base import Build
from train.models.residual import Residual, inner_channels

PLACE_KERNEL = 7  # of the convolution over places; Woo et al. found it better than 3


class Cbam(nn.Module):
    """(B, C, H, W) -> the same shape, weighted by channel, then by place.

    The mean over the channels is a convolution: as a reduction its rounding in ONNX Runtime depends on the batch.
    """

    shares: Tensor  # (1, C, 1, 1), each channel's share of the mean

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = inner_channels(channels)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, inner, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, channels, kernel_size=1),
        )
        self.register_buffer("shares", torch.full((1, channels, 1, 1), 1.0 / channels), persistent=False)
        self.place = nn.Conv2d(2, 1, PLACE_KERNEL, padding=PLACE_KERNEL // 2)

    def forward(self, features: Tensor) -> Tensor:
        mean, most = features.mean(dim=(2, 3), keepdim=True), features.amax(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
        features = features * torch.sigmoid(self.channel(mean) + self.channel(most))
        mean, most = functional.conv2d(features, self.shares), features.amax(dim=1, keepdim=True)  # (B, 1, H, W)
        return features * torch.sigmoid(self.place(torch.cat([mean, most], dim=1)))


def residual_cbam(build: Build) -> Residual:
    """With the convolutional block attention module."""
    return Residual(build, Cbam)
