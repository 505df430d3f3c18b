"""Live cameras through the whole worker: what is lost comes back, in one session, and its neighbour notices nothing."""

from __future__ import annotations

import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from stream import reader, subscribe
from tests.cli.conftest import World, configured, events_of, process, read_until
from tests.redis_server import RedisServer
from tests.rtsp_server import Behaviour, RtspServer

pytestmark = pytest.mark.redis
PATIENT = {"stall_s": 30.0}  # a busy machine is no stall of a camera


def test_a_camera_that_is_cut_comes_back(world: World, server: RedisServer, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    playing = Behaviour(path=world.moody, speed=1.0, loop=True)
    with RtspServer({"lost": playing, "steady": playing}) as rtsp:
        sources = [f"{name}={rtsp.url(name)}" for name in ("lost", "steady")]
        config = configured(world, tmp_path / "patient.yaml", source=PATIENT)
        options = ("--config", config, "--redis", server.url, "--out", out)
        with process("run", *sources, *options) as child:
            read_until(child, "lost arrived")
            rtsp.set("lost", Behaviour(kind="refuse"))
            read_until(child, "lost left", "lost offline")
            rtsp.set("lost", playing)
            read_until(child, "lost live")
            child.send_signal(signal.SIGTERM)
            child.communicate(timeout=20)
        assert child.returncode == 0
    events = events_of(out)
    lost = [event for event in events if event.camera_id == "lost"]
    assert len({event.session for event in lost}) == 1
    assert [event.seq for event in lost] == list(range(len(lost)))
    assert all(event.clock_source == "arrival" and event.captured_at is not None for event in lost)
    times = [event.media_time_s for event in lost]
    assert times == sorted(times)
    steady = [event.status for event in events if event.type == "camera.status" and event.camera_id == "steady"]
    assert steady == ["connecting", "live", "ended"]
    read = list(subscribe(server.url, cameras=["lost"], from_="start", idle_s=0.5))
    assert [event.to_json() for event in read] == [event.to_json() for event in lost]


def test_a_camera_that_falls_silent_is_stalled_and_its_tracks_end(
    world: World, server: RedisServer, tmp_path: Path
) -> None:
    out = tmp_path / "events.jsonl"
    playing = Behaviour(path=world.moody, speed=1.0)
    with RtspServer({"cam": playing}) as rtsp:
        options = ("--config", world.config, "--redis", server.url, "--out", out)
        with process("run", f"cam={rtsp.url('cam')}", *options) as child:
            read_until(child, "cam arrived")
            rtsp.set("cam", Behaviour(path=world.moody, kind="stall"))
            read_until(child, "cam stalled", "cam left", "cam offline")
            child.send_signal(signal.SIGTERM)
            child.communicate(timeout=20)
    statuses = [event.status for event in events_of(out) if event.type == "camera.status"]
    assert statuses[:4] == ["connecting", "live", "stalled", "offline"]


def test_a_password_that_is_changed_keeps_one_camera_away_and_no_other(
    world: World, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "events.jsonl"
    playing = Behaviour(path=world.moody, speed=1.0, loop=True)
    right = replace(playing, user="admin", password="s3cret")
    with RtspServer({"locked": right, "steady": playing}) as rtsp:
        monkeypatch.setenv("LOCKED", rtsp.url("locked", "admin", "s3cret"))
        sources = ("locked=${LOCKED}", f"steady={rtsp.url('steady')}")
        config = configured(world, tmp_path / "patient.yaml", source=PATIENT)
        with process("run", *sources, "--config", config, "--redis", server.url, "--out", out) as child:
            read_until(child, "locked arrived")
            rtsp.set("locked", replace(right, kind="cut", password="another"))
            read_until(child, "locked offline", "locked offline 401", "locked offline 401")
            rtsp.set("locked", right)
            read_until(child, "locked live")
            child.send_signal(signal.SIGTERM)
            _, err = child.communicate(timeout=20)
    assert child.returncode == 0
    assert "s3cret" not in err + out.read_text()
    events = events_of(out)
    refused = [event for event in events if event.type == "camera.status" and "401" in (event.reason or "")]
    assert all(event.retry_in_s is not None and event.retry_in_s <= reader.REFUSED_CAP_S for event in refused)
    times = [event.media_time_s for event in events if event.camera_id == "steady" and event.type != "camera.status"]
    assert max(later - earlier for earlier, later in pairwise(times)) < 6.0  # a sample a second, or a face that comes
    steady = [e.status for e in events if e.type == "camera.status" and e.camera_id == "steady"]
    assert steady == ["connecting", "live", "ended"]
