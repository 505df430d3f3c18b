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
from train.run import BEST, LAST  # noqa: E402
from train.stages import stages  # noqa: E402

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


def finish(run: Path, epochs: int = 2) -> None:
    for name in (LAST, BEST):
        run.mkdir(parents=True, exist_ok=True)
        save_checkpoint(run / name, Checkpoint({"x": torch.zeros(1)}, {"epoch": epochs}))


def names(room: Path, recipe: str) -> list[str]:
    return [stage.recipe.name for stage in stages(room / f"{recipe}.yaml", room / "none")]


def test_what_a_recipe_names_comes_before_it_and_once(room: Path) -> None:
    assert names(room, "first") == ["first"]
    found = stages(room / "student.yaml", room / "none")
    assert [stage.recipe.name for stage in found] == ["first", "second", "other", "student"]
    runs = Path("runs")
    assert [stage.folder for stage in found] == [runs / "first", runs / "second", runs / "other", runs / "student"]
    assert [stage.start for stage in found] == [None, runs / "first" / BEST, None, None]
    assert found[3].teachers == (runs / "second" / BEST, runs / "other" / BEST, runs / "second" / BEST)


def test_a_run_that_is_finished_is_not_asked_for_again_nor_what_it_was_built_on(room: Path) -> None:
    finish(room / "runs" / "first", epochs=1)
    assert names(room, "student") == ["first", "second", "other", "student"]
    finish(room / "runs" / "second")
    assert names(room, "student") == ["other", "student"]
    (room / "runs" / "second" / BEST).unlink()
    assert "second" in names(room, "student")
    (room / "runs" / "second" / BEST).touch()
    (room / "runs" / "second" / LAST).write_bytes(b"cut off")
    with pytest.raises(CheckpointInvalid, match=r"last\.safetensors is no checkpoint"):
        names(room, "student")


def test_what_the_user_names_stands_in_for_it(room: Path) -> None:
    mine = (Path("a"), Path("b"))
    (student,) = stages(room / "student.yaml", room / "none", out=Path("elsewhere/mine"), teachers=mine)
    assert (student.folder, student.teachers) == (Path("elsewhere/mine"), mine)
    (second,) = stages(room / "second.yaml", room / "none", start=mine[0])
    assert second.start == mine[0]
    first, own = stages(room / "second.yaml", room / "none", out=Path("elsewhere/mine"))
    assert (first.folder, own.start) == (Path("elsewhere/first"), Path("elsewhere/first") / BEST)


def test_recipes_are_looked_for_beside_the_one_that_names_them_then_among_the_shipped(room: Path) -> None:
    (room / "shipped").mkdir()
    (room / "first.yaml").rename(room / "shipped" / "first.yaml")
    assert [stage.recipe.name for stage in stages(room / "second.yaml", room / "shipped")] == ["first", "second"]
    with pytest.raises(RecipeInvalid, match="first is not a readable recipe"):
        names(room, "second")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("first_stage: student\n", "recipes wait for each other: student -> second -> student"),
        ("first_stage: second\n", "recipes wait for each other: student -> second -> second"),
        ("first_stage: ../first\n", "first_stage and teachers are names of recipes, got '../first'"),
        ("teachers: [other]\n", "it names teachers, but their teacher_weight is 0"),
        ("teachers: other\n", r"teachers must be tuple\[str, \.\.\.\], got 'other'"),
        ("teachers: [1]\n", r"teachers must be a list of names, got \[1\]"),
    ],
)
def test_recipes_that_nobody_can_follow_are_refused(room: Path, more: str, sentence: str) -> None:
    (room / "second.yaml").write_text(TINY + more)
    with pytest.raises(RecipeInvalid, match=sentence):
        names(room, "student")


def test_one_command_trains_all_of_them_and_goes_on_where_it_was_stopped(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room / "data").mkdir()
    write_archive(room / "data" / "fer2013.npz", training=32)
    monkeypatch.setenv("EMOSTREAM_SHARED", str(room))
    stopped = CliRunner().invoke(app, ["fit", "student.yaml", "--threads", "1", "--stop-after", "1"])
    assert stopped.exit_code == 0, stopped.stderr
    assert sorted(path.name for path in (room / "runs").iterdir()) == ["first"]
    answer = CliRunner().invoke(app, ["fit", "student.yaml", "--threads", "1"])
    assert answer.exit_code == 0, answer.stderr
    assert answer.stderr.count("resuming after epoch 1;") == 1
    record = read_record(room / "runs" / "student" / LAST)
    assert record["epoch"] == 2
    assert [teacher["recipe"] for teacher in record["teachers"]] == ["second", "other", "second"]
    again = CliRunner().invoke(app, ["fit", "student.yaml", "--threads", "1"])
    assert "run 1 of" not in again.stderr
    assert again.exit_code == 0
