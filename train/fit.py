"""Fit an emotion network to FER-2013 as a recipe says; what is chosen on is PublicTest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional

from engines.preprocess import to_batch
from engines.spec import EMOTIONS
from train.data import Faces, Fer2013, soft_labels
from train.models import MODELS
from train.predict import predict_torch
from train.recipe import Recipe
from train.run import BEST, LAST, Run, start
from train.spec import draft_spec


def fit(recipe: Recipe, data: Fer2013, folder: Path, console: Console, stop_after: int | None = None) -> Path:
    """Train, or go on training, in `folder`; the path of the best checkpoint.

    `stop_after` ends this call after so many epochs, with the run unfinished; None trains to the end.
    """
    torch.set_flush_denormal(True)  # averages decay through them, and they are a hundred times as slow
    folder.mkdir(parents=True, exist_ok=True)
    run = start_or_resume(recipe, data, folder / LAST)
    if run.epoch:
        console.print(f"resuming after epoch {run.epoch}; best on PublicTest so far {run.best:.2%}")
    end = recipe.epochs if stop_after is None else min(recipe.epochs, run.epoch + stop_after)
    while run.epoch < end:
        started_s = time.monotonic()
        loss = train_epoch(run, recipe, data.training, console)
        seconds = time.monotonic() - started_s
        accuracy = accuracy_of(run.average, data.public, recipe)
        run.keep(folder, accuracy, "public_accuracy_best")
        left_min = (time.monotonic() - started_s) * (recipe.epochs - run.epoch) / 60
        console.print(
            f"epoch {run.epoch}/{recipe.epochs}  loss {loss:.4f}  PublicTest {accuracy:.2%}  "
            f"best {run.best:.2%}  {len(data.training) / seconds:.0f} images/s  {left_min:.1f} min left"
        )
    return folder / BEST


def train_epoch(run: Run, recipe: Recipe, faces: Faces, console: Console) -> float:
    """One pass over the training images in a new order; the mean loss."""
    generator = torch.Generator().manual_seed(run.seed())
    torch.manual_seed(run.seed())  # dropout draws from the global generator
    targets = torch.from_numpy(soft_labels(faces, recipe.votes_weight, recipe.label_smoothing))
    steps = steps_per_epoch(recipe, faces)
    run.model.train()
    total = 0.0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"epoch {run.epoch + 1}/{recipe.epochs}", total=steps)
        for step, (images, rows) in enumerate(_batches(faces, recipe, generator)):
            loss = functional.cross_entropy(run.model(images), targets[rows])
            run.step(loss, run.epoch + step / steps)
            total += float(loss.detach())
            progress.advance(task)
    return total / steps


def steps_per_epoch(recipe: Recipe, faces: Faces) -> int:
    """Whole batches only, because a small last one would disturb batch norm; the rest has its turn in another epoch."""
    return max(len(faces) // recipe.batch_size, 1)


def accuracy_of(model: nn.Module, faces: Faces, recipe: Recipe) -> float:
    """Share of `faces` whose highest logit is their label."""
    logits = predict_torch(model, faces.images, draft_spec(recipe))
    return float((logits.argmax(axis=1) == faces.labels).mean())


def _batches(faces: Faces, recipe: Recipe, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented images (B, 1, 48, 48) in channels-last memory, and their row numbers."""
    order = torch.randperm(len(faces), generator=generator)
    spec = draft_spec(recipe)
    for step in range(steps_per_epoch(recipe, faces)):
        rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        images: NDArray[np.float32] = to_batch(faces.images[rows.numpy()], spec)
        changed = recipe.augment(torch.from_numpy(images), generator)
        yield changed.contiguous(memory_format=torch.channels_last), rows  # 2-3 times as fast as channels-first here


def start_or_resume(recipe: Recipe, data: Fer2013, last: Path) -> Run:
    """A fresh run, or the one that `last` holds. Raises CheckpointInvalid when that is another recipe's or data's."""
    torch.manual_seed(recipe.seed)
    build = MODELS[recipe.model]
    model = build(len(EMOTIONS), recipe.dropout, recipe.seeded and not last.exists())
    run = start(model, build(len(EMOTIONS), recipe.dropout, False), recipe, data.sha256)
    run.resume(last)
    return run
