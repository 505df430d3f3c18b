"""What trained networks say of the training images, as targets for another one.

Soft labels carry what a bigger network or an ensemble knows of an image (Hinton et al. 2015, "Distilling the Knowledge
in a Neural Network", arXiv 1503.02531). Each image and its mirror image are looked at once, before training: looking
again at every change of every image would cost a training of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.probabilities import softmax
from engines.spec import sha256_of
from train.checkpoint import build_model, read_checkpoint, read_record, recipe_in
from train.predict import predict_torch
from train.spec import draft_spec


def facts_of(teacher: Path) -> dict[str, Any]:
    """What a run keeps of a teacher. Raises CheckpointInvalid when it is no checkpoint of an emotion network."""
    record = read_record(teacher)
    recipe = recipe_in(record)
    return {
        "sha256": sha256_of(teacher),
        "recipe": recipe.name,
        "commit": record.get("commit"),
        "seeded": recipe.seeded,
    }


def teachers_say(checkpoints: Sequence[Path], images: NDArray[np.uint8], device: str = "cpu") -> NDArray[np.float32]:
    """(N, classes) probabilities: the mean over the checkpoints, and over each image and its mirror image.

    `images` are (N, H, W) uint8.
    """
    answers = []
    for path in checkpoints:
        checkpoint = read_checkpoint(path)
        model, spec = build_model(checkpoint).to(device), draft_spec(checkpoint.recipe)
        for seen in (images, np.ascontiguousarray(images[:, :, ::-1])):
            answers.append(softmax(predict_torch(model, seen, spec)))
    return np.mean(answers, axis=0).astype(np.float32)
