"""What a training run holds, whatever it trains: how it is started, kept after each epoch, and gone on with.

One epoch is the unit of everything: random numbers are drawn from (seed, epoch), and after each epoch
`last.safetensors` holds the whole state of the run. A run that is killed and started again ends with the same weights.
`best.safetensors` holds the averaged weights of the epoch that did best on what is chosen on.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from engines.spec import EMOTIONS, sha256_of
from train.checkpoint import MODEL_PREFIX, Checkpoint, load_weights, read_checkpoint, save_checkpoint, what_differs
from train.data import REPOSITORY
from train.errors import CheckpointInvalid, DeviceMissing

LAST, BEST = "last.safetensors", "best.safetensors"


Rate = Callable[[float], float]  # epoch, counted from 0 with fractions -> learning rate


class Schedule(Protocol):
    """What every recipe says about a run."""

    @property
    def epochs(self) -> int: ...
    @property
    def warmup_epochs(self) -> float: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def ema_decay(self) -> float: ...
    @property
    def seed(self) -> int: ...
    def as_dict(self) -> dict[str, Any]:
        """Plain values, which JSON can hold."""
        ...


@dataclass(slots=True, eq=False)
class Run:
    """Everything that changes while training: what `last.safetensors` holds."""

    model: nn.Module  # being trained
    average: nn.Module  # its exponential moving average: what is evaluated and kept
    optimizer: torch.optim.Optimizer
    recipe: Schedule
    data_sha256: str
    rate: Rate
    losses: nn.Module | None = None  # what a loss learns beside the network, such as centres
    epoch: int = 0  # finished ones
    steps: int = 0  # of the optimiser
    best: float = 0.0  # of `average`, on what is chosen on; higher is better
    first_weights: str | None = None  # SHA-256 of the checkpoint that the run began with, if not at random
    teachers: tuple[str, ...] = ()  # SHA-256 of the checkpoints whose answers are in the targets
    commit: str | None = field(default_factory=lambda: running_commit())  # of the code: asked once, at the start

    def keep(self, folder: Path, result: float, metric: str) -> None:
        """An epoch is over with this result: write `last`, and `best` when it is the best so far."""
        self.epoch += 1
        better = self.epoch == 1 or result > self.best
        self.best = max(self.best, result)
        if better:
            save_checkpoint(folder / BEST, Checkpoint(self._average(), self._record(metric)))
        save_checkpoint(folder / LAST, Checkpoint(self._everything(), self._record(metric)))

    def resume(self, last: Path) -> None:
        """Go on from `last`, if it is there. Raises CheckpointInvalid when that is another recipe's or data's."""
        if not last.exists():
            return
        checkpoint = read_checkpoint(last)
        record = checkpoint.record
        if record["recipe"] != self.recipe.as_dict() or record["data_sha256"] != self.data_sha256:
            raise CheckpointInvalid(
                "the run in this folder was started with another recipe or other data; choose another --out, or "
                "remove it"
            )
        if tuple(record.get("teachers", ())) != self.teachers:
            raise CheckpointInvalid(
                "the run in this folder learned from other teachers; name the same ones, or choose another --out"
            )
        if "steps" not in record:
            raise CheckpointInvalid("the run in this folder is an older version's; choose another --out, or remove it")
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "training": {}, "losses": {}, "optimizer": {}}
        for name, value in checkpoint.tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = value
        try:
            self.average.load_state_dict(parts["model"])
            self.model.load_state_dict(parts["training"])
            if self.losses is not None:
                self.losses.load_state_dict(parts["losses"])
        except RuntimeError as error:
            raise CheckpointInvalid(
                f"the run in this folder is of another network ({what_differs(error)}); choose another --out, or "
                "remove it"
            ) from None
        state = self.optimizer.state_dict()
        for name, value in parts["optimizer"].items():
            number, field = name.split(".")
            state["state"].setdefault(int(number), {})[field] = value
        self.optimizer.load_state_dict(state)
        self.epoch, self.steps, self.first_weights = record["epoch"], record["steps"], record["first_weights"]
        self.best = next(iter(record["metrics"].values()))

    def check_first_weights(self, sha256: str | None) -> None:
        """Raises CheckpointInvalid when the run began with another checkpoint than the one of this digest."""
        if sha256 not in (None, self.first_weights):
            raise CheckpointInvalid(
                "the run in this folder began with other weights; leave --start out to go on with it, or choose "
                "another --out"
            )

    def step(self, loss: Tensor, epoch: float) -> None:
        """One step of the optimiser and of the average. `epoch` counts from 0, with fractions."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(epoch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.steps += 1
        decay = min(self.recipe.ema_decay, (1 + self.steps) / (10 + self.steps))  # it starts from random weights
        with torch.no_grad():
            for kept, new in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(new, 1.0 - decay)
                else:  # batch norm's count of batches
                    kept.copy_(new)

    def seed(self) -> int:
        """From which this epoch draws."""
        return self.recipe.seed * 100_003 + self.epoch

    def _average(self) -> dict[str, Tensor]:
        return {f"{MODEL_PREFIX}{name}": value for name, value in self.average.state_dict().items()}

    def _everything(self) -> dict[str, Tensor]:
        tensors = self._average()
        tensors |= {f"training.{name}": value for name, value in self.model.state_dict().items()}
        if self.losses is not None:
            tensors |= {f"losses.{name}": value for name, value in self.losses.state_dict().items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
        return tensors

    def _record(self, metric: str) -> dict[str, Any]:
        return {
            "recipe": self.recipe.as_dict(),
            "epoch": self.epoch,
            "steps": self.steps,
            "first_weights": self.first_weights,
            "teachers": list(self.teachers),
            "data_sha256": self.data_sha256,
            "commit": self.commit,
            "torch": torch.__version__,
            "metrics": {metric: self.best},
        }


def start(
    model: nn.Module,
    average: nn.Module,
    recipe: Schedule,
    data_sha256: str,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    rate: Rate | None = None,
) -> Run:
    """A run at its beginning. `average` becomes a copy of `model`.

    Without others, the optimiser is AdamW, and its rate rises through the warm-up and falls as half a cosine.
    """
    average.load_state_dict(model.state_dict())
    for network in (model, average):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    chosen = optimizer or adamw(model, recipe)
    return Run(model, average.eval(), chosen, recipe, data_sha256, rate or partial(cosine_rate, recipe))


def begin_with(model: nn.Module, checkpoint: Path | None, classes: Sequence[str] = EMOTIONS) -> str | None:
    """The digest of the checkpoint whose weights `model` now has; None without one. `classes`: see `load_weights`."""
    if checkpoint is None:
        return None
    load_weights(model, read_checkpoint(checkpoint), classes)
    return sha256_of(checkpoint)


def check_device(device: str) -> None:
    """Raises DeviceMissing when torch has no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceMissing("torch finds no CUDA device here; train with --device cpu")


def cosine_rate(recipe: Schedule, epoch: float) -> float:
    """Linear warm-up, then half a cosine down to zero. `epoch` counts from 0, with fractions."""
    if epoch < recipe.warmup_epochs:
        return recipe.learning_rate * (epoch + 1e-2) / (recipe.warmup_epochs + 1e-2)
    done = (epoch - recipe.warmup_epochs) / max(recipe.epochs - recipe.warmup_epochs, 1e-9)
    return recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


def adamw(model: nn.Module, recipe: Schedule) -> torch.optim.AdamW:
    """AdamW that decays kernels only: pulling batch norm or biases to zero would change what a layer computes."""
    kernels = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, foreach=True)


def running_commit() -> str | None:
    """The repository's commit, with `+changes` when code that trains differs from it; None outside a repository."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", "train", "engines", ":!engines/models")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if changed else head


def _git(*arguments: str) -> str:
    answer = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=10, check=True)
    return answer.stdout.strip()
