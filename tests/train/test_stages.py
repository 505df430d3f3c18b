"""What a recipe builds on: which runs come first, and that one command makes all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from tests.train.synthetic import write_archive  # noqa: E402 - after the skip
from train.checkpoint import Checkpoint, read_record, save_checkpoint  # noqa: E402
from train.cli import app  # noqa: E402
from train.errors import CheckpointInvalid, RecipeInvalid  # noqa: E402
from train.recipe import read_recipe  # noqa: E402
from train.run import BEST, LAST  # noqa: E402
from train.stages import RUNS, Stage, stages  # noqa: E402

DATA = "0" * 64
TINY = "model: mobilenet_v1\nseeded: false\nwidth: 0.25\nepochs: 2\nbatch_size: 16\nema_decay: 0.5\n"
FAMILY = {
    "first": "",
    "second": "first_stage: first\n",
    "other": "",
    "student": "teachers: [second, other, second]\nteacher_weight: 0.5\n",
}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, more in FAMILY.items():
        (tmp_path / f"{name}.yaml").write_text(TINY + more)
    return tmp_path


def write_run(
    room: Path, name: str, epoch: object = 2, data: str = DATA, files: tuple[str, ...] = (LAST, BEST)
) -> None:
    """As training leaves it behind, though without a network."""
    folder = room / RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    record = {"recipe": read_recipe(room / f"{name}.yaml").as_dict(), "epoch": epoch, "data_sha256": data}
    for file in files:
        save_checkpoint(folder / file, Checkpoint({"x": torch.zeros(1)}, record))


def asked(room: Path, recipe: str) -> list[Stage]:
    return stages(room / f"{recipe}.yaml", room / "none", DATA)


def names(room: Path, recipe: str) -> list[str]:
    return [stage.recipe.name for stage in asked(room, recipe)]


def test_what_a_recipe_names_comes_before_it_and_once(room: Path) -> None:
    assert names(room, "first") == ["first"]
    found = asked(room, "student")
    assert [stage.recipe.name for stage in found] == ["first", "second", "other", "student"]
    assert [stage.folder for stage in found] == [RUNS / "first", RUNS / "second", RUNS / "other", RUNS / "student"]
    assert [stage.start for stage in found] == [None, RUNS / "first" / BEST, None, None]
    assert found[3].teachers == (RUNS / "second" / BEST, RUNS / "other" / BEST, RUNS / "second" / BEST)


def test_a_run_that_is_finished_is_not_asked_for_again_nor_what_it_was_built_on(room: Path) -> None:
    write_run(room, "first", epoch=1)
    assert names(room, "student") == ["first", "second", "other", "student"]
    write_run(room, "second")
    assert names(room, "student") == ["other", "student"]
    write_run(room, "other", files=(BEST,))  # brought from another machine
    assert names(room, "student") == ["student"]
    (room / RUNS / "other" / BEST).unlink()
    write_run(room, "student")
    (own,) = asked(room, "student")
    assert own.to_do() == 0


def test_a_run_that_has_begun_needs_no_first_stage(room: Path) -> None:
    write_run(room, "second", epoch=1)
    (own,) = asked(room, "second")
    assert (own.start, own.to_do()) == (None, 1)
    assert names(room, "student") == ["second", "other", "student"]


def test_runs_of_others_are_refused_before_anything_is_trained(room: Path) -> None:
    write_run(room, "second")
    (room / "second.yaml").write_text(TINY + "first_stage: first\nseed: 8\n")
    with pytest.raises(CheckpointInvalid, match=f"{RUNS / 'second'} holds a run of another recipe second"):
        asked(room, "student")
    write_run(room, "second", data="1" * 64)
    with pytest.raises(CheckpointInvalid, match="or on other data"):
        asked(room, "student")
    write_run(room, "second", epoch="2")
    with pytest.raises(CheckpointInvalid, match="does not say after which epoch"):
        asked(room, "student")
    (room / RUNS / "second" / LAST).write_bytes(b"cut off")
    with pytest.raises(CheckpointInvalid, match=r"last\.safetensors is no checkpoint"):
        asked(room, "student")


def test_what_the_user_names_stands_in_for_it(room: Path) -> None:
    mine, none = (Path("a"), Path("b")), room / "none"
    (student,) = stages(room / "student.yaml", none, DATA, Path("elsewhere/mine"), teachers=mine)
    assert (student.folder, student.teachers) == (Path("elsewhere/mine"), mine)
    (second,) = stages(room / "second.yaml", none, DATA, start=mine[0])
    assert second.start == mine[0]
    first, own = stages(room / "second.yaml", none, DATA, Path("elsewhere/mine"))
    assert (first.folder, own.start) == (RUNS / "first", RUNS / "first" / BEST)


def test_recipes_are_looked_for_beside_the_one_that_names_them_then_among_the_shipped(room: Path) -> None:
    shipped = room / "shipped"
    shipped.mkdir()
    (room / "first.yaml").rename(shipped / "first.yaml")
    assert [stage.recipe.name for stage in stages(room / "second.yaml", shipped, DATA)] == ["first", "second"]
    with pytest.raises(
        RecipeInvalid, match=r"second\.yaml builds on first, but there is no first\.yaml beside it or in"
    ):
        asked(room, "second")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("first_stage: student\n", "recipes wait for each other: student -> second -> student"),
        ("first_stage: second\n", "recipes wait for each other: student -> second -> second"),
        ("first_stage: ../first\n", "first_stage and teachers are names of recipes, got '../first'"),
        ("teachers: [other]\n", "it names teachers, but their teacher_weight is 0"),
        ("teachers: other\n", "teachers must be a list of names, got 'other'"),
        ("teachers: [1]\n", r"teachers must be a list of names, got \[1\]"),
    ],
)
def test_recipes_that_nobody_can_follow_are_refused(room: Path, more: str, sentence: str) -> None:
    (room / "second.yaml").write_text(TINY + more)
    with pytest.raises(RecipeInvalid, match=sentence):
        asked(room, "student")


def test_a_first_stage_of_another_size_is_refused(room: Path) -> None:
    (room / "first.yaml").write_text(TINY.replace("0.25", "0.5"))
    with pytest.raises(
        RecipeInvalid, match=r"second is a mobilenet_v1 of width 0\.25, its first stage first .* width 0\.5"
    ):
        asked(room, "student")


def test_one_command_trains_all_of_them_and_goes_on_where_it_was_stopped(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room / "data").mkdir()
    write_archive(room / "data" / "fer2013.npz", training=32)
    monkeypatch.setenv("EMOSTREAM_SHARED", str(room))

    def fit(*options: str) -> str:
        answer = CliRunner().invoke(app, ["fit", "student.yaml", "--threads", "1", *options])
        assert answer.exit_code == 0, answer.stderr
        return answer.stderr

    assert "stopped; still to train: second, other, student" in fit("--stop-after", "3").replace("\n", " ")
    assert [read_record(room / RUNS / name / LAST)["epoch"] for name in ("first", "second")] == [2, 1]
    assert not (room / RUNS / "other").exists()
    assert fit().count("resuming after epoch 1;") == 1
    record = read_record(room / RUNS / "student" / LAST)
    assert record["epoch"] == 2
    assert [teacher["recipe"] for teacher in record["teachers"]] == ["second", "other", "second"]
    assert fit().replace("\n", "") == f"best checkpoint: {RUNS / 'student' / BEST}"
