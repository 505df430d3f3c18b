"""What `emostream doctor` finds: a machine that can run, and one that lacks something."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from stream.config import Config
from stream.doctor import OPTIONAL, examine
from tests.cli.conftest import Run, World, configured
from tests.redis_server import RedisServer
from tests.rtsp_server import Behaviour, RtspServer

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


def test_every_camera_is_opened_for_a_moment(emostream: Run, world: World, server: RedisServer, tmp_path: Path) -> None:
    behaviours = {
        "good": Behaviour(world.moody, speed=1.0, loop=True),
        "closed": Behaviour(world.moody, user="w4tcher", password="s3cr3t"),
        "silent": Behaviour(world.moody, kind="silent"),
    }
    with RtspServer(behaviours) as rtsp:
        login = rtsp.url("closed").replace("rtsp://", "rtsp://w4tcher:wr0ng@")
        sources = {"good": rtsp.url("good"), "closed": login, "silent": rtsp.url("silent"), "file": str(world.short)}
        sources["nowhere"] = str(tmp_path / "nowhere.mp4")
        # only who is silent is given up early: a busy machine may take as long to open the others
        quick = {"silent": {"open_timeout_s": 0.5, "read_timeout_s": 0.5}}
        entries = [{"name": n, "source": source, "settings": quick.get(n, {})} for n, source in sources.items()]
        config = configured(world, tmp_path / "e.yaml", cameras=entries, privacy={"purpose": "a trial"})
        ended = emostream("doctor", "--config", config, "--redis", server.url, "--json")
    assert ended.code == 1
    findings = {finding["what"]: finding for finding in json.loads(ended.out)["findings"]}
    states = {name: findings[f"camera {name}"]["state"] for name in sources}
    assert states == {"good": "ok", "closed": "broken", "silent": "broken", "file": "ok", "nowhere": "broken"}
    good = re.search(r": (\d+)x(\d+) h264, frames a second: ([\d.]+) seen", findings["camera good"]["detail"])
    assert good is not None
    assert 5.0 < float(good[3]) < 50.0  # of two seconds on a machine that may be busy
    assert "frames a second: 25 seen, 25 claimed" in findings["camera file"]["detail"]
    assert "401" in findings["camera closed"]["detail"]
    assert findings["camera silent"]["mend"] == f"nc -vz 127.0.0.1 {urlsplit(rtsp.url('silent')).port}"
    assert findings["camera nowhere"]["mend"] == f"ls -l {tmp_path}/nowhere.mp4"
    assert findings["privacy"]["detail"] == "mode full, purpose: a trial"
    for secret in ("w4tcher", "wr0ng", "s3cr3t"):
        assert secret not in ended.out + ended.err


def test_sources_may_be_arguments(emostream: Run, world: World, server: RedisServer) -> None:
    ended = emostream(
        "doctor", f"a={world.short}", "synthetic:64x64@5", "--config", world.config, "--redis", server.url
    )
    assert ended.code == 0, ended.out
    assert "camera a" in ended.out
    assert "camera cam2" in ended.out
    wrong = emostream("doctor", "gopher://x", "--config", world.config, "--redis", server.url)
    assert wrong.code == 1
    assert "unknown kind of source" in " ".join(wrong.out.split())


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
