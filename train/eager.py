"""The network of a model folder as torch computes it, for `emostream engines bench` to compare engines with.

Only its shape matters for its speed, so the weights are those of a new network: none need to be at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from engines.base import Batch
from engines.contestant import inputs, serve
from engines.options import Options
from engines.spec import ModelSpec
from engines.store import find_model
from train.detector.network import Exported, FaceNet
from train.detector.recipe import COLORS, read_detector_recipe
from train.errors import RecipeInvalid
from train.models import MODELS
from train.models.base import Build
from train.recipe import read_recipe


def network_of(spec: ModelSpec, recipes: Path, detector_recipes: Path) -> nn.Module:
    """A new network of the recipe that a spec names. Raises RecipeInvalid when there is none by that name."""
    folder = detector_recipes if spec.task == "face" else recipes
    path = folder / f"{spec.source.recipe}.yaml"
    if not path.is_file():
        raise RecipeInvalid(
            f"{spec.name} was made by recipe {spec.source.recipe}, and there is no such one in {folder}"
        )
    if spec.task == "face":
        return Exported(FaceNet(COLORS[read_detector_recipe(path).color])).eval()
    recipe = read_recipe(path)
    return MODELS[recipe.model](Build(len(spec.labels), recipe.dropout, recipe.width), False).eval()


def take_part(name: str, recipes: Path, detector_recipes: Path, largest: int, threads: int, compiled: bool) -> None:
    """Speak as a contestant does, until stdin ends."""
    torch.set_num_threads(threads)
    model = find_model(name)

    def open_() -> Callable[[Batch], object]:
        network = network_of(model.spec, recipes, detector_recipes)
        call = torch.compile(network, dynamic=True) if compiled else network

        def infer(batch: Batch) -> object:
            with torch.inference_mode():
                return call(torch.from_numpy(batch))

        return infer

    serve(open_, inputs(model, Options(threads=threads), largest))
