"""Random changes of a batch of faces that leave the emotion as it is: whole batches at once, a few ms for 128 faces.

Everything draws from the generator it is given, so an epoch can be repeated exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Augment:
    """How far each change may go; 0 turns it off."""

    shift: float = 0.08  # fraction of the side, either way: the crop is never exactly on the template
    rotate_deg: float = 12.0
    scale: float = 0.12  # 0.12: sides from 1/1.12 to 1.12
    contrast: float = 0.3  # factor 1 - contrast .. 1 + contrast, around mid-grey
    brightness: float = 0.15  # added, of the full range 0..1
    soften: float = 0.1  # share of images seen at half their resolution: faces far from the camera
    erase: float = 0.3  # share of images with one rectangle blanked: hands, hair, masks

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """(B, 1, H, W) float32, mid-grey 0 and full range 2 (mean and std 0.5) -> the same, changed."""
        images = self._warp(images, generator)
        images = self._soften(images, generator)
        images = self._light(images, generator)
        return self._erase(images, generator)

    def _warp(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Flip, rotation, scale and shift in one bilinear read."""
        batch = len(images)
        angle = _between(-self.rotate_deg, self.rotate_deg, batch, generator) * (math.pi / 180.0)
        grow = torch.exp(_between(-1.0, 1.0, batch, generator) * math.log1p(self.scale))
        flip = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)
        shift = 2.0 * _between(-self.shift, self.shift, 2 * batch, generator).reshape(batch, 2)  # of -1..1 coordinates
        cos, sin = grow * torch.cos(angle), grow * torch.sin(angle)
        matrix = torch.stack([flip * cos, -sin, shift[:, 0], flip * sin, cos, shift[:, 1]], dim=1).reshape(batch, 2, 3)
        grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _soften(self, images: Tensor, generator: torch.Generator) -> Tensor:
        chosen = torch.rand(len(images), generator=generator) < self.soften
        half = functional.avg_pool2d(images, 2)
        soft = functional.interpolate(half, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return torch.where(chosen[:, None, None, None], soft, images)

    def _light(self, images: Tensor, generator: torch.Generator) -> Tensor:
        shape = (len(images), 1, 1, 1)
        factor = _between(1.0 - self.contrast, 1.0 + self.contrast, len(images), generator).reshape(shape)
        offset = 2.0 * _between(-self.brightness, self.brightness, len(images), generator).reshape(shape)
        return (images * factor + offset).clamp(-1.0, 1.0)

    def _erase(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Mid-grey rectangles with sides of an eighth to three eighths of the image."""
        batch, _, height, width = images.shape
        chosen = torch.rand(batch, generator=generator) < self.erase
        inside = [
            _bars(batch, side, generator).reshape(batch, 1, *shape)
            for side, shape in ((height, (height, 1)), (width, (1, width)))
        ]
        return images.masked_fill(inside[0] & inside[1] & chosen[:, None, None, None], 0.0)


def _bars(batch: int, side: int, generator: torch.Generator) -> Tensor:
    """(B, side) bool: one run of True in each row."""
    length = _between(side / 8, side * 3 / 8, batch, generator)
    start = torch.rand(batch, generator=generator) * (side - length)
    position = torch.arange(side, dtype=torch.float32)
    return (position >= start[:, None]) & (position < (start + length)[:, None])


def _between(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
