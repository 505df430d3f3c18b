"""Fit a network to FER-2013 as a recipe says.

One epoch is the unit of everything: random numbers are drawn from (seed, epoch), and after each epoch
`last.safetensors` holds the whole state of the run. A run that is killed and started again ends with the same weights.
`best.safetensors` holds the averaged weights of the epoch that did best on PublicTest.
"""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional

from engines.preprocess import to_batch
from engines.spec import EMOTIONS
from train.checkpoint import MODEL_PREFIX, Checkpoint, read_checkpoint, save_checkpoint
from train.data import REPOSITORY, Faces, Fer2013, soft_labels
from train.errors import CheckpointInvalid
from train.models import MODELS
from train.predict import predict_torch
from train.recipe import Recipe
from train.spec import draft_spec

LAST, BEST = "last.safetensors", "best.safetensors"


@dataclass(slots=True, eq=False)
class Run:
    """Everything that changes while training: what `last.safetensors` holds."""

    model: nn.Module  # being trained
    average: nn.Module  # its exponential moving average: what is evaluated and kept
    optimizer: torch.optim.AdamW
    epoch: int = 0  # finished ones
    best_accuracy: float = 0.0  # of `average`, on PublicTest


def fit(recipe: Recipe, data: Fer2013, folder: Path, console: Console, stop_after: int | None = None) -> Path:
    """Train, or go on training, in `folder`; the path of the best checkpoint.

    `stop_after` ends this call after so many epochs, with the run unfinished; None trains to the end.
    """
    torch.set_flush_denormal(True)  # averages decay through them, and they are a hundred times as slow
    folder.mkdir(parents=True, exist_ok=True)
    run = start_or_resume(recipe, data, folder / LAST)
    if run.epoch:
        console.print(f"resuming after epoch {run.epoch}; best on PublicTest so far {run.best_accuracy:.2%}")
    end = recipe.epochs if stop_after is None else min(recipe.epochs, run.epoch + stop_after)
    while run.epoch < end:
        started_s = time.monotonic()
        loss = train_epoch(run, recipe, data.training, console)
        seconds = time.monotonic() - started_s
        accuracy = accuracy_of(run.average, data.public, recipe)
        run.epoch += 1
        if accuracy > run.best_accuracy:
            run.best_accuracy = accuracy
            save_checkpoint(folder / BEST, _best_of(run, recipe, data))
        save_checkpoint(folder / LAST, _state_of(run, recipe, data))
        left_min = (time.monotonic() - started_s) * (recipe.epochs - run.epoch) / 60
        console.print(
            f"epoch {run.epoch}/{recipe.epochs}  loss {loss:.4f}  PublicTest {accuracy:.2%}  "
            f"best {run.best_accuracy:.2%}  {len(data.training) / seconds:.0f} images/s  {left_min:.1f} min left"
        )
    return folder / BEST


def train_epoch(run: Run, recipe: Recipe, faces: Faces, console: Console) -> float:
    """One pass over the training images in a new order; the mean loss."""
    generator = torch.Generator().manual_seed(_epoch_seed(recipe, run.epoch))
    torch.manual_seed(_epoch_seed(recipe, run.epoch))  # dropout draws from the global generator
    targets = torch.from_numpy(soft_labels(faces, recipe.votes_weight, recipe.label_smoothing))
    steps = steps_per_epoch(recipe, faces)
    run.model.train()
    total = 0.0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"epoch {run.epoch + 1}/{recipe.epochs}", total=steps)
        for step, (images, rows) in enumerate(_batches(faces, recipe, generator)):
            for group in run.optimizer.param_groups:
                group["lr"] = learning_rate(recipe, run.epoch + step / steps)
            total += train_step(run, recipe, images, targets[rows])
            progress.advance(task)
    return total / steps


def train_step(run: Run, recipe: Recipe, images: Tensor, targets: Tensor) -> float:
    """One step of the optimiser and of the average; the loss."""
    loss = functional.cross_entropy(run.model(images), targets)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.optimizer.step()
    with torch.no_grad():
        for kept, new in zip(run.average.state_dict().values(), run.model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1.0 - recipe.ema_decay)
            else:  # batch norm's count of batches
                kept.copy_(new)
    return float(loss.detach())


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Linear warm-up, then half a cosine down to zero. `epoch` counts from 0, with fractions."""
    if epoch < recipe.warmup_epochs:
        return recipe.learning_rate * (epoch + 1e-2) / (recipe.warmup_epochs + 1e-2)
    done = (epoch - recipe.warmup_epochs) / max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


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


def _epoch_seed(recipe: Recipe, epoch: int) -> int:
    return recipe.seed * 100_003 + epoch


def start_or_resume(recipe: Recipe, data: Fer2013, last: Path) -> Run:
    """A fresh run, or the one that `last` holds. Raises CheckpointInvalid when that is another recipe's or data's."""
    torch.manual_seed(recipe.seed)
    build = MODELS[recipe.model]
    model = build(len(EMOTIONS), recipe.dropout, recipe.seeded and not last.exists())
    average = build(len(EMOTIONS), recipe.dropout, False)
    average.load_state_dict(model.state_dict())
    for network in (model, average):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = Run(model, average.eval(), _optimizer(model, recipe))
    if last.exists():
        _restore(run, read_checkpoint(last), recipe, data)
    return run


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays kernels only: pulling batch norm or biases to zero would change what a layer computes."""
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, foreach=True)


def _state_of(run: Run, recipe: Recipe, data: Fer2013) -> Checkpoint:
    tensors = {f"{MODEL_PREFIX}{name}": value for name, value in run.average.state_dict().items()}
    tensors |= {f"training.{name}": value for name, value in run.model.state_dict().items()}
    for number, values in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    return Checkpoint(tensors, _record(run, recipe, data))


def _best_of(run: Run, recipe: Recipe, data: Fer2013) -> Checkpoint:
    tensors = {f"{MODEL_PREFIX}{name}": value for name, value in run.average.state_dict().items()}
    return Checkpoint(tensors, _record(run, recipe, data))


def _record(run: Run, recipe: Recipe, data: Fer2013) -> dict[str, Any]:
    return {
        "recipe": recipe.as_dict(),
        "epoch": run.epoch,
        "data_sha256": data.sha256,
        "commit": commit(),
        "torch": torch.__version__,
        "metrics": {"public_accuracy_best": run.best_accuracy},
    }


def _restore(run: Run, checkpoint: Checkpoint, recipe: Recipe, data: Fer2013) -> None:
    record = checkpoint.record
    if checkpoint.recipe != recipe or record["data_sha256"] != data.sha256:
        raise CheckpointInvalid(
            "the run in this folder was started with another recipe or other data; choose another --out, or remove it"
        )
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "training": {}, "optimizer": {}}
    for name, value in checkpoint.tensors.items():
        part, rest = name.split(".", 1)
        parts[part][rest] = value
    run.average.load_state_dict(parts["model"])
    run.model.load_state_dict(parts["training"])
    state = run.optimizer.state_dict()
    for name, value in parts["optimizer"].items():
        number, field = name.split(".")
        state["state"].setdefault(int(number), {})[field] = value
    run.optimizer.load_state_dict(state)
    run.epoch = record["epoch"]
    run.best_accuracy = record["metrics"]["public_accuracy_best"]


def commit() -> str | None:
    """The repository's commit, with `+changes` when code that trains differs from it; None outside a repository."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", "train", "engines")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if changed else head


def _git(*arguments: str) -> str:
    answer = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=10, check=True)
    return answer.stdout.strip()
