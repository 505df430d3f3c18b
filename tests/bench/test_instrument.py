"""Which parts are run, what is judged of their figures, and when a run counts."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from stream.bench import instrument, table
from stream.errors import ConfigError
from tests.cli.conftest import Run, emostream

__all__ = ["emostream"]


def verdict(what: str, parts: dict[str, Any]) -> str:
    (reach,) = (reach for reach in instrument.REACHES if what in reach.what)
    told: str = reach.judged(parts)["verdict"]
    return told


@pytest.mark.parametrize(
    ("what", "path", "met", "missed"),
    [
        ("CPU at 5 analyses", ("cost", "ratio_5hz"), 1.35, 1.36),
        ("CPU at every frame", ("cost", "ratio_every_frame"), 3.0, 3.01),
        ("start", ("start", "first_event_s"), 1.99, 2.0),
        ("cameras in real time", ("capacity", "cameras"), 14, 13),
        ("p95", ("capacity", "held", "latency_ms", "p95"), 249.9, 250.0),
        ("cost per camera", ("scaling", "cameras", -1, "ratio"), 1.15, 1.16),
        ("memory", ("memory", "per_camera_mb"), 40, 40.1),
        ("naive", ("rivals", "rows", "naive", "against_emostream"), 10, 9.9),
        ("recipe", ("rivals", "rows", "recipe", "against_emostream"), 15, 14.9),
    ],
)
def test_each_reach_is_met_up_to_its_limit(what: str, path: instrument.Where, met: float, missed: float) -> None:
    def figures(value: float | None) -> dict[str, Any]:
        nested: Any = value
        for key in reversed(path):
            nested = [{"ratio": 1.0}, nested] if key == -1 else {key: nested}
        return dict(nested)

    assert [verdict(what, figures(value)) for value in (met, missed, None)] == ["met", "missed", "not run"]
    assert verdict(what, {}) == "not run"


def test_no_camera_was_held() -> None:
    parts = {"capacity": {"cameras": 0, "held": None}}
    assert (verdict("cameras in real time", parts), verdict("p95", parts)) == ("missed", "not run")


def test_a_rival_that_was_not_run_is_not_judged() -> None:
    rows = {"naive": {"what": "naive", "not_run": "torch is missing"}}
    assert verdict("naive", {"rivals": {"rows": rows}}) == "not run"


def test_parts_are_run_in_their_order_and_quick_ones_without_being_asked() -> None:
    assert instrument.chosen([]) == ("cost", "start", "fidelity")
    assert instrument.chosen(["rivals", "cost"]) == ("cost", "rivals")
    assert instrument.chosen(["cost", "all"]) == instrument.PARTS


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ConfigError, match="'speed'; known: cost, start"):
        instrument.chosen(["cost", "speed"])


@pytest.mark.parametrize(
    ("parts", "told"),
    [({"fidelity": {"passed": True}}, "met"), ({"fidelity": {"passed": False}}, "missed"), ({}, "not run")],
)
def test_fidelity_is_judged_first(parts: dict[str, Any], told: str) -> None:
    first, *others = instrument.judged(parts)
    assert first["verdict"] == told
    assert {judged["verdict"] for judged in others} == {"not run"}


def test_a_run_counts_only_with_fidelity() -> None:
    assert instrument.counts({"fidelity": {"passed": True}}) is None
    assert instrument.counts({"fidelity": {"passed": False}}) == "the fidelity check failed"
    assert instrument.counts({"cost": {}}) == "fidelity was not run"


def test_the_commit_says_whether_the_program_was_changed(tmp_path: Path) -> None:
    assert instrument.commit(tmp_path) is None

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for name in ("program.py", "README.md"):
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    clean = instrument.commit(tmp_path)
    assert clean is not None
    (tmp_path / "README.md").write_text("2")
    assert instrument.commit(tmp_path) == clean
    (tmp_path / "program.py").write_text("2")
    assert instrument.commit(tmp_path) == f"{clean}+"


def test_bad_input_is_one_sentence_before_anything_is_measured(emostream: Run, tmp_path: Path) -> None:
    for arguments, words in (
        (("--part", "speed"), "bench has no part 'speed'"),
        (("--append", tmp_path / "none.md"), "it cannot be read"),
        (("--append", tmp_path / "none.md", "--config", tmp_path / "none.yaml"), "leave out --append or --config"),
        (("--config", tmp_path / "none.yaml"), "the configuration cannot be read"),
        ((tmp_path / "none.mp4", "--part", "start"), "no such file"),
        ((tmp_path / "none.mp4", "--part", "rivals"), "no such file"),
    ):
        ended = emostream("bench", *arguments)
        assert ended.code == 2
        assert words in ended.sentence
        assert ended.out == ""


def test_a_run_without_fidelity_is_told_and_gets_no_row(emostream: Run, face_clip: Path, tmp_path: Path) -> None:
    text = f"{table.BEGIN}\n{table.END}\n"
    (tmp_path / "figures.md").write_text(text)
    ended = emostream("bench", face_clip, "--part", "start", "--repeats", 1, "--append", tmp_path / "figures.md")
    assert ended.code == 0, ended.err
    assert "the first event in the file" in ended.out
    assert "does not count: fidelity was not run" in ended.out
    assert ended.sentence.startswith("no row was added")
    assert (tmp_path / "figures.md").read_text() == text


def test_other_settings_are_measured_and_not_judged(emostream: Run, face_clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "rarely.yaml"
    config.write_text("source: {analyse_hz: 1.0}")
    ended = emostream("bench", face_clip, "--part", "fidelity", "--config", config)
    assert ended.code == 0, ended.err
    assert "boxes, mean IoU" in ended.out
    assert "reaches" not in ended.out
