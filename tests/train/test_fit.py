"""Training itself: a run that is stopped and started again ends as one that never stopped; recipes are checked."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from rich.console import Console  # noqa: E402 - after the skip
from typer.testing import CliRunner  # noqa: E402

from engines.spec import sha256_of  # noqa: E402
from tests.train.synthetic import write_archive, write_picture  # noqa: E402
from train.augment import Augment  # noqa: E402
from train.checkpoint import read_checkpoint  # noqa: E402
from train.cli import app  # noqa: E402
from train.data import Fer2013, load_fer2013  # noqa: E402
from train.denormals import denormals_flushed  # noqa: E402
from train.errors import CheckpointInvalid, DataMissing, RecipeInvalid  # noqa: E402
from train.fit import Options, epoch_rows, fit, shrunk  # noqa: E402
from train.options import recipe_path  # noqa: E402
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


def test_the_callers_arithmetic_is_as_it_was_afterwards(tmp_path: Path, data: Fer2013, console: Console) -> None:
    fit(TINY, data, tmp_path / "run", console)
    assert sys.float_info.min / 2 > 0.0

    with denormals_flushed():
        assert sys.float_info.min / 2 == 0.0
        with denormals_flushed():
            pass
        assert sys.float_info.min / 2 == 0.0  # as it was, and that was on
    assert sys.float_info.min / 2 > 0.0


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


def test_nothing_black_comes_in_however_far_a_face_is_moved() -> None:
    still = {name: 0.0 for name in ("contrast", "brightness", "soften", "erase")}
    for augment in (Augment(**still), Augment(shift=0.25, rotate_deg=45.0, scale=0.5, **still)):
        assert changed(augment, torch.ones(512, 1, 48, 48)).min() > 0.999


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shift", float("nan")),
        ("shift", 20.0),
        ("rotate_deg", -5.0),
        ("rotate_deg", 90.0),
        ("scale", -1.0),
        ("contrast", 1.5),
        ("brightness", 1.0),
        ("soften", float("inf")),
        ("erase", 2.0),
        ("mixup", -1.0),
    ],
)
def test_a_change_that_goes_too_far_is_one_sentence(name: str, value: float) -> None:
    with pytest.raises(RecipeInvalid, match=rf"^{name} must lie in 0\.\.[\d.]+, got {value}$"):
        Augment(**{name: value})


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
    assert not (tmp_path / "second").exists()
    best = fit(taught, data, tmp_path / "second", console, Options(start_from=first, teachers=(first,), stop_after=1))
    record = read_checkpoint(best).record
    assert record["first_weights"] == sha256_of(first)
    commit = read_checkpoint(first).record["commit"]
    assert record["teachers"] == [{"sha256": sha256_of(first), "recipe": "tiny", "commit": commit, "seeded": False}]
    assert list((tmp_path / "second").glob("events.*"))  # for TensorBoard
    other = fit(replace(TINY, seed=6), data, tmp_path / "other", console, Options(stop_after=1))
    with pytest.raises(CheckpointInvalid, match="learned from other teachers"):
        fit(taught, data, tmp_path / "second", console, Options(teachers=(other,)))
    fit(taught, data, tmp_path / "second", console, Options(teachers=(first,)))


@pytest.mark.parametrize("what", ["teachers", "start_from"])
def test_what_other_data_taught_is_refused(tmp_path: Path, data: Fer2013, console: Console, what: str) -> None:
    write_archive(tmp_path / "other.npz", training=32, seed=1)
    known = fit(TINY, load_fer2013(tmp_path / "other.npz"), tmp_path / "first", console, Options(stop_after=1))
    options = Options(teachers=(known,)) if what == "teachers" else Options(start_from=known)
    recipe = replace(TINY, teacher_weight=0.5 if what == "teachers" else 0.0)
    with pytest.raises(CheckpointInvalid, match=r"best\.safetensors was trained on other data"):
        fit(recipe, data, tmp_path / "second", console, options)
    assert not (tmp_path / "second").exists()


def test_data_without_images_to_choose_on_or_with_other_classes_is_refused(
    tmp_path: Path, data: Fer2013, console: Console
) -> None:
    with pytest.raises(DataMissing, match="fit needs training images and a PublicTest to choose on"):
        fit(TINY, replace(data, public=data.public.take(np.zeros(0, np.int64))), tmp_path / "run", console)
    with pytest.raises(DataMissing, match="fit needs data of all of angry"):
        fit(TINY, replace(data, classes=data.classes[:6]), tmp_path / "run", console)


def test_the_command_says_what_it_cannot_train_on(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("model: mobilenet_v1\nseeded: false\n")
    write_picture(tmp_path / "faces" / "happy" / "1.png", 128)
    asked = ["fit", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run"), "--threads", "1", "--data"]
    for name, sentence in ((f"folder:{tmp_path}/faces", "fit needs training images"), ("nothing", "there is no data")):
        answer = CliRunner().invoke(app, [*asked, name])
        assert answer.exit_code == 2
        assert answer.stderr.startswith(sentence)
        assert answer.stderr.count("\n") == 1


def test_the_command_reads_fer2013_from_where_it_is_told(tmp_path: Path) -> None:
    write_archive(tmp_path / "fer.npz", training=32)
    (tmp_path / "tiny.yaml").write_text("model: mobilenet_v1\nseeded: false\nwidth: 0.25\nepochs: 1\nbatch_size: 16\n")
    asked = ["fit", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "run"), "--threads", "1"]
    answer = CliRunner().invoke(app, [*asked, "--data", f"fer2013:{tmp_path}/fer.npz"])
    assert answer.exit_code == 0, answer.stderr
    assert read_checkpoint(tmp_path / "run" / LAST).record["epoch"] == 1


def test_a_folder_of_that_name_does_not_hide_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emotion").mkdir()
    assert recipe_path(Path("emotion"), RECIPES) == RECIPES / "emotion.yaml"


def test_rare_classes_are_drawn_again(data: Fer2013) -> None:
    recipe = replace(TINY, balance="oversample", batch_size=1)
    rows = np.concatenate(epoch_rows(recipe, data.training, np.random.default_rng(0)))
    counts = np.bincount(data.training.labels[rows])
    assert len(set(counts[counts > 0].tolist())) == 1


def test_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [cosine_rate(TINY, epoch) for epoch in (0.0, 0.5, 1.0, 2.0, 3.0)]
    assert rates[0] < rates[1] < rates[2] == TINY.learning_rate
    assert rates[2] > rates[3] > rates[4] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "-x", "a b"])
def test_a_name_that_is_no_folders_is_refused(name: str) -> None:
    with pytest.raises(RecipeInvalid, match="a name is letters, digits"):
        Recipe(name, "mobilenet_v1")


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
        ("model: mobilenet_v1\naugment: {erase: 2}", "recipe wrong, augment: erase must lie in 0..1, got 2"),
        ("model: mobilenet_v1\nlearning_rate: .nan", "learning_rate must be a finite number, got nan"),
        ("model: mobilenet_v1\nl2_last: .inf", "l2_last must be a finite number, got inf"),
        (f"model: mobilenet_v1\nstep_epochs: 1{'0' * 400}", "step_epochs must be a finite number, got 1000"),
        ("model: mobilenet_v1\nweight_decay: -1", "weight_decay must not be negative, got -1"),
        ("model: mobilenet_v1\nwarmup_epochs: -3", "warmup_epochs must not be negative, got -3"),
        ("model: mobilenet_v1\nseed: 18446744073709551616", "seed must be at most 4294967295"),
        ("model: mobilenet_v1\nfirst_side_px: 32", "needs a grown_after above 0 that leaves an epoch at 48 pixels"),
        ("model: mobilenet_v1\nfirst_side_px: 32\ngrown_after: 1", "needs a grown_after above 0 that leaves"),
        ("model: mobilenet_v1\nname: ../../x", "a recipe's name is its file's"),
        ("model: mobilenet_v1\nteacher_temperature: 1.0", "unknown setting 'teacher_temperature'"),
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
