"""What `emostream doctor` finds: a machine that can run, and one that lacks something."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from stream.config import Config
from stream.doctor import OPTIONAL, examine
from tests.cli.conftest import Run, World
from tests.redis_server import RedisServer

PROJECT = Path(__file__).parents[2]

pytestmark = pytest.mark.redis


def test_a_machine_that_can_run(emostream: Run, world: World, server: RedisServer) -> None:
    ended = emostream("doctor", "--config", world.config, "--redis", server.url, "--json")
    assert ended.code == 0
    told = json.loads(ended.out)
    assert told["healthy"] is True
    states = {finding["what"]: finding["state"] for finding in told["findings"]}
    assert {
        states[name] for name in ("Python", "av", "OpenCV", "video decoders", "face model", "emotion model", "Redis")
    } == {"ok"}


def test_what_is_missing_is_named_with_what_to_do(emostream: Run, world: World, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump({"detector": {"model": "./nowhere"}, "emotion": {"model": str(world.models[1])}}))
    ended = emostream("doctor", "--config", broken, "--redis", "redis://127.0.0.1:1", "--json")
    assert ended.code == 1
    missing = {f["what"]: f["detail"] for f in json.loads(ended.out)["findings"] if f["state"] == "missing"}
    assert set(missing) == {"face model", "Redis"}
    assert "no such model folder" in missing["face model"]
    assert "cannot be reached" in missing["Redis"]


def test_the_table_shows_it_to_people(emostream: Run, world: World, server: RedisServer) -> None:
    ended = emostream("doctor", "--config", world.config, "--redis", server.url)
    assert ended.code == 0
    assert "face model" in ended.out


def test_every_extra_that_is_named_exists() -> None:
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {match[1] for command in OPTIONAL.values() if (match := re.search(r"emostream\[([a-z-]+)\]", command))}
    assert {"train"} <= named <= set(extras)


def test_a_package_that_is_missing_is_a_finding_and_the_rest_is_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # as Python itself marks what cannot be imported
    states = {finding.what: finding.state for finding in examine(Config())}
    assert states["video decoders"] == "missing"
    assert states["face model"] == "ok"
    assert "Redis" in states
