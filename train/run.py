"""What a training run holds, whatever it trains: how it is started, kept after each epoch, and gone on with.

One epoch is the unit of everything: random numbers are drawn from (seed, epoch), and after each epoch
`last.safetensors` holds the whole state of the run. A run that is killed and started again ends with the same weights
on a CPU; on a GPU, which may add up in another order each time, that is not promised. `best.safetensors` holds the
averaged weights of the epoch that did best on what is chosen on.
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
from train.checkpoint import Checkpoint, load_weights, read_checkpoint, save_checkpoint
from train.data import REPOSITORY
from train.errors import CheckpointInvalid, DeviceMissing, Diverged, RecipeInvalid
from train.kept import AVERAGE, LOSSES, OPTIMIZER, TRAINING, Facts, Layout, finite, read_kept, refusal

LAST, BEST = "last.safetensors", "best.safetensors"
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")  # what torch keeps for each parameter
SGD_STATE = ("momentum_buffer",)

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
    teachers: tuple[Facts, ...] = ()  # of the checkpoints whose answers are in the targets; see `teachers.facts_of`
    # of the code, asked once, at the start; of the first and the latest where a run went on with other code
    commit: str | None = field(default_factory=lambda: running_commit())

    def keep(self, folder: Path, result: float, metric: str) -> None:
        """An epoch is over with this result: write `last`, and `best` when it is the best so far."""
        self.epoch += 1
        better = self.epoch == 1 or result > self.best
        self.best = max(self.best, result)
        if better:
            save_checkpoint(folder / BEST, Checkpoint(self._average(), self._record(metric)))
        save_checkpoint(folder / LAST, Checkpoint(self._everything(), self._record(metric)))

    def resume(self, last: Path, recipe_of: Callable[[object], Schedule]) -> None:
        """Go on from `last`, if it is there. `recipe_of` reads what a record keeps of a recipe.

        Raises CheckpointInvalid when it is another recipe's, data's, network's or teachers' run, or a broken file.
        """
        if not last.exists():
            return
        kept = read_kept(last)
        if kept.data_sha256 != self.data_sha256 or not self._is_of(kept.recipe, recipe_of):
            raise refusal("was started with another recipe or other data")
        if kept.epoch > self.recipe.epochs:
            raise refusal(f"says that it is after epoch {kept.epoch} of {self.recipe.epochs}")
        if [facts["sha256"] for facts in kept.teachers] != [facts["sha256"] for facts in self.teachers]:
            raise CheckpointInvalid(
                "the run in this folder learned from other teachers; name the same ones in the same order, or choose "
                "another --out"
            )
        kept.check_tensors(self._layout())
        self.average.load_state_dict(kept.part(AVERAGE))
        self.model.load_state_dict(kept.part(TRAINING))
        if self.losses is not None:
            self.losses.load_state_dict(kept.part(LOSSES))
        state = self.optimizer.state_dict()
        for name, value in kept.part(OPTIMIZER).items():
            number, entry = name.split(".")
            state["state"].setdefault(int(number), {})[entry] = value
        self.optimizer.load_state_dict(state)
        self.epoch, self.steps, self.best = kept.epoch, kept.steps, kept.best
        self.first_weights, self.teachers = kept.first_weights, kept.teachers
        self.commit = first_and_latest(kept.commit, self.commit)

    def check_finite(self, loss: float) -> None:
        """To be asked after an epoch with its mean loss, before it is kept. Raises Diverged."""
        if not finite(self._everything(), loss):
            raise Diverged(
                f"epoch {self.epoch + 1} came to a loss or to weights that are no numbers, and nothing of it is kept; "
                "lower the recipe's learning_rate and choose another --out"
            )

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

    def last_rate(self) -> float:
        """The learning rate of the latest step."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def seed(self) -> int:
        """From which this epoch draws."""
        return self.recipe.seed * 100_003 + self.epoch

    def _is_of(self, kept: dict[str, Any], recipe_of: Callable[[object], Schedule]) -> bool:
        """Whether a record's recipe is this run's. A setting that is newer than the record has its default there."""
        try:
            return recipe_of(kept) == self.recipe
        except RecipeInvalid:
            return False

    def _average(self) -> dict[str, Tensor]:
        return {f"{AVERAGE}{name}": value for name, value in self.average.state_dict().items()}

    def _networks(self) -> dict[str, Tensor]:
        """What there is before the first step."""
        tensors = self._average()
        tensors |= {f"{TRAINING}{name}": value for name, value in self.model.state_dict().items()}
        if self.losses is not None:
            tensors |= {f"{LOSSES}{name}": value for name, value in self.losses.state_dict().items()}
        return tensors

    def _everything(self) -> dict[str, Tensor]:
        tensors = self._networks()
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"{OPTIMIZER}{number}.{name}": value for name, value in values.items()}
        return tensors

    def _layout(self) -> Layout:
        """Of `_everything` after the first step, in which every parameter has a part."""
        layout = {name: (tuple(value.shape), value.dtype) for name, value in self._networks().items()}
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for number, parameter in enumerate(parameters):
            for name in state_names(self.optimizer):
                shape = () if name == "step" else tuple(parameter.shape)
                layout[f"{OPTIMIZER}{number}.{name}"] = (shape, parameter.dtype)
        return layout

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


def state_names(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """What an optimiser remembers of each parameter."""
    if isinstance(optimizer, torch.optim.SGD):
        return SGD_STATE if optimizer.defaults["momentum"] else ()
    return ADAM_STATE


def first_and_latest(kept: str | None, running: str | None) -> str | None:
    """The commit of a run that goes on: `first..latest` where the code is another one, however often that happens."""
    if kept is None or running is None:
        return kept or running
    first, _, latest = kept.partition("..")
    return kept if running == (latest or first) else f"{first}..{running}"


def running_commit(repository: Path = REPOSITORY) -> str | None:
    """The repository's commit, with `+changes` when code that trains differs from it.

    None where the code is in no repository of its own: one around an installed package says nothing of it.
    """
    try:
        if Path(_git(repository, "rev-parse", "--show-toplevel")).resolve() != repository.resolve():
            return None
        head = _git(repository, "rev-parse", "--short=12", "HEAD")
        changed = _git(repository, "status", "--porcelain", "--", "train", "engines", ":!engines/models")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if changed else head


def _git(repository: Path, *arguments: str) -> str:
    answer = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, timeout=10, check=True)
    return answer.stdout.strip()
