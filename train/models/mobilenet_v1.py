"""MobileNetV1 for 48x48 faces. Howard et al. 2017, https://arxiv.org/abs/1704.04861 (table 1; width: section 3.3).

Two things differ from the paper: one input channel, if wanted, and the classifier is a 1x1 convolution *before* the
flatten (why: `base.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from train.data import read_npz
from train.errors import RecipeInvalid
from train.models.base import Build, Network

# (output channels, stride) of the 13 depthwise-separable blocks
BLOCKS = (
    (64, 1),  #    24 x 24
    (128, 2),  #   12 x 12
    (128, 1),
    (256, 2),  #    6 x 6
    (256, 1),
    (512, 2),  #    3 x 3
    *[(512, 1)] * 5,
    (1024, 2),  #   2 x 2
    (1024, 1),
)
STEM_CHANNELS = 32
BATCH_NORM_EPS = 1e-3  # Keras' value, with which the ImageNet weights were trained


class MobileNetV1(Network):
    """(B, channels, 48, 48) float32 -> (B, classes) logits. The shapes below are those of width 1."""

    takes_smaller = True

    def __init__(self, build: Build) -> None:
        super().__init__(build)
        stem = build.scaled(STEM_CHANNELS)
        after = [build.scaled(channels) for channels, _ in BLOCKS]
        before = [stem, *after[:-1]]
        strides = [stride for _, stride in BLOCKS]
        self.stem = _conv_bn(build.channels, stem, kernel=3, stride=2)  # (B, 32, 24, 24)
        self.blocks = nn.Sequential(*map(_separable, before, after, strides))  # (B, 1024, 2, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)  # (B, 1024, 1, 1)
        self.dropout = nn.Dropout(build.dropout)
        self.classifier = nn.Conv2d(after[-1], build.classes, kernel_size=1)

    def features(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.pool(self.blocks(self.stem(images)))
        return pooled


def _conv_bn(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after, eps=BATCH_NORM_EPS),
        nn.ReLU6(inplace=True),
    )


def _separable(before: int, after: int, stride: int) -> nn.Sequential:
    depthwise = _conv_bn(before, before, kernel=3, stride=stride, groups=before)
    return nn.Sequential(depthwise, _conv_bn(before, after, kernel=1))


def load_imagenet(model: MobileNetV1, path: Path) -> list[str]:
    """Copy Keras' ImageNet weights into a `model` of width 1; what stays fresh is returned, by name.

    Fresh are the classifier and the last pointwise kernel, which the file lacks; that layer's batch norm describes the
    lost kernel's outputs, so it stays fresh too.
    """
    if model.build.width != 1:
        raise RecipeInvalid(
            f"the ImageNet weights are of a MobileNetV1 of width 1, got width {model.build.width:g}; set width: 1 or "
            "seeded: false"
        )
    keras = read_npz(path)
    state = model.state_dict()
    fresh = []
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):  # a counter, not knowledge
            continue
        seed = _seed_of(name, keras)
        if seed is None:
            fresh.append(name)
        else:
            if name == "stem.0.weight" and model.build.channels == 1:
                seed = seed.sum(axis=1, keepdims=True)  # a grey picture has R = G = B
            value.copy_(torch.from_numpy(np.ascontiguousarray(seed)))  # state_dict shares memory with the model
    return fresh


_KERAS_FIELD = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _seed_of(name: str, keras: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """The ImageNet value of one of our parameters in our axis order, or None when there is none.

    Ours: `stem.0.weight` (convolution), `stem.1.*` (its batch norm), and likewise
    `blocks.<i>.<0 depthwise, 1 pointwise>.<0 or 1>.*`.
    """
    if match := re.fullmatch(r"stem\.(\d)\.(\w+)", name):
        layer, part, field = "conv1", match[1], match[2]
    elif match := re.fullmatch(r"blocks\.(\d+)\.(\d)\.(\d)\.(\w+)", name):
        layer, part, field = f"conv_{('dw', 'pw')[int(match[2])]}_{int(match[1]) + 1}", match[3], match[4]
    else:
        return None
    if part == "1":
        known = f"{layer}__kernel" in keras or f"{layer}__depthwise_kernel" in keras
        return keras.get(f"{layer}_bn__{_KERAS_FIELD[field]}") if known and field in _KERAS_FIELD else None
    if layer.startswith("conv_dw"):
        return keras[f"{layer}__depthwise_kernel"].transpose(2, 3, 0, 1)  # H W C 1 -> C 1 H W
    kernel = keras.get(f"{layer}__kernel")
    if kernel is None:
        return None
    return kernel.transpose(3, 2, 0, 1)  # H W in out -> out in H W; the first layer's in is R G B
