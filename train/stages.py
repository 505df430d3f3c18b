"""What a recipe builds on: the runs of other recipes, which come first.

A second stage begins with the weights of its first; a student learns what its teachers answer. Such recipes name the
others, so that one command makes all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train.checkpoint import read_record
from train.errors import RecipeInvalid
from train.options import recipe_path
from train.recipe import Recipe, read_recipe
from train.run import BEST, LAST


@dataclass(frozen=True, slots=True)
class Stage:
    """One run, and the checkpoints that it needs."""

    recipe: Recipe
    folder: Path
    start: Path | None
    teachers: tuple[Path, ...]

    def is_finished(self) -> bool:
        """Raises CheckpointInvalid when its last checkpoint cannot be believed."""
        last = self.folder / LAST
        if not last.is_file() or not (self.folder / BEST).is_file():
            return False
        return int(read_record(last).get("epoch", 0)) >= self.recipe.epochs


def stages(
    file: Path, recipes: Path, out: Path | None = None, start: Path | None = None, teachers: Sequence[Path] = ()
) -> list[Stage]:
    """The runs that the recipe in `file` asks for, in order, its own the last. Of the others only unfinished ones.

    `start` and `teachers` stand in for what the recipe names. Runs lie beside each other, each in a folder of its
    recipe's name; only that of `file` may be called otherwise, by `out`. A recipe that is named is looked for beside
    the one that names it, then in `recipes`. Raises RecipeInvalid when it is missing, or when two wait for each other.
    """
    recipe = read_recipe(file)
    folder = out or Path("runs") / recipe.name
    named = _stage(recipe, folder.parent)
    before: dict[str, Stage] = {}
    for name in (*_one(recipe.first_stage if not start else ""), *(recipe.teachers if not teachers else ())):
        _collect(name, file, recipes, folder.parent, (recipe.name,), before)
    return [*before.values(), Stage(recipe, folder, start or named.start, tuple(teachers) or named.teachers)]


def _collect(
    name: str, file: Path, recipes: Path, runs: Path, waiting: tuple[str, ...], found: dict[str, Stage]
) -> None:
    """Put the run of that name into `found`, behind those that it needs itself; `file` is the recipe that names it."""
    if name in waiting:
        raise RecipeInvalid(f"recipes wait for each other: {' -> '.join((*waiting, name))}")
    beside = file.with_name(f"{name}.yaml")
    path = beside if beside.is_file() else recipe_path(Path(name), recipes)
    stage = _stage(read_recipe(path), runs)
    if name in found or stage.is_finished():
        return
    for other in (*_one(stage.recipe.first_stage), *stage.recipe.teachers):
        _collect(other, path, recipes, runs, (*waiting, name), found)
    found[name] = stage


def _stage(recipe: Recipe, runs: Path) -> Stage:
    start = runs / recipe.first_stage / BEST if recipe.first_stage else None
    return Stage(recipe, runs / recipe.name, start, tuple(runs / name / BEST for name in recipe.teachers))


def _one(name: str) -> tuple[str, ...]:
    return (name,) if name else ()
