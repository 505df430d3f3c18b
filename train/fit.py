"""Fit an emotion network as a recipe says.

`fit` is the command for FER-2013, which chooses on PublicTest. What it is made of, `new_run` and `train_epoch`, takes
any labelled faces and classes: `cross_validation.py` trains with the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from engines.preprocess import to_batch
from engines.spec import EMOTIONS
from train.board import Board, epoch_bar
from train.checkpoint import check_data
from train.data import Faces, Fer2013, Splits, soft_labels
from train.data.pictures import SIDE_PX
from train.denormals import denormals_flushed
from train.errors import DataMissing, RecipeInvalid
from train.losses import oversampled
from train.models import MODELS
from train.models.base import Build
from train.objective import Objective, optimizer_of, rate_of
from train.predict import predict_torch
from train.recipe import Recipe, recipe_from_record
from train.run import BEST, LAST, Run, begin_with, check_device, start
from train.spec import draft_spec
from train.teachers import facts_of, teachers_say


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is carried out; none of it belongs to the recipe."""

    device: str = "cpu"
    start_from: Path | None = None  # a checkpoint whose weights a new run begins with
    teachers: tuple[Path, ...] = ()  # checkpoints whose answers the recipe's teacher_weight mixes into the targets
    stop_after: int | None = None  # end this call after so many epochs, with the run unfinished


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass came to."""

    loss: float  # mean over the batches
    images: int  # trained on, those that were drawn again included
    seconds: float


@denormals_flushed()
def fit(recipe: Recipe, data: Fer2013, folder: Path, console: Console, options: Options | None = None) -> Path:
    """Train, or go on training, in `folder`; the path of the best checkpoint. TensorBoard reads the same folder.

    All that can be refused is refused before anything is computed. Raises Diverged when an epoch comes to numbers that
    are none; the folder then holds the run as it was before.
    """
    options = options or Options()
    check_device(options.device)
    check_inputs(recipe, data, options)
    run = start_or_resume(recipe, data, folder / LAST, options)
    if run.epoch:
        console.print(f"resuming after epoch {run.epoch}; best on PublicTest so far {run.best:.2%}")
    if run.epoch == recipe.epochs:
        return folder / BEST
    folder.mkdir(parents=True, exist_ok=True)
    targets = wanted(recipe, data.training, options.teachers, options.device)
    last = recipe.epochs if options.stop_after is None else min(recipe.epochs, run.epoch + options.stop_after)
    with Board(folder) as board:
        while run.epoch < last:
            done = train_epoch(run, recipe, data.training, targets, console, options.device)
            began_s = time.monotonic()
            accuracy = accuracy_of(run.average, data.public, recipe)
            run.keep(folder, accuracy, "public_accuracy_best")
            board.add(run.epoch, loss=done.loss, public_accuracy=accuracy, learning_rate=run.last_rate())
            left_min = left_s(recipe, run.epoch, done.seconds, time.monotonic() - began_s) / 60
            console.print(
                f"epoch {run.epoch}/{recipe.epochs}  loss {done.loss:.4f}  PublicTest {accuracy:.2%}  "
                f"best {run.best:.2%}  {done.images / done.seconds:.0f} images/s  {left_min:.1f} min left",
                soft_wrap=True,
            )
    return folder / BEST


def check_inputs(recipe: Recipe, data: Splits, options: Options) -> None:
    """Raises DataMissing, RecipeInvalid or CheckpointInvalid when `fit` cannot use what it was given."""
    if not len(data.public) or not len(data.training):
        raise DataMissing(
            "fit needs training images and a PublicTest to choose on; take `train cross-validate` instead"
        )
    if data.classes != EMOTIONS:
        raise DataMissing(f"fit needs data of all of {', '.join(EMOTIONS)}; this has {', '.join(data.classes)}")
    _check_count(recipe, options.teachers)
    for path in (*options.teachers, *([options.start_from] if options.start_from else [])):
        check_data(path, data.sha256)


def _check_count(recipe: Recipe, teachers: Sequence[Path]) -> None:
    if bool(teachers) != bool(recipe.teacher_weight):
        raise RecipeInvalid(
            f"recipe {recipe.name} has teacher_weight {recipe.teacher_weight:g}; "
            f"give --teacher as often as it has teachers, got {len(teachers)}"
        )


def left_s(recipe: Recipe, epoch: int, training_s: float, rest_s: float) -> float:
    """Seconds until the run is over, when the last of `epoch` finished ones took `training_s`, and `rest_s` besides.

    Training takes as long as its pictures are large; nothing else depends on their size.
    """
    areas = [recipe.side_px(number) ** 2 for number in range(epoch - 1, recipe.epochs)]
    return training_s * sum(areas[1:]) / areas[0] + rest_s * (recipe.epochs - epoch)


def wanted(recipe: Recipe, faces: Faces, teachers: Sequence[Path], device: str = "cpu") -> Tensor:
    """(N, classes) target probabilities: the label, votes, smoothing, and what the teachers say of each image."""
    _check_count(recipe, teachers)
    targets = torch.from_numpy(soft_labels(faces, recipe.votes_weight, recipe.label_smoothing))
    if not teachers:
        return targets
    taught = torch.from_numpy(teachers_say(teachers, faces.images, device))
    return (1.0 - recipe.teacher_weight) * targets + recipe.teacher_weight * taught


def train_epoch(run: Run, recipe: Recipe, faces: Faces, targets: Tensor, console: Console, device: str) -> Epoch:
    """One pass over the training images in a new order. Raises Diverged when it comes to numbers that are none."""
    torch.manual_seed(run.seed())  # what is changed in the images and dropped out draws from the global generator
    rows = epoch_rows(recipe, faces, np.random.default_rng(run.seed()))
    labels = torch.from_numpy(faces.labels)
    objective = run.losses
    assert objective is not None
    run.model.train()
    began_s, total, side_px = time.monotonic(), 0.0, recipe.side_px(run.epoch)
    with epoch_bar(console, f"epoch {run.epoch + 1}/{recipe.epochs}", len(rows), "images") as advance:
        for step, batch in enumerate(rows):
            images, aims = recipe.augment.mix(_images(faces, batch, recipe), targets[batch])
            loss = objective(run.model, _to(shrunk(images, side_px), device), aims.to(device), labels[batch].to(device))
            run.step(loss, run.epoch + step / len(rows))
            total += float(loss.detach())
            advance(len(batch))
            if not math.isfinite(total):
                break
    run.check_finite(total)
    return Epoch(total / len(rows), sum(map(len, rows)), time.monotonic() - began_s)


def epoch_rows(recipe: Recipe, faces: Faces, random: np.random.Generator) -> list[NDArray[np.intp]]:
    """The rows of each batch of an epoch.

    Whole batches only, because a small last one would disturb batch norm; the rest has its turn in another epoch.
    """
    rows = oversampled(faces.labels, random) if recipe.balance == "oversample" else np.arange(len(faces))
    rows = random.permutation(rows)
    batches = max(len(rows) // recipe.batch_size, 1)
    return [rows[step * recipe.batch_size : (step + 1) * recipe.batch_size] for step in range(batches)]


def accuracy_of(model: nn.Module, faces: Faces, recipe: Recipe) -> float:
    """Share of `faces` whose highest logit is their label."""
    logits = predict_torch(model, faces.images, draft_spec(recipe))
    return float((logits.argmax(axis=1) == faces.labels).mean())


def _images(faces: Faces, rows: NDArray[np.intp], recipe: Recipe) -> Tensor:
    """(B, 1, 48, 48) float32, changed at random."""
    return recipe.augment(torch.from_numpy(to_batch(faces.images[rows], draft_spec(recipe))))


def shrunk(images: Tensor, side_px: int) -> Tensor:
    """(B, C, H, W) -> (B, C, side_px, side_px); the same when that is their side already."""
    if images.shape[-1] == side_px:
        return images
    return functional.interpolate(images, size=(side_px, side_px), mode="bilinear", antialias=True)


def _to(images: Tensor, device: str) -> Tensor:
    """In channels-last memory, 2-3 times as fast as channels-first on CPUs."""
    return images.to(device).contiguous(memory_format=torch.channels_last)


def start_or_resume(recipe: Recipe, data: Splits, last: Path, options: Options) -> Run:
    """A fresh run, or the one that `last` holds.

    Raises CheckpointInvalid when that is another recipe's or data's, or began with other weights.
    """
    run = new_run(recipe, data, options, seeded=recipe.seeded and not last.exists())
    first = run.first_weights
    run.resume(last, recipe_from_record)
    run.check_first_weights(first)
    return run


def new_run(recipe: Recipe, data: Splits, options: Options, seeded: bool) -> Run:
    """A run at its beginning, of a network with one output for each class of `data`.

    It begins with the weights of `options.start_from`; without one, with those from ImageNet where `seeded`. Raises
    CheckpointInvalid when the checkpoint is of another network.
    """
    torch.manual_seed(recipe.seed)
    classes = len(data.classes)
    build, network = Build(classes, recipe.dropout, recipe.width), MODELS[recipe.model]
    model = network(build, seeded and options.start_from is None)
    if recipe.first_side_px < SIDE_PX and not model.takes_smaller:
        raise RecipeInvalid(f"recipe {recipe.name}: {recipe.model} takes no smaller pictures; leave first_side_px out")
    objective = Objective(recipe, model, torch.from_numpy(data.training.labels), classes).to(options.device)
    first = begin_with(model, options.start_from, data.classes)
    average = network(build, False).to(options.device)
    model.to(options.device)
    optimizer, rate = optimizer_of(recipe, model), rate_of(recipe)
    run = start(model, average, recipe, data.sha256, optimizer=optimizer, rate=rate)
    run.losses, run.first_weights = objective, first
    run.teachers = tuple(map(facts_of, options.teachers))
    return run
