"""What trained networks say of the training images, as targets for another one.

Soft labels carry what a bigger network or an ensemble knows of an image (Hinton et al. 2015, "Distilling the Knowledge
in a Neural Network", arXiv 1503.02531). Each image and its mirror image are looked at once, before training: looking
again at every change of every image would cost a training of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.checkpoint import build_model, read_checkpoint
from train.metrics import softmax
from train.predict import predict_torch
from train.spec import draft_spec


def teachers_say(
    checkpoints: Sequence[Path], images: NDArray[np.uint8], temperature: float = 1.0
) -> NDArray[np.float32]:
    """(N, classes) probabilities: the mean over the checkpoints, and over each image and its mirror image.

    `images` are (N, H, W) uint8.
    """
    answers = []
    for path in checkpoints:
        checkpoint = read_checkpoint(path)
        model, spec = build_model(checkpoint), draft_spec(checkpoint.recipe)
        for seen in (images, np.ascontiguousarray(images[:, :, ::-1])):
            answers.append(softmax(predict_torch(model, seen, spec) / np.float32(temperature)))
    return np.mean(answers, axis=0).astype(np.float32)
