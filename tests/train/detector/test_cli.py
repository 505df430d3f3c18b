"""The detector's command line: one sentence, the right exit code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.train.detector.synthetic import corpus, light_squares, square_photos
from train.cli import app


def test_help_tells_every_command() -> None:
    answer = CliRunner().invoke(app, ["detector", "--help"])
    assert answer.exit_code == 0
    assert all(name in answer.output for name in ("corpus", "fit", "evaluate", "export"))


def test_a_recipe_that_is_missing_is_exit_code_2(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")
    answer = CliRunner().invoke(app, ["detector", "fit", str(tmp_path / "none.yaml")])
    assert answer.exit_code == 2
    assert "not a readable recipe" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_corpus_that_is_missing_is_exit_code_2(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")
    answer = CliRunner().invoke(app, ["detector", "fit", "face", "--corpus", str(tmp_path / "none.npz")])
    assert answer.exit_code == 2
    assert "make it with `train detector corpus" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_model_that_is_missing_is_exit_code_4(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["detector", "evaluate", str(tmp_path / "none")])
    assert answer.exit_code == 4
    assert "there is no such model folder" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_clips_that_are_missing_are_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = light_squares(tmp_path)
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    answer = CliRunner().invoke(app, ["detector", "evaluate", str(model), "--teacher", str(model)])
    assert answer.exit_code == 2
    assert "EMOSTREAM_SHARED" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_a_broken_checkpoint_is_exit_code_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")
    model, _ = light_squares(tmp_path)
    (tmp_path / "data").mkdir()
    photos = square_photos()
    np.savez(tmp_path / "data" / "web_faces_unlabelled.npz", jpeg=photos.jpeg, offset=photos.offset)
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    corpus().write(tmp_path / "corpus.npz")
    broken = tmp_path / "best.safetensors"
    broken.write_bytes(b"not a checkpoint")
    arguments = ["--corpus", str(tmp_path / "corpus.npz"), "--teacher", str(model)]
    answer = CliRunner().invoke(app, ["detector", "export", str(broken), str(tmp_path / "out"), *arguments])
    assert answer.exit_code == 4
    assert answer.stderr.startswith(str(broken))
    assert not (tmp_path / "out").exists()
