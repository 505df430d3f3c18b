"""Cross-validation: every image is held out once, finished folds are kept, and only the right ones are gone on with."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from rich.console import Console  # noqa: E402 - after the skip

from engines.portrait import portrait  # noqa: E402
from engines.spec import EMOTIONS  # noqa: E402
from tests.train.synthetic import pictures, write_archive, write_labelled  # noqa: E402
from train.augment import Augment  # noqa: E402
from train.checkpoint import Checkpoint, save_checkpoint  # noqa: E402
from train.cli import app  # noqa: E402
from train.cross_validation import Plan, cross_validate  # noqa: E402
from train.data import Splits  # noqa: E402
from train.data.records import unsplit, without_votes  # noqa: E402
from train.errors import CheckpointInvalid, RecipeInvalid  # noqa: E402
from train.fold_results import RESULTS_FILE, FoldResults  # noqa: E402
from train.models import MODELS  # noqa: E402
from train.models.base import Build  # noqa: E402
from train.recipe import Recipe  # noqa: E402

CLASSES = ("angry", "happy", "surprise")
TINY = Recipe("tiny", "mobilenet_v1", seeded=False, width=0.25, epochs=1, batch_size=16, ema_decay=0.5, seed=5)
TWO = Plan(count=2)


@pytest.fixture
def data() -> Splits:
    """Eight people, each of whom shows three classes three times: a bar high, in the middle or low."""
    labels = np.arange(72) % 3
    subjects = np.array([f"S{number // 9}" for number in range(72)])
    faces = without_votes(pictures(3 * labels, seed=1), labels, len(CLASSES), subjects)
    return unsplit(faces, CLASSES, "0" * 64)


def folded(recipe: Recipe, data: Splits, folder: Path, plan: Plan = TWO) -> FoldResults:
    return cross_validate(recipe, data, folder, Console(file=io.StringIO()), plan, "synthetic")


def as_kept(folder: Path) -> dict[str, object]:
    kept: dict[str, object] = json.loads((folder / RESULTS_FILE).read_text())
    return kept


def test_a_tiny_network_learns_and_every_image_is_held_out_once(tmp_path: Path, data: Splits) -> None:
    upright = Augment(rotate_deg=0, scale=0, erase=0)
    # batches of 8: batch norm needs steps to know the pictures
    recipe = replace(TINY, epochs=14, batch_size=8, learning_rate=1e-2, weight_decay=0.0, augment=upright)
    results = folded(recipe, data, tmp_path)
    told = results.as_dict()
    assert sorted(np.concatenate([fold.rows for fold in results.folds])) == list(range(72))
    assert told["images"] == sum(map(sum, told["confusion"])) == 72
    assert told["accuracy"] > 0.6  # by chance 0.33
    # both folds hold out 36, so here the mean is the pooled accuracy too
    assert told["accuracy_mean"] == pytest.approx(told["accuracy"], abs=1e-4)
    assert told["labels"] == list(CLASSES)
    assert "2 of 2 folds by subject: 72 images" in results.as_text()
    assert as_kept(tmp_path)["accuracy"] == told["accuracy"]


def test_the_images_trained_on_are_counted_as_often_as_they_were(tmp_path: Path, data: Splits) -> None:
    results = folded(replace(TINY, epochs=2), data, tmp_path)
    assert [fold.seen for fold in results.folds] == [2 * 32, 2 * 32]  # of 36, in whole batches of 16


def test_nobody_is_both_trained_on_and_held_out(tmp_path: Path, data: Splits) -> None:
    subjects = data.training.subjects
    assert subjects is not None
    for fold in folded(TINY, data, tmp_path, Plan(count=4)).folds:
        others = np.setdiff1d(np.arange(72), fold.rows)
        assert not set(subjects[fold.rows]) & set(subjects[others])


def test_a_finished_fold_is_not_computed_again_and_the_others_come_out_as_in_one_go(
    tmp_path: Path, data: Splits
) -> None:
    whole = folded(TINY, data, tmp_path / "whole")
    first = folded(TINY, data, tmp_path / "parts", replace(TWO, stop_after=1))
    assert first.as_dict()["folds_finished"] == 1
    assert first.as_dict()["images"] == 36
    parts = folded(TINY, data, tmp_path / "parts")
    again = folded(TINY, data, tmp_path / "parts")
    assert again.folds[0].training_s == parts.folds[0].training_s == first.folds[0].training_s
    assert again.as_dict() == parts.as_dict()
    for one, other in zip(whole.folds, again.folds, strict=True):
        assert np.array_equal(one.rows, other.rows)
        assert np.array_equal(one.logits, other.logits)


def test_folds_are_gone_on_with_when_recipes_have_a_new_setting(tmp_path: Path, data: Splits) -> None:
    folded(TINY, data, tmp_path, replace(TWO, stop_after=1))
    kept = json.loads((tmp_path / RESULTS_FILE).read_text())
    del kept["asked"]["recipe"]["first_side_px"]
    kept["asked"]["recipe"]["teacher_temperature"] = 1.0  # a setting that there was
    (tmp_path / RESULTS_FILE).write_text(json.dumps(kept))
    assert len(folded(TINY, data, tmp_path).folds) == 2


def test_folds_of_something_else_are_not_gone_on_with(tmp_path: Path, data: Splits) -> None:
    folded(TINY, data, tmp_path, replace(TWO, stop_after=1))
    before = as_kept(tmp_path)
    darker = replace(data, training=replace(data.training, images=data.training.images // 2))
    start = checkpoint(tmp_path / "start.safetensors", TINY)
    for recipe, given, plan, what in [
        (replace(TINY, learning_rate=0.5), data, TWO, "recipe"),
        (TINY, darker, TWO, "data"),
        (TINY, data, Plan("image", 2), "folds"),
        (TINY, data, Plan(count=4), "folds"),
        (TINY, data, replace(TWO, start_from=start), "start"),
    ]:
        with pytest.raises(CheckpointInvalid, match=f"another choice of {what}; choose another --out, or remove them"):
            folded(recipe, given, tmp_path, plan)
    assert as_kept(tmp_path) == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"asked": {}, "held_out": [{"rows": 1}]}', '{"accuracy": 0.9}'])
def test_another_file_of_that_name_is_not_overwritten(tmp_path: Path, data: Splits, content: str) -> None:
    (tmp_path / RESULTS_FILE).write_text(content)
    with pytest.raises(CheckpointInvalid, match="is not what cross-validation writes"):
        folded(TINY, data, tmp_path)
    assert (tmp_path / RESULTS_FILE).read_text() == content


def test_folds_begin_with_a_checkpoint_of_more_classes(tmp_path: Path, data: Splits) -> None:
    start = checkpoint(tmp_path / "start.safetensors", TINY)
    untrained = replace(TINY, learning_rate=1e-12)
    one, other = (
        folded(untrained, data, tmp_path / str(seed), plan) for seed, plan in enumerate([TWO, started(start)])
    )
    assert not np.allclose(one.folds[0].logits, other.folds[0].logits, atol=1e-2)
    assert other.folds[0].logits.shape == (36, 3)
    assert other.as_dict()["start"] == str(start)


def test_teachers_are_refused(tmp_path: Path, data: Splits) -> None:
    with pytest.raises(RecipeInvalid, match="no teachers in cross-validation; set teacher_weight: 0"):
        folded(replace(TINY, teacher_weight=0.5), data, tmp_path)


def test_a_second_stage_wants_its_first_weights_by_name(tmp_path: Path, data: Splits) -> None:
    second = replace(TINY, first_stage="first")
    with pytest.raises(RecipeInvalid, match="name a checkpoint of first by --start"):
        folded(second, data, tmp_path)
    start = checkpoint(tmp_path / "start.safetensors", TINY)
    assert len(folded(second, data, tmp_path / "run", started(start)).folds) == 2


def started(start: Path) -> Plan:
    return replace(TWO, start_from=start)


def checkpoint(path: Path, recipe: Recipe) -> Path:
    """Random weights of a network whose outputs are EMOTIONS."""
    torch.manual_seed(11)
    network = MODELS[recipe.model](Build(len(EMOTIONS), recipe.dropout, recipe.width), False)
    tensors = {f"model.{name}": value for name, value in network.state_dict().items()}
    save_checkpoint(path, Checkpoint(tensors, {"recipe": recipe.as_dict()}))
    return path


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A development data folder with CK+ (five people, seven classes) and FER-2013, a recipe, and two checkpoints."""
    (tmp_path / "data").mkdir()
    write_labelled(tmp_path / "data/ckplus48.npz", [*EMOTIONS[:6], "contempt"], 48, "sequence")
    write_archive(tmp_path / "data/fer2013.npz")
    (tmp_path / "tiny.yaml").write_text("model: mobilenet_v1\nseeded: false\nwidth: 0.25\nepochs: 1\nbatch_size: 16\n")
    checkpoint(tmp_path / "seven.safetensors", TINY)
    checkpoint(tmp_path / "wide.safetensors", replace(TINY, width=0.5))
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_tells_one_json_object(room: Path) -> None:
    asked = ["cross-validate", "tiny.yaml", "--data", "ckplus", "--folds", "5", "--start", "seven.safetensors"]
    answer = CliRunner().invoke(app, [*asked, "--stop-after", "1", "--threads", "1", "--out", "run", "--json"])
    assert answer.exit_code == 0, answer.stderr
    told = json.loads(answer.stdout)
    assert told["labels"] == list(EMOTIONS[:6])
    assert (told["folds_finished"], told["images"], told["data"], told["by"]) == (1, 6, "ckplus", "subject")
    assert as_kept(room / "run")["accuracy"] == told["accuracy"]


def test_faces_that_are_cut_out_are_told_of(room: Path) -> None:
    asked = ["cross-validate", "tiny.yaml", "--data", f"folder:{room / 'album'}", "--by", "image", "--folds", "2"]
    for name in ("happy", "sad"):
        (room / "album" / name).mkdir(parents=True)
        for number in range(16):
            cv2.imwrite(str(room / "album" / name / f"{number}.png"), cv2.convertScaleAbs(portrait(), beta=number))
    answer = CliRunner().invoke(app, [*asked, "--cut-out", "--threads", "1", "--json"])
    assert answer.exit_code == 0, answer.stderr
    assert json.loads(answer.stdout)["data"].endswith("album, cut out with face")
    assert [path.name for path in (room / "runs").iterdir()] == ["tiny-folder-image-cut-out"]
    for file in (room / "album").rglob("*.png"):
        cv2.imwrite(str(file), np.tile(np.arange(96, dtype=np.uint8), (96, 1)))
    answer = CliRunner().invoke(app, [*asked, "--cut-out", "--threads", "1", "--out", "other"])
    assert answer.exit_code == 2
    assert "face finds no face in folder:" in answer.stderr


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--data", "affectnet"], 2, "there is no data set 'affectnet'"),
        (["--data", "ckplus", "--folds", "6"], 2, "6 folds need at least 6 subjects, there are 5"),
        (["--data", "fer2013", "--by", "image"], 2, "this data has test images of its own"),
        (
            ["--data", "ckplus", "--folds", "5", "--start", "wide.safetensors"],
            4,
            "the checkpoint is of another network",
        ),
        (["--data", "ckplus", "--folds", "5", "--start", "tiny.yaml"], 4, "tiny.yaml is no checkpoint"),
        (["--data", "ckplus", "--folds", "5", "--start", "none.safetensors"], 2, "none.safetensors cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(room: Path, options: list[str], code: int, sentence: str) -> None:
    answer = CliRunner().invoke(app, ["cross-validate", "tiny.yaml", *options, "--threads", "1", "--out", "run"])
    assert answer.exit_code == code
    assert answer.stderr.startswith(sentence)
    assert answer.stderr.count("\n") == 1
    assert not (room / "run").exists()
