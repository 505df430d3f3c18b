"""Cross-validation: one network for each fold, trained without it and asked about it.

There is nothing to choose an epoch on, and the held-out images must not be: what is measured are the averaged weights
after the last epoch. Folds do not depend on the recipe, so that two recipes are asked about the same images.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from engines.spec import sha256_of
from train.data import Splits, folds
from train.data.folding import Rows
from train.data.records import unsplit
from train.denormals import denormals_flushed
from train.errors import DataMissing, RecipeInvalid
from train.fit import Options, new_run, train_epoch, wanted
from train.fold_results import FoldResult, FoldResults, rounded
from train.predict import predict_torch
from train.recipe import Recipe
from train.spec import draft_spec

By = Literal["subject", "image"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is held out, and how it is carried out."""

    by: By = "subject"
    count: int = 10  # folds
    start_from: Path | None = None  # a checkpoint whose weights every fold begins with
    stop_after: int | None = None  # end this call after so many folds


@denormals_flushed()
def cross_validate(
    recipe: Recipe, data: Splits, folder: Path, console: Console, plan: Plan | None = None, called: str = ""
) -> FoldResults:
    """Train and measure every fold that `folder` does not hold yet. `called` is what the user calls the data.

    Raises CheckpointInvalid when the folder's folds are of another recipe, data, plan or start.
    """
    plan = plan or Plan()
    _check(recipe, data, plan)
    parts = folds(data.training, plan.count, plan.by)
    results = _none_yet(recipe, data, plan, called, [held for _, held in parts]).resumed(folder)
    if results.folds:
        console.print(f"going on after fold {len(results.folds)}/{plan.count}")
    begin = len(results.folds)
    end = plan.count if plan.stop_after is None else min(plan.count, begin + plan.stop_after)
    for number, (training, held) in enumerate(parts[begin:end], start=begin + 1):
        results = results.plus(_fold(recipe, data, training, held, plan, console))
        results.write(folder)
        left_min = results.folds[-1].wall_s * (plan.count - number) / 60
        console.print(
            f"fold {number}/{plan.count}  accuracy {results.accuracy_by_fold()[-1]:.2%} of {len(held)} images  "
            f"so far {results.pooled().accuracy:.2%}  {results.images_per_s():.0f} images/s  {left_min:.1f} min left",
            soft_wrap=True,
        )
    return results


def _check(recipe: Recipe, data: Splits, plan: Plan) -> None:
    if len(data.public) or len(data.private):
        raise DataMissing("this data has test images of its own; cross-validation is for data that nobody has split")
    if recipe.teacher_weight:
        raise RecipeInvalid(f"recipe {recipe.name}: there are no teachers in cross-validation; set teacher_weight: 0")
    if recipe.first_stage and not plan.start_from:
        raise RecipeInvalid(f"recipe {recipe.name}: name a checkpoint of {recipe.first_stage} by --start")


def _fold(recipe: Recipe, data: Splits, training: Rows, held: Rows, plan: Plan, console: Console) -> FoldResult:
    """Train without the rows `held`, and ask about them."""
    started_s = time.monotonic()
    options = Options(start_from=plan.start_from)
    seen = unsplit(data.training.take(training), data.classes, data.sha256)
    run = new_run(recipe, seen, options, recipe.seeded)
    targets = wanted(recipe, seen.training, options.teachers)
    begun_s, images = time.monotonic(), 0
    while run.epoch < recipe.epochs:
        images += train_epoch(run, recipe, seen.training, targets, console, options.device).images
        run.epoch += 1
    training_s = round(time.monotonic() - begun_s, 3)
    logits = predict_torch(run.average, data.training.images[held], draft_spec(recipe))
    wall_s = round(time.monotonic() - started_s, 3)
    return FoldResult(held, rounded(logits), images, training_s, wall_s, run.commit)


def _none_yet(recipe: Recipe, data: Splits, plan: Plan, called: str, held: list[Rows]) -> FoldResults:
    asked: dict[str, Any] = {
        "recipe": recipe.as_dict(),
        "data": _digest(",".join(data.classes).encode(), data.training.images, data.training.labels),
        "folds": _digest(*held, np.array([len(rows) for rows in held])),
        "start": plan.start_from and sha256_of(plan.start_from),
    }
    names = {
        "recipe": recipe.name,
        "data": called,
        "by": plan.by,
        "folds": plan.count,
        "start": plan.start_from and str(plan.start_from),
    }
    return FoldResults(asked, names, data.classes, data.training.labels)


def _digest(*parts: bytes | NDArray[Any]) -> str:
    """SHA-256. Not of the data's file, since one file gives other faces when they are cut out otherwise."""
    return hashlib.sha256(b"".join(bytes(part) for part in parts)).hexdigest()
