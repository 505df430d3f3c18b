"""The network: anchor-free, one stage, answers at strides 8, 16 and 32, any height and width that 32 divides.

In the class of YuNet (Wu, Peng, Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence
Research 20), whose answers it gives by the same names, so it is read by the same decoding. What differs: it reaches
stride 4 in two strided steps without pooling, spends the time saved there on stride 8, where small faces are told, and
has one head for a level instead of four.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.decoding.yunet import STRIDES, YUNET
from engines.spec import LANDMARKS

# what a cell of a level answers, in the order of the head's channels: name -> channels
ANSWERS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 2 * LANDMARKS}
OUTPUTS = YUNET.outputs  # cls_8, cls_16, cls_32, obj_8 ...: by kind, then by stride
PRIOR = 0.01  # a cell's first guess that it holds a face, Lin et al. 2017, "Focal Loss for Dense Object Detection"


class FaceNet(nn.Module):
    """(B, 1 or 3, H, W) float32 -> one (B, 16, H / stride, W / stride) map of raw answers per stride."""

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        stem, quarter = 16, 32
        self.stem = _conv_bn(channels, stem, kernel=3, stride=2)  # H / 2
        self.stage4 = _stage(stem, quarter, further=1)
        self.stage8 = _stage(quarter, width, further=4)
        self.stage16 = _stage(width, width, further=4, kernel=5)
        self.stage32 = _stage(width, width, further=4, kernel=5)
        # top-down: each level hears from the coarser one (Lin et al. 2017, "Feature Pyramid Networks")
        self.merge16, self.merge8 = _separable(width, width), _separable(width, width)
        self.heads = nn.ModuleList([_Head(width) for _ in STRIDES])

    def forward(self, images: Tensor) -> list[Tensor]:
        at8 = self.stage8(self.stage4(self.stem(images)))
        at16 = self.stage16(at8)
        at32 = self.stage32(at16)
        at16 = self.merge16(at16 + functional.interpolate(at32, scale_factor=2.0, mode="nearest"))
        at8 = self.merge8(at8 + functional.interpolate(at16, scale_factor=2.0, mode="nearest"))
        return [head(level) for head, level in zip(self.heads, (at8, at16, at32), strict=True)]


class _Residual(nn.Module):
    """What a block adds to what it is given (He et al. 2016, "Deep Residual Learning")."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.block = _separable(width, width, kernel=kernel)

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.block(features)
        return features + added


class _Head(nn.Module):
    """(B, width, h, w) -> (B, 16, h, w): a shared look at the neighbourhood, then every answer of a cell at once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.look = _separable(width, width)
        self.answer = nn.Conv2d(width, sum(ANSWERS.values()), kernel_size=1)
        nn.init.normal_(self.answer.weight, std=0.01)
        nn.init.zeros_(self.answer.bias)
        with torch.no_grad():
            self.answer.bias[:2] = -torch.log(torch.tensor((1 - PRIOR) / PRIOR))

    def forward(self, level: Tensor) -> Tensor:
        answers: Tensor = self.answer(self.look(level))
        return answers


class Exported(nn.Module):
    """The network as it ships: probabilities and offsets, one row a cell, by the names of OUTPUTS."""

    def __init__(self, network: FaceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        rows = [level.flatten(2).transpose(1, 2) for level in self.network(images)]  # (B, cells, 16)
        parts = [level.split(list(ANSWERS.values()), dim=2) for level in rows]
        parts = [(cls.sigmoid(), obj.sigmoid(), bbox, kps) for cls, obj, bbox, kps in parts]
        return tuple(level[kind] for kind in range(len(ANSWERS)) for level in parts)


def _conv_bn(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if act else nn.Sequential(*layers)


def _stage(before: int, after: int, further: int, kernel: int = 3) -> nn.Sequential:
    """Half the size, then so many blocks that keep it."""
    return nn.Sequential(_separable(before, after, 2), *[_Residual(after, kernel) for _ in range(further)])


def _separable(before: int, after: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Depthwise, then pointwise; an activation after the depthwise half costs time and gives little."""
    return nn.Sequential(
        _conv_bn(before, before, kernel=kernel, stride=stride, groups=before, act=False),
        _conv_bn(before, after, kernel=1),
    )
