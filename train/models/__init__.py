"""Networks by name. A new one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from train.data import shared_file
from train.models.mobilenet_v1 import MobileNetV1, load_imagenet

IMAGENET_MOBILENET_V1 = "pretrain/mobilenet_v1_1.0_imagenet_partial.npz"


def mobilenet_v1(classes: int, dropout: float, seeded: bool) -> nn.Module:
    """MobileNetV1, from ImageNet weights when `seeded`."""
    model = MobileNetV1(classes, dropout)
    if seeded:
        load_imagenet(model, shared_file(IMAGENET_MOBILENET_V1))
    return model


# name -> builder(classes, dropout, seeded)
MODELS: dict[str, Callable[[int, float, bool], nn.Module]] = {"mobilenet_v1": mobilenet_v1}
