"""Going on with a run: a broken or foreign `last.safetensors` is refused in one sentence, an older one is taken."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")

from rich.console import Console  # noqa: E402 - after the skip

from tests.train.synthetic import write_archive  # noqa: E402
from train.board import epoch_bar  # noqa: E402
from train.checkpoint import Checkpoint, read_checkpoint, save_checkpoint  # noqa: E402
from train.data import Fer2013, load_fer2013  # noqa: E402
from train.errors import CheckpointInvalid, Diverged  # noqa: E402
from train.fit import Options, fit, left_s, start_or_resume  # noqa: E402
from train.recipe import Recipe  # noqa: E402
from train.run import BEST, LAST, first_and_latest, running_commit  # noqa: E402

TINY = Recipe("tiny", "mobilenet_v1", seeded=False, width=0.25, epochs=2, batch_size=16, ema_decay=0.5, seed=5)
SGD = replace(TINY, optimizer="sgd", center_weight=0.001)
Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]  # of a checkpoint's record and tensors, in place


def silent() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Fer2013:
    path = tmp_path_factory.mktemp("data") / "fer.npz"
    write_archive(path, training=32)
    return load_fer2013(path)


@pytest.fixture(scope="module")
def runs(data: Fer2013, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """What is kept after the first epoch of TINY and of SGD."""
    folder = tmp_path_factory.mktemp("runs")
    for recipe in (TINY, SGD):
        fit(recipe, data, folder / recipe.optimizer, silent(), Options(stop_after=1))
    return {recipe.optimizer: read_checkpoint(folder / recipe.optimizer / LAST) for recipe in (TINY, SGD)}


def changed(kept: Checkpoint, change: Change, path: Path) -> Path:
    record, tensors = dict(kept.record), dict(kept.tensors)
    change(record, tensors)
    save_checkpoint(path, Checkpoint(tensors, record))
    return path


def put(name: str, value: object) -> Change:
    return lambda record, _: record.update({name: value})


def tensor(name: str, value: torch.Tensor | None = None) -> Change:
    return lambda _, tensors: tensors.update({name: torch.zeros(1) if value is None else value})


def without(name: str) -> Change:
    return lambda _, tensors: tensors.pop(name)


KERNEL, STATE = "training.stem.0.weight", "optimizer.0.exp_avg"
NAN = torch.full((8, 1, 3, 3), float("nan"))  # as large as the stem's kernel
BROKEN: list[tuple[Change, str]] = [
    (lambda record, _: record.clear(), "its record has no metric"),
    *[(put(name, None), f"no {name} of type") for name in ("recipe", "epoch", "steps", "data_sha256")],
    (put("epoch", "1"), "no epoch of type int"),
    (put("epoch", True), "no epoch of type int"),
    (put("epoch", 0), "epoch 0"),
    (put("epoch", 3), "after epoch 3 of 2"),
    (put("steps", 1.5), "no steps of type int"),
    (put("steps", 7), "counts 7 steps, but 2 in optimizer"),
    (put("metrics", {}), "no metric in 0..1"),
    (put("metrics", {"accuracy": "high"}), "no metric in 0..1"),
    (put("metrics", {"accuracy": float("nan")}), "no metric in 0..1"),
    (put("metrics", {"accuracy": 2.0}), "no metric in 0..1"),
    (put("first_weights", 3), "no first_weights of type str"),
    (put("commit", ["a"]), "no commit of type str"),
    (put("teachers", ["a"]), "teachers without a sha256"),
    (put("teachers", {}), "no teachers of type list"),
    (put("teachers", [{"sha256": "a"}]), "learned from other teachers"),
    (put("recipe", {"name": "tiny"}), "another recipe or other data"),
    (put("recipe", {**TINY.as_dict(), "seed": 6}), "another recipe or other data"),
    (put("recipe", {**TINY.as_dict(), "teacher_temperature": 2.0}), "another recipe or other data"),
    (put("data_sha256", "0" * 64), "another recipe or other data"),
    (tensor("x"), "it has x"),
    (tensor("evil.x"), "it has evil.x"),
    (tensor("optimizer.a.b.c"), "it has optimizer.a.b.c"),
    (tensor("optimizer.999.exp_avg"), "it has optimizer.999.exp_avg"),
    (tensor("losses.centers"), "it has losses.centers"),
    (tensor(STATE), r"optimizer.0.exp_avg is \(1,\) torch.float32, not \(8, 1, 3, 3\)"),
    (tensor(STATE, torch.zeros(8, 1, 3, 3, dtype=torch.float64)), "torch.float64, not"),
    (tensor(KERNEL), r"training.stem.0.weight is \(1,\)"),
    *[(without(name), f"it lacks {name}") for name in (KERNEL, STATE, "optimizer.3.step", "model.stem.0.weight")],
    *[(tensor(name, NAN), f"not finite, in {name}") for name in (KERNEL, STATE, "model.stem.0.weight")],
]


@pytest.mark.parametrize(("change", "sentence"), BROKEN)
def test_a_broken_run_is_one_sentence(
    tmp_path: Path, data: Fer2013, runs: dict[str, Checkpoint], change: Change, sentence: str
) -> None:
    last = changed(runs["adamw"], change, tmp_path / LAST)
    with pytest.raises(CheckpointInvalid, match=sentence) as raised:
        start_or_resume(TINY, data, last, Options())
    assert "\n" not in str(raised.value)
    assert "choose another --out" in str(raised.value)


@pytest.mark.parametrize("name", ["optimizer.0.momentum_buffer", "losses.centers.centers"])
def test_momentum_and_centres_are_missed_as_well(
    tmp_path: Path, data: Fer2013, runs: dict[str, Checkpoint], name: str
) -> None:
    last = changed(runs["sgd"], without(name), tmp_path / LAST)
    with pytest.raises(CheckpointInvalid, match=f"it lacks {name}"):
        start_or_resume(SGD, data, last, Options())


def older(record: dict[str, Any], _: dict[str, torch.Tensor]) -> None:
    """As the first versions wrote it: without some settings, and with one that there is no more."""
    record["recipe"] = {**record["recipe"], "teacher_temperature": 1.0}
    for name in ("first_side_px", "grown_after", "first_stage", "teachers"):
        del record["recipe"][name]
    del record["teachers"]


def test_a_run_goes_on_when_there_are_new_settings_and_old_ones_are_gone(
    tmp_path: Path, data: Fer2013, runs: dict[str, Checkpoint]
) -> None:
    last = changed(runs["adamw"], older, tmp_path / LAST)
    for recipe in (TINY, replace(TINY, first_stage="first")):  # where the first weights lay is not what they are
        run = start_or_resume(recipe, data, last, Options())
        assert (run.epoch, run.steps, run.teachers) == (1, 2, ())


def test_a_run_that_goes_on_with_other_code_says_both_commits(
    tmp_path: Path, data: Fer2013, runs: dict[str, Checkpoint]
) -> None:
    run = start_or_resume(TINY, data, changed(runs["adamw"], put("commit", "abc"), tmp_path / LAST), Options())
    assert run.commit == first_and_latest("abc", running_commit())


@pytest.mark.parametrize(
    ("kept", "running", "both"),
    [
        ("a", "a", "a"),
        ("a", "b", "a..b"),
        ("a..b", "b", "a..b"),
        ("a..b", "c+changes", "a..c+changes"),
        ("a", None, "a"),
        (None, "b", "b"),
        (None, None, None),
    ],
)
def test_commits_of_a_run(kept: str | None, running: str | None, both: str | None) -> None:
    assert first_and_latest(kept, running) == both


def test_only_a_repository_of_its_own_tells_the_commit(tmp_path: Path) -> None:
    inside = tmp_path / "lib" / "train"
    inside.mkdir(parents=True)
    assert running_commit(inside) is None
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, timeout=20)
    assert running_commit(tmp_path) is not None
    assert running_commit(inside) is None  # an installed package in somebody's checkout


def test_a_run_that_diverges_stops_and_leaves_the_folder_as_it_was(tmp_path: Path, data: Fer2013) -> None:
    wild = replace(TINY, optimizer="sgd", schedule="step", step_epochs=1.0, step_factor=1e30, warmup_epochs=0.0)
    fit(wild, data, tmp_path / "run", silent(), Options(stop_after=1))
    before = {name: (tmp_path / "run" / name).read_bytes() for name in (LAST, BEST)}
    with pytest.raises(Diverged, match=r"epoch 2 came to .* no numbers, and nothing of it is kept; lower .*rate"):
        fit(wild, data, tmp_path / "run", silent())
    assert {name: (tmp_path / "run" / name).read_bytes() for name in (LAST, BEST)} == before


def test_a_finished_run_does_nothing_more(tmp_path: Path, data: Fer2013) -> None:
    best = fit(TINY, data, tmp_path, silent())
    before = sorted(tmp_path.iterdir())
    assert fit(TINY, data, tmp_path, silent()) == best
    assert sorted(tmp_path.iterdir()) == before  # another call that trains adds a file for TensorBoard


def test_the_time_left_grows_with_the_pictures() -> None:
    assert left_s(replace(TINY, epochs=4), epoch=1, training_s=10.0, rest_s=1.0) == pytest.approx(33.0)
    growing = replace(TINY, epochs=4, first_side_px=16, grown_after=0.5)  # 16, 32, 48 and 48 pixels
    assert left_s(growing, epoch=1, training_s=10.0, rest_s=1.0) == pytest.approx(10.0 * (4 + 9 + 9) + 3.0)
    assert left_s(growing, epoch=4, training_s=10.0, rest_s=1.0) == 0.0


def test_the_bar_tells_how_fast_it_goes() -> None:
    seen = io.StringIO()
    with epoch_bar(Console(file=seen, force_terminal=True, width=160), "epoch 1/2", 2, "images") as advance:
        advance(16)
        advance(16)
    assert "images/s" in seen.getvalue()
