"""The network that the programs call once per face: MobileNetV1 for 48x48 luma and 7 classes, as train/models has it.

Its weights are random, because its speed does not depend on them.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import nn

SIDE_PX = 48
CLASSES = 7
# (output channels, stride) of the 13 depthwise-separable blocks
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *[(512, 1)] * 5,
    *((1024, 2), (1024, 1)),
)


class Emotions:
    """Calls the network on one face at a time."""

    def __init__(self) -> None:
        self._network = mobilenet_v1().eval()

    @torch.inference_mode()
    def classify(self, luma: np.ndarray) -> int:
        """(H, W) uint8, one face -> the index of its emotion."""
        face = torch.from_numpy(cv2.resize(luma, (SIDE_PX, SIDE_PX))).float().div(255.0)
        logits = self._network(face[None, None])
        return int(logits.softmax(dim=1).argmax())


def mobilenet_v1() -> nn.Module:
    """(B, 1, 48, 48) float32 -> (B, 7) logits."""
    channels = 32
    layers = [_conv_bn(1, channels, kernel=3, stride=2)]
    for after, stride in BLOCKS:
        layers += [_conv_bn(channels, channels, kernel=3, stride=stride, groups=channels), _conv_bn(channels, after)]
        channels = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, CLASSES, 1), nn.Flatten())


def _conv_bn(before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU6(inplace=True),
    )
