"""Recipe: every choice that makes one training run different from another, read from a YAML file."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from train.augment import Augment
from train.data.pictures import SIDE_PX
from train.errors import RecipeInvalid
from train.models import MODELS
from train.models.base import MAX_WIDTH

Kind = TypeVar("Kind")
GROWTH_PX = 8
NAME = re.compile(r"\w[\w.+-]*")  # a run's folder is called so
MAX_SEED = 2**32 - 1
# settings that there were, and the value at which they changed nothing: records of runs still have them
RETIRED = {"teacher_temperature": 1.0}
CHOICES = {
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("cosine", "step"),
    "balance": ("none", "weights", "oversample"),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One run's settings. `name` is the recipe file's stem."""

    name: str
    model: str
    seeded: bool = True  # from ImageNet weights
    epochs: int = 25
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.05
    votes_weight: float = 0.0  # share of the FER+ votes in the targets, 0..1
    dropout: float = 0.2
    width: float = 1.0  # multiplies the network's channels
    ema_decay: float = 0.998  # per step
    seed: int = 0
    optimizer: str = "adamw"  # adamw, adam or sgd
    momentum: float = 0.9  # of sgd
    schedule: str = "cosine"  # cosine, or step: times step_factor every step_epochs
    step_epochs: float = 15.0
    step_factor: float = 0.94
    balance: str = "none"  # weights: rare classes count more; oversample: they are drawn again
    center_weight: float = 0.0  # share of the center loss in the whole
    center_rate: float = 0.001  # at which centres follow their class
    l2_last: float = 0.0  # times the squared weights of the fully connected layers of a network that has them
    # the recipe whose best weights a run begins with, and those whose best networks answer the training images. Two
    # recipes are the same without them: a run keeps the digests of what it was built on
    first_stage: str = field(default="", compare=False)
    teachers: tuple[str, ...] = field(default=(), compare=False)
    teacher_weight: float = 0.0  # share of those answers in the targets
    first_side_px: int = SIDE_PX  # of the pictures at first, in steps of GROWTH_PX to all of SIDE_PX
    grown_after: float = 0.0  # share of the epochs after which pictures have their whole side
    augment: Augment = field(default_factory=Augment)

    def side_px(self, epoch: int) -> int:
        """Height and width of the pictures in an epoch, counted from 0.

        Small pictures first cost less and teach nearly as much: Tan and Le 2021, "EfficientNetV2", section 4,
        https://arxiv.org/abs/2104.00298.
        """
        sizes = (SIDE_PX - self.first_side_px) // GROWTH_PX
        growing_epochs = self.grown_after * self.epochs
        if epoch >= growing_epochs:
            return SIDE_PX
        return self.first_side_px + GROWTH_PX * int(sizes * epoch / growing_epochs)

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise RecipeInvalid(f"recipe {self.name}: unknown model {self.model!r}; known: {', '.join(MODELS)}")
        if min(self.epochs, self.batch_size) < 1 or self.learning_rate <= 0:
            raise RecipeInvalid(f"recipe {self.name}: epochs, batch_size and learning_rate must be positive")
        if not 0 < self.width <= MAX_WIDTH:
            raise RecipeInvalid(
                f"recipe {self.name}: width must be above 0 and at most {MAX_WIDTH:g}, got {self.width}"
            )
        if wrong := wrong_in_schedule(self) or self._wrong():
            raise RecipeInvalid(f"recipe {self.name}: {wrong}")

    def _wrong(self) -> str | None:
        """Why nobody can train so; None when all is well."""
        for name in (
            "votes_weight",
            "label_smoothing",
            "dropout",
            "ema_decay",
            "momentum",
            "teacher_weight",
            "grown_after",
        ):
            if not 0 <= (share := getattr(self, name)) <= 1:
                return f"{name} must lie in 0..1, got {share}"
        for name in ("center_weight", "center_rate", "l2_last"):
            if (value := getattr(self, name)) < 0:
                return f"{name} must not be negative, got {value}"
        for name, known in CHOICES.items():
            if (chosen := getattr(self, name)) not in known:
                return f"unknown {name} {chosen!r}; known: {', '.join(known)}"
        if self.seed < 0 or min(self.step_epochs, self.step_factor) <= 0:
            return "seed must not be negative, step_epochs and step_factor must be positive"
        if wrong := self._wrong_in_growing() or self._wrong_in_names():
            return wrong
        if self.center_weight and self.augment.mixup:
            return "the center loss knows no blended classes; set augment.mixup or center_weight to 0"
        return None

    def _wrong_in_growing(self) -> str | None:
        if self.first_side_px not in (sides := range(GROWTH_PX * 2, SIDE_PX + 1, GROWTH_PX)):
            return f"first_side_px must be one of {', '.join(map(str, sides))}, got {self.first_side_px}"
        if self.first_side_px == SIDE_PX or (self.grown_after > 0 and self.side_px(self.epochs - 1) == SIDE_PX):
            return None
        return (
            f"first_side_px {self.first_side_px} needs a grown_after above 0 that leaves an epoch at {SIDE_PX} "
            f"pixels, got {self.grown_after:g} of {self.epochs} epochs"
        )

    def _wrong_in_names(self) -> str | None:
        if self.teachers and not self.teacher_weight:
            return "it names teachers, but their teacher_weight is 0"
        wrong = [name for name in (*self.teachers, self.first_stage or "none") if not NAME.fullmatch(name)]
        return f"first_stage and teachers are names of recipes, got {wrong[0]!r}" if wrong else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `recipe_from` takes them back."""
        return asdict(self)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file."""
    return recipe_from(read_settings(path))


def recipe_from_record(values: object) -> Recipe:
    """The recipe that a checkpoint keeps, perhaps written when there were other settings."""
    if isinstance(values, dict):
        values = {name: value for name, value in values.items() if RETIRED.get(name, math.nan) != value}
    return recipe_from(values)


def recipe_from(values: object) -> Recipe:
    """A Recipe from what a YAML or JSON file holds, each setting checked against its field's type."""
    return settings_from(Recipe, values, augment=Augment)


def read_settings(path: Path) -> object:
    """What a recipe's file holds, and its stem as the name, which is nothing that the file may set."""
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeInvalid(f"{path} is not a readable recipe ({error}); see train/recipes/") from None
    if not isinstance(values, dict):
        return values
    if "name" in values:
        raise RecipeInvalid(f"{path}: a recipe's name is its file's; leave the setting out and rename the file")
    return {"name": path.stem, **values}


def wrong_in_schedule(recipe: Any) -> str | None:
    """Why nobody can train by the settings that recipes of every kind have; None when all is well."""
    if not NAME.fullmatch(recipe.name):
        return "a name is letters, digits and any of _ . + -, and begins with no sign; rename the file"
    if wrong := not_finite(recipe):
        return wrong
    for name in ("weight_decay", "warmup_epochs"):
        if (value := getattr(recipe, name)) < 0:
            return f"{name} must not be negative, got {value}"
    return f"seed must be at most {MAX_SEED}, got {recipe.seed}" if recipe.seed > MAX_SEED else None


def not_finite(settings: Any) -> str | None:
    """Which number of a dataclass is none, or too large for one; None when all are numbers."""
    for item in fields(settings):
        value = getattr(settings, item.name)
        if item.type == "float" and not abs(value) <= sys.float_info.max:
            return f"{item.name} must be a finite number, got {value}"
    return None


def settings_from(kind: type[Kind], values: object, **parts: type) -> Kind:
    """A recipe of any kind. `parts` are the settings that are mappings themselves, by name.

    Unknown keys are errors, so that a typing mistake is not a silent default.
    """
    if not isinstance(values, dict):
        raise RecipeInvalid(f"a recipe is a mapping of settings, got {type(values).__name__}; see train/recipes/")
    where = f"recipe {values.get('name')}"
    inner = {name: values.get(name, {}) for name in parts}
    for name, settings in inner.items():
        if not isinstance(settings, dict):
            raise RecipeInvalid(f"{where}: {name} is a mapping of settings, got {type(settings).__name__}")
        _check_types(parts[name], settings, f"{where}, {name}")
    _check_types(kind, {key: value for key, value in values.items() if key not in parts}, where)
    try:
        built = {name: parts[name](**settings) for name, settings in inner.items()}
    except RecipeInvalid as error:
        raise RecipeInvalid(f"{where}, {', '.join(parts)}: {error}") from None
    listed = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    try:
        return kind(**{**values, **listed, **built})
    except TypeError as error:  # a setting without default is missing
        raise RecipeInvalid(f"{where}: {error}; see train/recipes/") from None


def _check_types(kind: type, values: dict[str, Any], where: str) -> None:
    types = {item.name: str(item.type) for item in fields(kind)}
    accepted = {"str": str, "bool": bool, "int": int, "float": (int, float), "tuple[str, ...]": (list, tuple)}
    for key, value in values.items():
        if key not in types:
            raise RecipeInvalid(f"{where}: unknown setting {key!r}; known: {', '.join(types)}")
        wrong_bool = isinstance(value, bool) and types[key] != "bool"  # a bool is an int to isinstance
        if wrong_bool or not isinstance(value, accepted[types[key]]):
            wanted = "a list of names" if types[key].startswith("tuple") else types[key]
            raise RecipeInvalid(f"{where}: {key} must be {wanted}, got {value!r}")
        if isinstance(value, list | tuple) and not all(isinstance(item, str) for item in value):
            raise RecipeInvalid(f"{where}: {key} must be a list of names, got {value!r}")
