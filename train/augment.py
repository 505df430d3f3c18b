"""Random changes of a batch of faces that leave the emotion as it is, out of torchvision's transforms.

torchvision draws once for everything it is given, so a batch is changed in groups of GROUP faces: one by one the
drawing would cost more than the network. Who is in a group is another matter in each epoch. Everything draws from
torch's global generator: whoever seeds it can repeat an epoch exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from train.errors import RecipeInvalid

GROUP = 4
MARGIN_PX = 12  # repeated around the picture before it is moved, so that nothing black comes in; at least
GREY = 0.5  # what is erased becomes
HIGHEST = {  # beyond these a face is no longer one
    "shift": 0.25,
    "rotate_deg": 45.0,
    "scale": 0.5,
    "contrast": 0.9,
    "brightness": 0.9,
    "soften": 1.0,
    "erase": 1.0,
    "mixup": 10.0,
}


@dataclass(frozen=True, slots=True)
class Augment:
    """How far each change may go; 0 turns it off. Raises RecipeInvalid when one is outside 0..HIGHEST."""

    shift: float = 0.08  # fraction of the side, either way: the crop is never exactly on the template
    rotate_deg: float = 12.0
    scale: float = 0.12  # 0.12: sides from 1/1.12 to 1.12
    contrast: float = 0.3  # factor 1 - contrast .. 1 + contrast
    brightness: float = 0.15  # the same of the brightness
    soften: float = 0.1  # share of groups seen out of focus: faces far from the camera
    erase: float = 0.3  # share of groups with one rectangle blanked: hands, hair, masks
    mixup: float = 0.0  # alpha of the Beta distribution (Zhang et al. 2018, "mixup", arXiv 1710.09412)

    def __post_init__(self) -> None:
        for name, highest in HIGHEST.items():
            if not 0 <= (value := getattr(self, name)) <= highest:  # also for NaN
                raise RecipeInvalid(f"{name} must lie in 0..{highest:g}, got {value}")

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) float32 in -1..1 (mean and std 0.5) -> the same, changed."""
        change = self._changes(images.shape[-1])
        groups = [change((group + 1.0) / 2.0) for group in images.split(GROUP)]
        return torch.cat(groups) * 2.0 - 1.0

    def mix(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Each picture and its (B, classes) target probabilities, blended with another one's."""
        if self.mixup == 0.0:
            return images, targets
        mixed: tuple[Tensor, Tensor] = v2.MixUp(alpha=self.mixup)(images, targets)
        return mixed

    def margin_px(self, side_px: int) -> int:
        """How much is repeated around a picture: enough for its corner when all that moves it goes as far as it may."""
        angle = math.radians(self.rotate_deg)
        corner_px = (side_px - 1) / 2  # from the middle to the middle of the last pixel
        farthest_px = (corner_px + math.ceil(self.shift * side_px)) * (math.cos(angle) + math.sin(angle))
        return max(MARGIN_PX, math.ceil(farthest_px * (1.0 + self.scale) - corner_px))

    def _changes(self, side_px: int) -> v2.Transform:
        margin_px = self.margin_px(side_px)
        moved = self.shift * side_px / (side_px + 2 * margin_px)
        return v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.Pad(margin_px, padding_mode="edge"),
                v2.RandomAffine(
                    self.rotate_deg,
                    translate=(moved, moved),
                    scale=(1.0 / (1.0 + self.scale), 1.0 + self.scale),
                    interpolation=v2.InterpolationMode.BILINEAR,
                ),
                v2.CenterCrop(side_px),
                v2.ColorJitter(brightness=self.brightness, contrast=self.contrast),
                v2.RandomApply([v2.GaussianBlur(5, sigma=(0.5, 1.5))], p=self.soften),
                v2.RandomErasing(self.erase, scale=(0.02, 0.14), value=GREY),
            ]
        )
