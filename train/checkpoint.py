"""Checkpoints: one safetensors file, whose header holds the run's record as JSON. Nothing in it can run code.

Weights and record travel in one file, so that a kill can never leave a new one beside an old one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from engines.spec import EMOTIONS
from train.errors import CheckpointInvalid, RecipeInvalid
from train.models import MODELS
from train.models.base import Build
from train.recipe import Recipe, recipe_from_record

SCHEMA = "emostream.checkpoint/1"
MODEL_PREFIX = "model."  # the network's own tensors; anything else belongs to the run that is not over yet


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What a run has come to."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]  # recipe, epoch (count of finished ones), commit, data_sha256, metrics

    @property
    def recipe(self) -> Recipe:
        """Of an emotion network. Raises CheckpointInvalid when the record has none."""
        return recipe_in(self.record)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write all of it or nothing: a reader sees the old file or the new one, whenever the power goes."""
    record = {"schema": SCHEMA, **checkpoint.record}
    contiguous = {name: tensor.detach().contiguous() for name, tensor in checkpoint.tensors.items()}
    data = save(contiguous, metadata={"record": json.dumps(record)})
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint of ours. Raises CheckpointInvalid for any other file."""
    record, tensors = _read(path, whole=True)
    return Checkpoint(tensors, record)


def read_record(path: Path) -> dict[str, Any]:
    """A checkpoint's record alone, without reading its tensors. Raises CheckpointInvalid for any other file."""
    return _read(path, whole=False)[0]


def _read(path: Path, whole: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["record"])
            names = file.keys() if whole else []
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise CheckpointInvalid(
            f"{path} is no checkpoint of emostream ({error}); make one with `train fit` or `train detector fit`"
        ) from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise CheckpointInvalid(f"{path}: expected a record of schema {SCHEMA}; train again with this version")
    return record, tensors


def recipe_in(record: dict[str, Any]) -> Recipe:
    """The recipe in a record of an emotion network. Raises CheckpointInvalid when there is none."""
    try:
        return recipe_from_record(record["recipe"])
    except (KeyError, RecipeInvalid) as error:
        raise CheckpointInvalid(f"this is no checkpoint of an emotion network ({error}); train again") from None


def check_data(path: Path, data_sha256: str) -> None:
    """Raises CheckpointInvalid when a checkpoint did not come from the data of this digest.

    A network that was trained on other data may have learned the very images that are measured on.
    """
    if read_record(path).get("data_sha256") != data_sha256:
        raise CheckpointInvalid(
            f"{path} was trained on other data, so it may know the images that are chosen on; name one that was "
            "trained on the same data"
        )


def build_model(checkpoint: Checkpoint) -> nn.Module:
    """The trained network, in evaluation mode. Raises CheckpointInvalid when its weights do not fit its recipe."""
    recipe = checkpoint.recipe
    model = MODELS[recipe.model](Build(len(EMOTIONS), recipe.dropout, recipe.width), False)
    return load_weights(model, checkpoint)


def load_weights(model: nn.Module, checkpoint: Checkpoint, classes: Sequence[str] = EMOTIONS) -> nn.Module:
    """The checkpoint's averaged weights in `model`, for evaluation. Raises CheckpointInvalid when they do not fit.

    `classes` are the outputs of an emotion network; where they are not EMOTIONS, its classifier keeps its own rows for
    those that no checkpoint knows.
    """
    weights = {k.removeprefix(MODEL_PREFIX): v for k, v in checkpoint.tensors.items() if k.startswith(MODEL_PREFIX)}
    if tuple(classes) != EMOTIONS:
        weights |= _classifier_for(classes, weights, model.state_dict())
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointInvalid(f"the checkpoint is of another network: {what_differs(error)}") from None
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise CheckpointInvalid("the checkpoint holds weights that are not finite; train again, with a lower rate")
    return model.eval()


def _classifier_for(
    classes: Sequence[str], weights: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The classifier of a network for `classes`: of `weights`, whose rows are EMOTIONS, where both know a class, else
    its `own`. Empty where the two do not look at embeddings of one size, which loading then says.
    """
    rows = [row for row, name in enumerate(classes) if name in EMOTIONS]
    known = [EMOTIONS.index(classes[row]) for row in rows]
    adapted = {}
    for name in ("classifier.weight", "classifier.bias"):
        theirs, ours = weights.get(name), own[name]
        if theirs is not None and theirs.shape == (len(EMOTIONS), *ours.shape[1:]):
            adapted[name] = ours.clone()
            adapted[name][rows] = theirs[known]
    return adapted


def what_differs(error: RuntimeError) -> str:
    """The first thing that torch has against a state: the first line only says that there is one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)]
