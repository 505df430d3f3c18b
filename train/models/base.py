"""What every emotion network here is: a picture becomes an embedding, and a 1x1 convolution makes logits of it.

The classifier is a convolution because the rounding of a matrix product depends on how many faces share the batch; as a
convolution each face is computed alone, and a camera never changes another one's answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from train.data.pictures import SIDE_PX
from train.errors import RecipeInvalid

MAX_WIDTH = 4.0


@dataclass(frozen=True, slots=True)
class Build:
    """What a network is built for."""

    classes: int
    dropout: float = 0.2
    width: float = 1.0  # multiplies the channels of every layer between the picture and the logits
    # 1 luma, 3 colour. Every network can be built for either, but recipes train luma only and have no setting for this:
    # every data set here is luma, and so is what a camera's crop gives the network
    channels: int = 1

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise RecipeInvalid(f"a network sees 1 channel (luma) or 3 (colour), got {self.channels}")
        if not 0 < self.width <= MAX_WIDTH:
            raise RecipeInvalid(f"width must be above 0 and at most {MAX_WIDTH:g}, got {self.width}")

    def scaled(self, channels: int, multiple: int = 8) -> int:
        """`channels` times the width, as the nearest multiple of `multiple`, and at least that."""
        return max(multiple, int(channels * self.width / multiple + 0.5) * multiple)


class Network(nn.Module):
    """(B, channels, 48, 48) float32 -> (B, classes) logits, by way of an embedding that losses may look at.

    A network here defines `features` and sets the two layers below, last, so that they stand last among its tensors.
    """

    takes_smaller: ClassVar[bool] = False  # in training, square pictures of fewer pixels do as well
    dropout: nn.Module  # on the embedding, before the classifier
    classifier: nn.Conv2d  # 1x1

    def __init__(self, build: Build) -> None:
        super().__init__()
        self.build = build

    @property
    def embedding_width(self) -> int:
        return self.classifier.in_channels

    def features(self, images: Tensor) -> Tensor:
        """(B, channels, 48, 48) -> (B, embedding_width, 1, 1)."""
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        """(B, channels, 48, 48) -> (B, embedding_width, 1, 1). Raises ValueError for images of another shape."""
        self._check(images)
        return self.features(images)

    def classify(self, embedding: Tensor) -> Tensor:
        """(B, embedding_width, 1, 1) -> (B, classes)."""
        logits: Tensor = self.classifier(self.dropout(embedding))
        return logits.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.embed(images))

    def fully_connected_parameters(self) -> list[nn.Parameter]:
        """The kernels of the fully connected layers, whose squares a loss may add up."""
        return [self.classifier.weight]

    def _check(self, images: Tensor) -> None:
        if torch.jit.is_tracing():  # an export: there the shape is a part of the graph
            return
        side_px = SIDE_PX
        if self.training and self.takes_smaller and images.ndim == 4:
            side_px = min(images.shape[-1], SIDE_PX)
        wanted = (self.build.channels, side_px, side_px)
        if images.ndim != 4 or tuple(images.shape[1:]) != wanted:
            raise ValueError(
                f"{type(self).__name__} expects images (B, {', '.join(map(str, wanted))}), got {tuple(images.shape)}; "
                "were they made by engines.preprocess.to_batch with the network's own spec?"
            )
