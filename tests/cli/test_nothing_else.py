"""Promise 1: the project alone, without development data, downloads or settings, finds faces and reads them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"  # nobody listens on the discard port: a download through this proxy fails at once
TIMEOUT_S = 100

pytestmark = pytest.mark.redis


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has a copy of the packages, an empty home, and no network."""
    for package in ("stream", "engines"):
        shutil.copytree(PROJECT / package, tmp_path / "copy" / package, ignore=shutil.ignore_patterns("__pycache__"))
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EMOSTREAM_", "XDG_", "PYTHON"))}
    proxies = {f"{scheme}_proxy": NOWHERE for scheme in ("http", "https", "all")}
    return {**kept, **proxies, "HOME": str(home), "PYTHONPATH": str(tmp_path / "copy")}


def ran(alone: dict[str, str], *arguments: str) -> str:
    """What `python ARGUMENTS` says on stdout, from a folder beside which there is nothing."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=alone["HOME"],
        env=alone,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_it_is_the_copy_that_runs(alone: dict[str, str]) -> None:
    where = ran(alone, "-c", "import engines, stream; print(engines.__file__, stream.__file__)").split()
    assert all(path.startswith(alone["PYTHONPATH"]) for path in where)


def test_the_demo(alone: dict[str, str]) -> None:
    answer = json.loads(ran(alone, "-m", "stream", "demo", "--hold", "0", "--json"))
    assert answer["failed"] == {}
    assert answer["events"]["track.started"] >= 5  # lobby twice, desk, door, two in the hall
    assert answer["events"]["emotion.changed"] >= 4


def test_a_run_on_a_video(alone: dict[str, str], face_clip: Path) -> None:
    answer = json.loads(ran(alone, "-m", "stream", "run", str(face_clip), "--hold", "0", "--json"))
    assert answer["events"]["track.started"] == 1
    assert answer["events"]["emotion.changed"] >= 1
