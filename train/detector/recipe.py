"""What makes one training run of a detector different from another, read from a YAML file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from train.detector.mosaic import MIDDLING_PX, MosaicSettings
from train.errors import RecipeInvalid
from train.recipe import not_finite, read_settings, settings_from, wrong_in_schedule

COLORS = {"luma": 1, "bgr": 3}  # what the network sees -> its channels


@dataclass(frozen=True, slots=True)
class DetectorRecipe:
    """One run's settings. `name` is the recipe file's stem."""

    name: str
    color: str = "luma"
    epochs: int = 40
    pictures: int = 2_000  # mosaics in one epoch
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    ema_decay: float = 0.998  # per step
    seed: int = 0
    mosaic: MosaicSettings = field(default_factory=MosaicSettings)

    def __post_init__(self) -> None:
        if self.color not in COLORS:
            raise RecipeInvalid(f"recipe {self.name}: unknown color {self.color!r}; known: {', '.join(COLORS)}")
        if min(self.epochs, self.batch_size) < 1 or self.pictures < self.batch_size or self.learning_rate <= 0:
            raise RecipeInvalid(
                f"recipe {self.name}: epochs, batch_size and learning_rate must be positive, and an epoch has at "
                "least one batch of pictures"
            )
        if self.seed < 0 or not 0 <= self.ema_decay <= 1:
            raise RecipeInvalid(f"recipe {self.name}: seed is not negative, and ema_decay lies in 0..1")
        if wrong := wrong_in_schedule(self):
            raise RecipeInvalid(f"recipe {self.name}: {wrong}")
        if wrong := not_finite(self.mosaic) or _wrong_in(self.mosaic):
            raise RecipeInvalid(f"recipe {self.name}, mosaic: {wrong}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `detector_recipe_from` takes them back."""
        return asdict(self)


def _wrong_in(mosaic: MosaicSettings) -> str | None:
    """Why no training picture can be made so; None when all is well."""
    for name in ("empty", "close_up", "hidden", "cluttered", "cut_out", "figures", "kept_visible"):
        if not 0 <= (share := getattr(mosaic, name)) <= 1:
            return f"{name} is a share in 0..1, got {share}"
    if mosaic.size_px < 32 or mosaic.size_px % 32:
        return "size_px is a multiple of 32"
    if mosaic.rotate_deg < 0 or mosaic.most < 1:
        return "rotate_deg is not negative, and most is at least 1"
    if not 0 < mosaic.smallest_px <= MIDDLING_PX <= mosaic.largest_px:
        return f"smallest_px is at most {MIDDLING_PX:g} and largest_px at least"
    return None


def read_detector_recipe(path: Path) -> DetectorRecipe:
    """The recipe in a YAML file. Raises RecipeInvalid for an unknown key or a value that cannot work."""
    return detector_recipe_from(read_settings(path))


def detector_recipe_from(values: object) -> DetectorRecipe:
    """A recipe from what a YAML or JSON file holds."""
    return settings_from(DetectorRecipe, values, mosaic=MosaicSettings)
