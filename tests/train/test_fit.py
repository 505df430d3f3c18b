"""Training itself: a run that is stopped and started again ends as one that never stopped; recipes are checked."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from rich.console import Console  # noqa: E402 - after the skip

from tests.train.synthetic import write_archive  # noqa: E402
from train.augment import Augment  # noqa: E402
from train.checkpoint import read_checkpoint  # noqa: E402
from train.data import Fer2013, load_fer2013  # noqa: E402
from train.errors import CheckpointInvalid, RecipeInvalid  # noqa: E402
from train.fit import Options, epoch_rows, fit, shrunk  # noqa: E402
from train.predict import open_network  # noqa: E402
from train.recipe import Recipe, read_recipe, recipe_from  # noqa: E402
from train.run import LAST, cosine_rate  # noqa: E402

RECIPES = Path(__file__).parents[2] / "train" / "recipes"
TINY = Recipe("tiny", "mobilenet_v1", seeded=False, epochs=3, batch_size=16, ema_decay=0.5, seed=5)


@pytest.fixture
def data(tmp_path: Path) -> Fer2013:
    write_archive(tmp_path / "fer.npz", training=32)
    return load_fer2013(tmp_path / "fer.npz")


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO())


def test_a_run_that_was_stopped_ends_with_the_same_weights(tmp_path: Path, data: Fer2013, console: Console) -> None:
    fit(TINY, data, tmp_path / "whole", console)
    fit(TINY, data, tmp_path / "parts", console, Options(stop_after=1))
    assert read_checkpoint(tmp_path / "parts" / LAST).record["epoch"] == 1
    fit(TINY, data, tmp_path / "parts", console)

    whole, parts = (read_checkpoint(tmp_path / name / LAST) for name in ("whole", "parts"))
    assert whole.record == parts.record
    assert whole.tensors.keys() == parts.tensors.keys()
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, parts.tensors[name]), name


def test_a_run_is_not_continued_with_another_recipe(tmp_path: Path, data: Fer2013, console: Console) -> None:
    fit(TINY, data, tmp_path / "run", console, Options(stop_after=1))
    other = recipe_from({**TINY.as_dict(), "learning_rate": 0.5})
    with pytest.raises(CheckpointInvalid, match="another recipe"):
        fit(other, data, tmp_path / "run", console)


def changed(augment: Augment, images: torch.Tensor) -> torch.Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return augment(images)


def test_augmented_faces_keep_shape_and_range_and_repeat_exactly() -> None:
    images = torch.rand(16, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, again = (changed(Augment(), images) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert -1.0 <= first.min() <= first.max() <= 1.0
    assert not torch.equal(first, images)


def test_everything_turned_off_is_at_most_a_flip() -> None:
    images = torch.rand(16, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    still = Augment(shift=0, rotate_deg=0, scale=0, contrast=0, brightness=0, soften=0, erase=0)
    for before, after in zip(images, changed(still, images), strict=True):
        assert min((after - before).abs().max(), (after - before.flip(-1)).abs().max()) < 1e-4


def test_blended_pictures_have_blended_targets() -> None:
    images = torch.stack([torch.full((1, 8, 8), value) for value in (-1.0, 1.0)])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        mixed, targets = Augment(mixup=1.0).mix(images, torch.eye(2))
    np.testing.assert_allclose((mixed[:, 0, 0, 0].numpy() + 1) / 2, targets[:, 1].numpy(), atol=1e-6)
    assert 0 < float(targets[0, 1]) < 1
    assert Augment().mix(images, targets) == (images, targets)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "schedule": "step", "step_epochs": 1.0, "center_weight": 0.001},
        {"optimizer": "adam", "model": "deep_emotion", "l2_last": 0.01, "balance": "weights"},
        {"augment": Augment(mixup=0.2), "balance": "oversample"},
        {"first_side_px": 40, "grown_after": 0.5},
    ],
)
def test_every_kind_of_run_goes_on_as_if_it_had_not_stopped(
    tmp_path: Path, data: Fer2013, console: Console, settings: dict[str, Any]
) -> None:
    recipe = replace(TINY, epochs=2, **settings)
    fit(recipe, data, tmp_path / "whole", console)
    fit(recipe, data, tmp_path / "parts", console, Options(stop_after=1))
    fit(recipe, data, tmp_path / "parts", console)
    whole, parts = (read_checkpoint(tmp_path / name / LAST) for name in ("whole", "parts"))
    assert whole.tensors.keys() == parts.tensors.keys()
    assert any(name.startswith("losses.") for name in whole.tensors) == bool(
        recipe.center_weight or recipe.balance == "weights"
    )
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, parts.tensors[name]), name


def test_pictures_grow_to_their_whole_side() -> None:
    recipe = replace(TINY, epochs=10, first_side_px=32, grown_after=0.6)
    assert [recipe.side_px(epoch) for epoch in range(10)] == [32, 32, 32, 40, 40, 40, 48, 48, 48, 48]
    assert {replace(TINY, epochs=10).side_px(epoch) for epoch in range(10)} == {48}
    assert {replace(recipe, grown_after=0.0).side_px(epoch) for epoch in range(10)} == {48}


def test_smaller_pictures_are_the_same_pictures() -> None:
    even = torch.full((2, 1, 48, 48), 0.25)
    assert shrunk(even, 48) is even
    assert torch.allclose(shrunk(even, 32), torch.full((2, 1, 32, 32), 0.25))


def test_a_network_of_one_size_is_not_trained_on_smaller_pictures(
    tmp_path: Path, data: Fer2013, console: Console
) -> None:
    recipe = replace(TINY, model="deep_emotion", first_side_px=32, grown_after=0.5)
    with pytest.raises(RecipeInvalid, match="deep_emotion takes no smaller pictures; leave first_side_px out"):
        fit(recipe, data, tmp_path / "run", console)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_trains_what_a_processor_can_open(tmp_path: Path, data: Fer2013, console: Console) -> None:
    best = fit(replace(TINY, center_weight=0.001), data, tmp_path / "run", console, Options(device="cuda"))
    assert np.isfinite(open_network(best).predict(data.public.images)).all()


def test_a_run_begins_with_anothers_weights_and_learns_from_teachers(
    tmp_path: Path, data: Fer2013, console: Console
) -> None:
    first = fit(TINY, data, tmp_path / "first", console, Options(stop_after=1))
    taught = replace(TINY, name="taught", teacher_weight=0.5)
    with pytest.raises(RecipeInvalid, match="give --teacher"):
        fit(taught, data, tmp_path / "second", console)
    best = fit(taught, data, tmp_path / "second", console, Options(start_from=first, teachers=(first,), stop_after=1))
    assert read_checkpoint(best).record["first_weights"] is not None
    assert list((tmp_path / "second").glob("events.*"))  # for TensorBoard
    other = fit(replace(TINY, seed=6), data, tmp_path / "other", console, Options(stop_after=1))
    with pytest.raises(CheckpointInvalid, match="learned from other teachers"):
        fit(taught, data, tmp_path / "second", console, Options(teachers=(other,)))
    fit(taught, data, tmp_path / "second", console, Options(teachers=(first,)))


def test_rare_classes_are_drawn_again(data: Fer2013) -> None:
    recipe = replace(TINY, balance="oversample", batch_size=1)
    rows = np.concatenate(epoch_rows(recipe, data.training, np.random.default_rng(0)))
    counts = np.bincount(data.training.labels[rows])
    assert len(set(counts[counts > 0].tolist())) == 1


def test_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [cosine_rate(TINY, epoch) for epoch in (0.0, 0.5, 1.0, 2.0, 3.0)]
    assert rates[0] < rates[1] < rates[2] == TINY.learning_rate
    assert rates[2] > rates[3] > rates[4] == pytest.approx(0.0, abs=1e-12)


def test_every_shipped_recipe_can_be_read() -> None:
    names = [read_recipe(path).name for path in sorted(RECIPES.glob("*.yaml"))]
    assert {"emotion", "mobilenet_v1_center", "deep_emotion", "residual_cbam"} <= set(names)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: mobilenet_v1\nepoch: 3", "unknown setting 'epoch'"),
        ("model: resnet", "unknown model 'resnet'; known: mobilenet_v1"),
        ("model: mobilenet_v1\nepochs: many", "epochs must be int, got 'many'"),
        ("model: mobilenet_v1\nepochs: true", "epochs must be int, got True"),
        ("model: mobilenet_v1\nepochs: 0", "must be positive"),
        ("model: mobilenet_v1\nvotes_weight: 3", "votes_weight must lie in 0..1, got 3"),
        ("model: mobilenet_v1\nseed: -1", "seed must not be negative"),
        ("model: mobilenet_v1\ncenter_weight: -1", "center_weight must not be negative"),
        ("model: mobilenet_v1\noptimizer: lion", "unknown optimizer 'lion'; known: adamw, adam, sgd"),
        ("model: mobilenet_v1\nstep_epochs: 0", "must be positive"),
        ("model: mobilenet_v1\ncenter_weight: 1.0\naugment: {mixup: 0.2}", "knows no blended classes"),
        ("model: mobilenet_v1\naugment: {flap: 1}", "augment: unknown setting 'flap'"),
        ("model: mobilenet_v1\naugment: [1]", "augment is a mapping of settings, got list"),
        ("- a list", "a recipe is a mapping"),
        ("{", "not a readable recipe"),
        ("epochs: 3", "model"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(RecipeInvalid, match=sentence):
        read_recipe(path)
