"""The command line: one sentence, the right exit code, one JSON object."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from train.cli import app


def test_help_needs_no_heavy_package() -> None:
    code = "import sys, train.cli; sys.exit(any(m in sys.modules for m in ('torch', 'onnx', 'safetensors', 'cv2')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    answer = CliRunner().invoke(app, ["--help"])
    assert answer.exit_code == 0
    assert all(name in answer.output for name in ("fit", "evaluate", "export", "template"))


def test_data_that_is_missing_is_a_sentence_and_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    answer = CliRunner().invoke(app, ["template"])
    assert answer.exit_code == 2
    assert answer.stderr.count("\n") == 1
    assert "EMOSTREAM_SHARED" in answer.stderr


def test_a_broken_checkpoint_is_refused_with_exit_code_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")
    from tests.train.synthetic import write_archive

    (tmp_path / "data").mkdir()
    write_archive(tmp_path / "data" / "fer2013.npz")
    monkeypatch.setenv("EMOSTREAM_SHARED", str(tmp_path))
    broken = tmp_path / "best.safetensors"
    broken.write_bytes(b"not a checkpoint")
    answer = CliRunner().invoke(app, ["evaluate", str(broken)])
    assert answer.exit_code == 4
    assert answer.stderr.startswith(str(broken))


def test_a_recipe_that_is_missing_is_exit_code_2(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")
    answer = CliRunner().invoke(app, ["fit", str(tmp_path / "none.yaml"), "--threads", "1"])
    assert answer.exit_code == 2
    assert "not a readable recipe" in answer.stderr


@pytest.mark.shared
def test_json_is_the_only_thing_on_stdout(shared: Path) -> None:
    answer = CliRunner().invoke(app, ["template", "--images", "5", "--json"], env={"EMOSTREAM_SHARED": str(shared)})
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["images"] == 10
