"""The networks in torch that `emostream engines bench` compares engines with, and its diagram."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")
pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[train]'")

from engines.spec import ModelSpec  # noqa: E402
from engines.store import find_model  # noqa: E402
from tests.train.test_evaluate import fonts  # noqa: E402, F401 - a fixture
from train.cli import RECIPES  # noqa: E402
from train.detector.cli import RECIPES as DETECTOR_RECIPES  # noqa: E402
from train.eager import network_of  # noqa: E402
from train.errors import RecipeInvalid  # noqa: E402
from train.plots import speed_png  # noqa: E402


def spec_of(name: str) -> ModelSpec:
    return find_model(name, environment={}, download=False).spec


@pytest.mark.parametrize("name", ["emotion", "emotion_int8"])
def test_a_shipped_emotion_network_has_its_recipe(name: str) -> None:
    network = network_of(spec_of(name), RECIPES, DETECTOR_RECIPES)
    assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 7)
    assert not network.training


def test_so_has_the_detector() -> None:
    spec = spec_of("face")
    outputs = network_of(spec, RECIPES, DETECTOR_RECIPES)(torch.zeros(1, 1, 64, 96))
    assert len(outputs) == len(spec.outputs)
    assert outputs[0].shape == (1, 8 * 12, 1)  # a cell for each 8x8 pixels


def test_a_recipe_that_is_gone_is_named() -> None:
    spec = spec_of("emotion")
    gone = spec.model_copy(update={"source": spec.source.model_copy(update={"recipe": "older"})})
    with pytest.raises(RecipeInvalid, match="emotion was made by recipe older, and there is no such one in"):
        network_of(gone, RECIPES, DETECTOR_RECIPES)


@pytest.mark.usefixtures("fonts")
def test_the_diagram_is_a_picture(tmp_path: Path) -> None:
    row = {"engine": "some engine", "precision": "fp32", "build_s": 0.1, "ms_per_sample": {"1": 2.0, "2": 1.5}}
    speed_png({"rows": [row, {**row, "build_s": None}], "model": "m", "threads": 1, "machine": "x"}, tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes()[:4] == b"\x89PNG"
