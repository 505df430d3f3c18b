"""The residual network with squeeze-and-excitation, as torchvision has it.

Hu et al. 2018, https://arxiv.org/abs/1709.01507.
"""

from __future__ import annotations

from torchvision.ops import SqueezeExcitation

from train.models.base import Build
from train.models.residual import Residual, inner_channels


def residual_se(build: Build) -> Residual:
    """With squeeze-and-excitation."""
    return Residual(build, lambda channels: SqueezeExcitation(channels, inner_channels(channels)))
