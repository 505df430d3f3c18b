"""Networks by name. A new one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Callable

from train.data import shared_file
from train.errors import RecipeInvalid
from train.models.base import Build, Network
from train.models.deep_emotion import DeepEmotion
from train.models.mobilenet_v1 import MobileNetV1, load_imagenet
from train.models.residual_cbam import residual_cbam
from train.models.residual_se import residual_se

IMAGENET_MOBILENET_V1 = "pretrain/mobilenet_v1_1.0_imagenet_partial.npz"

Builder = Callable[[Build, bool], Network]  # (build, seeded)


def mobilenet_v1(build: Build, seeded: bool) -> Network:
    """MobileNetV1, from ImageNet weights when `seeded`."""
    model = MobileNetV1(build)
    if seeded:
        load_imagenet(model, shared_file(IMAGENET_MOBILENET_V1))
    return model


def unseeded(name: str, network: Callable[[Build], Network]) -> Builder:
    """A builder of a network that begins with random weights; it raises RecipeInvalid when it is asked for others."""

    def build_fresh(build: Build, seeded: bool) -> Network:
        if seeded:
            raise RecipeInvalid(f"there are no weights for {name} to begin with; set seeded: false")
        return network(build)

    return build_fresh


MODELS: dict[str, Builder] = {
    "mobilenet_v1": mobilenet_v1,
    "deep_emotion": unseeded("deep_emotion", DeepEmotion),
    "residual_se": unseeded("residual_se", residual_se),
    "residual_cbam": unseeded("residual_cbam", residual_cbam),
}
