"""What `last.safetensors` says of a run, checked before any of it is believed: the file may be broken, or not ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.checkpoint import MODEL_PREFIX, read_checkpoint
from train.errors import CheckpointInvalid

# first parts of tensors' names
AVERAGE, TRAINING, LOSSES, OPTIMIZER = MODEL_PREFIX, "training.", "losses.", "optimizer."

Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]  # name of a tensor -> its shape and type
Facts = dict[str, Any]  # of a teacher: see `teachers.facts_of`


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A run after a finished epoch; each field has the type that it says."""

    tensors: dict[str, Tensor]
    recipe: dict[str, Any]
    epoch: int  # finished ones, at least 1
    steps: int  # of the optimiser, at least 1
    best: float  # 0..1
    data_sha256: str
    first_weights: str | None
    teachers: tuple[Facts, ...]
    commit: str | None

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one of the prefixes above, by the rest of their names."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}

    def check_tensors(self, wanted: Layout) -> None:
        """Raises CheckpointInvalid unless the tensors are just those of `wanted`, and all their numbers are finite."""
        for name in sorted(wanted.keys() | self.tensors.keys()):
            if why := _unlike(name, self.tensors.get(name), wanted.get(name)):
                raise refusal(f"is of another network or optimiser: {why}")
        for name, value in self.tensors.items():
            if not bool(value.isfinite().all()):
                raise refusal(f"holds numbers that are not finite, in {name}")
            if name.startswith(OPTIMIZER) and name.endswith(".step") and int(value) != self.steps:
                raise refusal(f"counts {self.steps} steps, but {int(value)} in {name}")


def read_kept(last: Path) -> Kept:
    """The run that a file holds. Raises CheckpointInvalid when it holds none, or when its record is not one of ours."""
    checkpoint = read_checkpoint(last)
    try:
        return Kept(checkpoint.tensors, **_checked(checkpoint.record))
    except ValueError as error:
        raise refusal(f"cannot be gone on with: its record has {error}") from None


def refusal(what: str) -> CheckpointInvalid:
    """A sentence about the run in the folder, and what to do."""
    return CheckpointInvalid(f"the run in this folder {what}; choose another --out, or remove it")


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of Kept. Raises ValueError with the field that is missing or wrong."""
    metrics = _typed(record, "metrics", dict)
    best = next(iter(metrics.values()), None)
    if len(metrics) != 1 or type(best) not in (int, float) or not 0 <= best <= 1:  # also without NaN
        raise ValueError("no metric in 0..1")
    teachers = _typed(record, "teachers", list) if "teachers" in record else []
    if not all(isinstance(facts, dict) and isinstance(facts.get("sha256"), str) for facts in teachers):
        raise ValueError("teachers without a sha256")
    return {
        "recipe": _typed(record, "recipe", dict),
        "epoch": _count(record, "epoch"),
        "steps": _count(record, "steps"),
        "best": float(best),
        "data_sha256": _typed(record, "data_sha256", str),
        "first_weights": _text_or_none(record, "first_weights"),
        "teachers": tuple(teachers),
        "commit": _text_or_none(record, "commit"),
    }


def _typed(record: dict[str, Any], name: str, kind: type) -> Any:
    if type(value := record.get(name)) is not kind:  # a bool is an int to isinstance
        raise ValueError(f"no {name} of type {kind.__name__}")
    return value


def _count(record: dict[str, Any], name: str) -> int:
    value: int = _typed(record, name, int)
    if value < 1:
        raise ValueError(f"{name} {value}")
    return value


def _text_or_none(record: dict[str, Any], name: str) -> str | None:
    value: str | None = None if record.get(name) is None else _typed(record, name, str)
    return value


def _unlike(name: str, found: Tensor | None, wanted: tuple[tuple[int, ...], torch.dtype] | None) -> str | None:
    """How a tensor is not the one that is wanted; None when it is."""
    if found is None:
        return f"it lacks {name}"
    if wanted is None:
        return f"it has {name}"
    shape, dtype = wanted
    if tuple(found.shape) == shape and found.dtype == dtype:
        return None
    return f"{name} is {tuple(found.shape)} {found.dtype}, not {shape} {dtype}"


def finite(values: Mapping[str, Tensor], loss: float) -> bool:
    """Whether a loss and all numbers in tensors are finite."""
    return math.isfinite(loss) and all(bool(value.isfinite().all()) for value in values.values())
