"""Rivals: what they cost, and what their rows say where they cannot be run."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import av
import pytest
from rich.console import Console

from stream.bench import rivals
from stream.errors import SourceError


def shown(figures: dict[str, object]) -> str:
    out = io.StringIO()
    Console(width=200, file=out).print(rivals.report(figures))
    return " ".join(out.getvalue().split())  # however its lines were broken


def entrant(name: str, *turns: tuple[float, float], code: str = "") -> rivals.Entrant:
    """Who took these turns of (CPU s, wall s), or runs this code."""
    taken = [{"cpu_s": cpu_s, "wall_s": wall_s, "frames": 10, "faces": 25} for cpu_s, wall_s in turns]
    return rivals.Entrant(name, (sys.executable, "-c", code), turns=taken)


def test_the_beginning_of_a_clip_is_cut_off_unchanged(face_clip: Path, tmp_path: Path) -> None:
    part = tmp_path / face_clip.name
    assert rivals.cut(face_clip, part, 7) == 7
    with av.open(str(face_clip)) as whole, av.open(str(part)) as beginning:
        ours = [frame.to_ndarray() for frame in beginning.decode(video=0)]
        theirs = [frame.to_ndarray() for frame, _ in zip(whole.decode(video=0), range(7), strict=False)]
    assert len(ours) == 7
    assert all((one == other).all() for one, other in zip(ours, theirs, strict=True))
    assert rivals.cut(face_clip, part, 1000) == 50


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("hello\n" * 1000)
    with pytest.raises(SourceError, match="cannot be cut off"):
        rivals.cut(text, tmp_path / "part.mp4", 10)


def test_ratios_are_of_one_round(face_clip: Path) -> None:
    """The machine was three times as slow in the second round: no ratio may notice."""
    decode, own = entrant("decode", (0.1, 0.1), (0.3, 0.3)), entrant("emostream", (0.2, 0.2), (0.6, 0.6))
    row = rivals.rows([decode, own, entrant("naive", (2.0, 1.0), (6.0, 3.0))], frames=10)["naive"]
    assert (row["against_decoding"], row["against_emostream"]) == (20.0, 10.0)
    assert (row["cpu_ms"], row["wall_ms"], row["faces"]) == (400.0, 200.0, 2.5)


def test_a_rival_that_fails_leaves_with_its_last_words() -> None:
    line = json.dumps({"cpu_s": 1.0, "wall_s": 1.0})
    works = f"print({line!r})"
    taking_part = [
        entrant("decode", code=works),
        entrant("emostream", code=works),
        entrant("naive", code="import no_such_library"),
    ]
    rivals.compete(taking_part, 2, lambda words: None)
    assert [len(one.turns) for one in taking_part] == [2, 2, 0]
    rows = rivals.rows(taking_part, 10)
    assert rows["naive"]["not_run"] == "ModuleNotFoundError: No module named 'no_such_library'"
    text = shown({"clip": "a.mp4", "frames": 10, "repeats": 2, "rows": rows})
    assert "not run" in text
    assert "No module named 'no_such_library'" in text


def test_emostream_itself_may_not_fail() -> None:
    with pytest.raises(SourceError, match="decoding alone failed: ValueError: no"):
        rivals.compete([entrant("decode", code="raise ValueError('no')")], 1, lambda words: None)


def test_without_their_environment_emostream_is_measured_alone(face_clip: Path, tmp_path: Path) -> None:
    said: list[str] = []
    figures = rivals.measure(face_clip, said.append, repeats=1, frames=5, environment=tmp_path / ".venv-rivals")
    assert figures["frames"] == 5
    assert figures["rows"]["emostream"]["against_decoding"] > 1
    for name in ("naive", "naive_whole", "recipe", "recipe_whole", "fer"):
        assert "make bench-rivals makes it" in figures["rows"][name]["not_run"]
    assert said == ["round 1 of 1: decoding alone", "round 1 of 1: emostream, every frame"]
    assert json.loads(json.dumps(figures)) == figures
    assert "not run" in shown(figures)
