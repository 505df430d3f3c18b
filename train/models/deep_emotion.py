"""Deep-Emotion for 48x48 faces. Minaee, Abdolrashidi 2019, https://arxiv.org/abs/1902.01019.

"Deep-Emotion: Facial Expression Recognition Using Attentional Convolutional Network": a spatial transformer (Jaderberg
et al. 2015, https://arxiv.org/abs/1506.02025) chooses where to look, and a small network looks there. The numbers of
channels and the kernels are those of https://github.com/omarsayed7/Deep-Emotion, which is well known, but not by the
authors.

What differs from the paper:
- Fully connected layers are convolutions as large as what they see, and the grid of the warp is made by multiplying and
  adding elements: no matrix product, so that a face's answer does not depend on its batch (see `base.py`).
- There may be three input channels.
- Weights begin as torch draws them, the transformer as the identity, as Jaderberg et al. advise.
- The share that is dropped is a setting.
- The loss is not here: `fully_connected_parameters` names the weights whose squares the paper adds to it.
The implementation named above has a batch norm after the fourth convolution; this has none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.data.pictures import SIDE_PX
from train.models.base import Build, Network

FILTERS = 10  # of each of the four convolutions
HIDDEN = 50  # between the two fully connected layers
LOCAL_FILTERS = (8, 10)  # of the localisation network's convolutions, 7x7 and 5x5
LOCAL_HIDDEN = 32
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # of an affine transform, by rows


class DeepEmotion(Network):
    """(B, channels, 48, 48) float32 -> (B, classes) logits. The shapes below are those of width 1."""

    def __init__(self, build: Build) -> None:
        super().__init__(build)
        filters, hidden = build.scaled(FILTERS, multiple=2), build.scaled(HIDDEN, multiple=2)
        self.transformer = SpatialTransformer(build)  # (B, channels, 48, 48)
        self.trunk = nn.Sequential(
            nn.Conv2d(build.channels, filters, kernel_size=3),  # (B, 10, 46, 46)
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, kernel_size=3),  # (B, 10, 44, 44)
            nn.MaxPool2d(2),  # (B, 10, 22, 22)
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, kernel_size=3),  # (B, 10, 20, 20)
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, kernel_size=3),  # (B, 10, 18, 18)
            nn.MaxPool2d(2),  # (B, 10, 9, 9)
            nn.ReLU(inplace=True),
            nn.Dropout(build.dropout),
        )
        self.connected = nn.Sequential(
            nn.Conv2d(filters, hidden, kernel_size=9),  # (B, 50, 1, 1)
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Identity()  # the paper drops before both fully connected layers, not between them
        self.classifier = nn.Conv2d(hidden, build.classes, kernel_size=1)

    def features(self, images: Tensor) -> Tensor:
        connected: Tensor = self.connected(self.trunk(self.transformer(images)))
        return connected

    def fully_connected_parameters(self) -> list[nn.Parameter]:
        return [self.connected[0].weight, self.classifier.weight]


class SpatialTransformer(nn.Module):
    """(B, channels, 48, 48) -> the same shape: each picture under an affine transform that it chose itself."""

    columns: Tensor  # (1, 48, 48), x of each pixel's middle; the picture goes from -1 to 1
    rows: Tensor  # (1, 48, 48), y

    def __init__(self, build: Build) -> None:
        super().__init__()
        first, second = (build.scaled(filters, multiple=2) for filters in LOCAL_FILTERS)
        hidden = build.scaled(LOCAL_HIDDEN, multiple=2)
        self.localisation = nn.Sequential(
            nn.Conv2d(build.channels, first, kernel_size=7),  # (B, 8, 42, 42)
            nn.MaxPool2d(2),  # (B, 8, 21, 21)
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, kernel_size=5),  # (B, 10, 17, 17)
            nn.MaxPool2d(2),  # (B, 10, 8, 8)
            nn.ReLU(inplace=True),
            nn.Conv2d(second, hidden, kernel_size=8),  # (B, 32, 1, 1)
            nn.ReLU(inplace=True),
            _identity(hidden),  # (B, 6, 1, 1)
        )
        middles = (torch.arange(SIDE_PX, dtype=torch.float32) * 2 + 1) / SIDE_PX - 1
        rows, columns = torch.meshgrid(middles, middles, indexing="ij")
        self.register_buffer("columns", columns[None], persistent=False)  # known, so in no checkpoint
        self.register_buffer("rows", rows[None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        grid = self.grid(self.localisation(images))
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def grid(self, transforms: Tensor) -> Tensor:
        """(B, 6, 1, 1) affine transforms -> (B, 48, 48, 2), the x and y at which each pixel is taken.

        What `affine_grid` gives, which ONNX has only since opset 20 and which is a matrix product.
        """
        a, b, c, d, e, f = transforms.unbind(dim=1)  # (B, 1, 1) each
        x = a * self.columns + b * self.rows + c
        y = d * self.columns + e * self.rows + f
        return torch.stack([x, y], dim=-1)


def _identity(inputs: int) -> nn.Conv2d:
    """A layer that answers the identity transform whatever it sees, until it has learnt better."""
    layer = nn.Conv2d(inputs, len(IDENTITY), kernel_size=1)
    assert layer.bias is not None
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor(IDENTITY))
    return layer
