"""What a recipe builds on: the runs of other recipes, which come first.

A second stage begins with the weights of its first; a student learns what its teachers answer. Such recipes name the
others, so that one command makes all of them. A run that is there is looked at before anything is trained: hours later
would be late to hear that it is another recipe's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from train.checkpoint import read_record, recipe_in
from train.data import Fer2013
from train.errors import CheckpointInvalid, RecipeInvalid
from train.fit import Options, fit
from train.recipe import Recipe, read_recipe
from train.run import BEST, LAST

RUNS = Path("runs")


@dataclass(frozen=True, slots=True)
class Stage:
    """One run, and the checkpoints that it needs."""

    recipe: Recipe
    folder: Path
    data_sha256: str
    start: Path | None = None
    teachers: tuple[Path, ...] = ()

    def epochs_done(self) -> int:
        """All of them also where `best` is alone: that is what one takes from one machine to another.

        Raises CheckpointInvalid when the folder holds another recipe's run, or one on other data.
        """
        last, best = self.folder / LAST, self.folder / BEST
        if not last.exists() and not best.exists():
            return 0
        record = read_record(last if last.exists() else best)
        if recipe_in(record) != self.recipe or record.get("data_sha256") != self.data_sha256:
            raise CheckpointInvalid(
                f"{self.folder} holds a run of another recipe {self.recipe.name}, or on other data; remove it, or "
                "choose another --out, or name what to build on by --start and --teacher"
            )
        if not last.exists():
            return self.recipe.epochs
        epoch = record.get("epoch")
        if type(epoch) is not int:
            raise CheckpointInvalid(f"{last} does not say after which epoch it was written; remove that run")
        return epoch

    def to_do(self) -> int:
        """Epochs."""
        return self.recipe.epochs - self.epochs_done()


def stages(
    file: Path,
    recipes: Path,
    data_sha256: str,
    out: Path | None = None,
    start: Path | None = None,
    teachers: Sequence[Path] = (),
) -> list[Stage]:
    """The runs that the recipe in `file` asks for, in order, its own the last. Of the others only unfinished ones.

    `start` and `teachers` stand in for what the recipe names. Runs lie in RUNS, each in a folder of its recipe's name;
    that of `file` in `out`, if given. A recipe that is named is looked for beside the one that names it, then in
    `recipes`. A run that has begun needs no first stage any more, and its teachers as they were.

    Raises RecipeInvalid when a recipe is missing, does not fit the one that names it, or waits for it, and
    CheckpointInvalid when a run that is there is not the recipe's.
    """
    recipe = read_recipe(file)
    own = Stage(recipe, out or RUNS / recipe.name, data_sha256, start, tuple(teachers) or _bests(recipe.teachers))
    finder = _Finder(recipes, data_sha256)
    if not own.epochs_done():
        if recipe.first_stage and not start:
            own = finder.begun_with_first_stage(own, file, ())
        for name in recipe.teachers if not teachers else ():
            finder.find(name, file, (recipe.name,))
    return [*finder.found.values(), own]


def run_all(
    asked: Sequence[Stage], data: Fer2013, console: Console, device: str = "cpu", stop_after: int | None = None
) -> None:
    """Train the runs in order, `stop_after` epochs in all, or to the end."""
    left = stop_after
    for number, stage in enumerate(asked, start=1):
        if len(asked) > 1:
            console.print(f"run {number} of {len(asked)}: {stage.recipe.name}")
        if to_do := stage.to_do():
            fit(stage.recipe, data, stage.folder, console, Options(device, stage.start, stage.teachers, left))
        console.print(f"best checkpoint: {stage.folder / BEST}")
        left = None if left is None else left - to_do
        if left is not None and left <= 0:
            if names := [later.recipe.name for later in asked[number - 1 :] if later.to_do()]:
                console.print(f"stopped; still to train: {', '.join(names)}")
            return


@dataclass(frozen=True, slots=True)
class _Finder:
    """The unfinished runs that others name, each behind those that it needs itself."""

    recipes: Path
    data_sha256: str
    found: dict[str, Stage] = field(default_factory=dict)  # by the name of the recipe

    def find(self, name: str, file: Path, waiting: tuple[str, ...]) -> Recipe:
        """The recipe `name`, which the one in `file` needs; its run is in `found` afterwards, if it is unfinished."""
        if name in waiting:
            raise RecipeInvalid(f"recipes wait for each other: {' -> '.join((*waiting, name))}")
        path = self._path(name, file)
        recipe = read_recipe(path)
        stage = Stage(recipe, RUNS / name, self.data_sha256, teachers=_bests(recipe.teachers))
        if name in self.found or not stage.to_do():
            return recipe
        if not stage.epochs_done():
            if recipe.first_stage:
                stage = self.begun_with_first_stage(stage, path, waiting)
            for other in recipe.teachers:
                self.find(other, path, (*waiting, name))
        self.found[name] = stage
        return recipe

    def begun_with_first_stage(self, stage: Stage, file: Path, waiting: tuple[str, ...]) -> Stage:
        """The same, beginning with the best weights of its recipe's first stage."""
        recipe = stage.recipe
        first = self.find(recipe.first_stage, file, (*waiting, recipe.name))
        if (first.model, first.width) != (recipe.model, recipe.width):
            raise RecipeInvalid(
                f"recipe {recipe.name} is a {recipe.model} of width {recipe.width:g}, its first stage {first.name} a "
                f"{first.model} of width {first.width:g}; they must be equal"
            )
        return Stage(recipe, stage.folder, stage.data_sha256, RUNS / recipe.first_stage / BEST, stage.teachers)

    def _path(self, name: str, file: Path) -> Path:
        for path in (file.with_name(f"{name}.yaml"), self.recipes / f"{name}.yaml"):
            if path.is_file():
                return path
        raise RecipeInvalid(f"{file} builds on {name}, but there is no {name}.yaml beside it or in {self.recipes}")


def _bests(names: Sequence[str]) -> tuple[Path, ...]:
    return tuple(RUNS / name / BEST for name in names)
