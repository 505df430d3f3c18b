"""Recipes of detectors: what cannot be followed is refused in one sentence, and what can comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from tests.train.detector.tiny import TINY  # noqa: E402 - after the skip
from train.detector.recipe import detector_recipe_from, read_detector_recipe  # noqa: E402
from train.detector.spec import draft_spec  # noqa: E402
from train.errors import RecipeInvalid  # noqa: E402

RECIPES = Path(__file__).parents[3] / "train" / "detector" / "recipes"


def test_every_shipped_recipe_can_be_read() -> None:
    names = [path.stem for path in sorted(RECIPES.glob("*.yaml"))]
    assert "face" in names
    for name in names:
        assert read_detector_recipe(RECIPES / f"{name}.yaml").name == name


def test_a_recipe_comes_back_from_what_a_checkpoint_keeps() -> None:
    assert detector_recipe_from(json.loads(json.dumps(TINY.as_dict()))) == TINY


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("epochs: 3\nmosaic: {size_px: 96}")
    recipe = read_detector_recipe(tmp_path / "short.yaml")
    assert (recipe.name, recipe.epochs, recipe.color, recipe.mosaic.size_px) == ("short", 3, "luma", 96)
    assert recipe.mosaic.most == TINY.mosaic.most


@pytest.mark.parametrize(("color", "channels"), [("luma", 1), ("bgr", 3)])
def test_the_spec_follows_from_the_recipe(color: str, channels: int) -> None:
    spec = draft_spec(detector_recipe_from({**TINY.as_dict(), "color": color}))
    assert spec.input_shape == (channels, 0, 0)
    assert (spec.color, spec.stride, len(spec.mean)) == (color, 32, channels)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epoch: 3", "unknown setting 'epoch'"),
        ("color: rgb", "unknown color 'rgb'; known: luma, bgr"),
        ("color: 1", "color must be str, got 1"),
        ("mosaic: {size_px: 100}", "size_px is a multiple of 32"),
        ("mosaic: {size: 64}", "mosaic: unknown setting 'size'"),
        ("mosaic: 64", "mosaic is a mapping of settings, got int"),
        ("epochs: 0", "must be positive"),
        ("learning_rate: 0", "must be positive"),
        ("pictures: 8\nbatch_size: 16", "at least one batch"),
        ("seed: -1", "seed is not negative"),
        ("mosaic: {rotate_deg: -5.0}", "rotate_deg is not negative"),
        ("mosaic: {most: 0}", "most is at least 1"),
        ("mosaic: {kept_visible: 2.0}", "kept_visible is a share in 0..1, got 2"),
        ("learning_rate: .nan", "learning_rate must be a finite number"),
        ("weight_decay: -1", "weight_decay must not be negative"),
        ("mosaic: {rotate_deg: .nan}", "mosaic: rotate_deg must be a finite number"),
        ("name: ../x", "a recipe's name is its file's"),
        ("ema_decay: 2", "ema_decay lies in 0..1"),
        ("- a list", "a recipe is a mapping"),
        ("{", "not a readable recipe"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(RecipeInvalid, match=sentence):
        read_detector_recipe(path)
