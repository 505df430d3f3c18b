"""Live cameras through the whole worker: what is lost comes back, in one session, and its neighbour notices nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from stream import reader, sources, subscribe
from stream.sources.base import StreamInfo
from stream.sources.synthetic import SyntheticSource
from tests.cli.conftest import Run, World, events_of, process
from tests.redis_server import RedisServer
from tests.rtsp_server import Behaviour, RtspServer

pytestmark = pytest.mark.redis


def read_until(child: subprocess.Popen[str], *words: str) -> None:
    """Read what the worker prints until each of `words` has come, in this order."""
    assert child.stdout is not None
    wanted = list(words)
    for line in child.stdout:
        if all(part in line for part in wanted[0].split()):
            wanted.pop(0)
            if not wanted:
                return
    raise AssertionError(f"the worker ended before it said {wanted[0]!r}")


def test_a_camera_that_is_cut_comes_back(world: World, server: RedisServer, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    playing = Behaviour(path=world.moody, speed=1.0, loop=True)
    with RtspServer({"lost": playing, "steady": playing}) as rtsp:
        sources = [f"{name}={rtsp.url(name)}" for name in ("lost", "steady")]
        options = ("--config", world.config, "--redis", server.url, "--out", out)
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
        with process("run", *sources, "--config", world.config, "--redis", server.url, "--out", out) as child:
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
    assert max(later - earlier for earlier, later in pairwise(times)) < 2.5  # a sample a second, or a face that comes
    steady = [e.status for e in events if e.type == "camera.status" and e.camera_id == "steady"]
    assert steady == ["connecting", "live", "ended"]


class HangsAtFirst(SyntheticSource):
    """Does not come back from its first opening until the test lets it go: a name server that never answers."""

    gate: threading.Event | None = None  # of the opening that is to hang

    def open(self) -> StreamInfo:
        gate, HangsAtFirst.gate = HangsAtFirst.gate, None
        if gate is not None:
            gate.wait()
        return super().open()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    gate = threading.Event()
    monkeypatch.setattr(HangsAtFirst, "gate", gate)
    monkeypatch.setitem(sources.SOURCES, "synthetic", (__name__, HangsAtFirst.__name__))
    monkeypatch.setattr(reader, "HANG_MARGIN_S", 0.2)
    yield gate
    gate.set()


def test_a_camera_whose_thread_hangs_goes_on_without_it(
    world: World, server: RedisServer, tmp_path: Path, emostream: Run, gate: threading.Event
) -> None:
    out = tmp_path / "events.jsonl"
    config = tmp_path / "live.yaml"
    config.write_text(world.config.read_text() + "source: {open_timeout_s: 0.1, realtime: true}\n")
    options = ("--config", config, "--redis", server.url, "--out", out, "--json")
    ended = emostream("run", "cam=synthetic:64x64@25?seconds=1", *options)
    told = json.loads(ended.out)
    assert (ended.code, told["hung"], told["failed"], told["abandoned"]) == (0, {"cam": 1}, {}, [])
    assert "camera cam: threads of it that hung and were abandoned: 1" in ended.err.splitlines()
    statuses = [event for event in events_of(out) if event.type == "camera.status"]
    assert [event.status for event in statuses] == ["connecting", "offline", "connecting", "live", "ended"]
    assert statuses[1].reason == "opening it hangs, whatever its timeout; its thread was abandoned"
    assert len({event.session for event in statuses}) == 1
