"""Cameras that are added to and removed from a whole worker, by HTTP and by the command line."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from stream import subscribe
from stream.config import RedisConfig
from stream.sinks.lease import Leases
from stream.sinks.redis import CAMERAS, camera_key, lease_key
from tests.cli.conftest import Run, World, events_of, process, read_until
from tests.redis_server import RedisServer
from tests.rtsp_server import Behaviour, RtspServer
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


@dataclass(frozen=True)
class Running:
    """A worker with a page."""

    child: subprocess.Popen[str]
    url: str
    asking: httpx.Client
    out: Path

    def info(self, name: str) -> dict[str, Any]:
        """Of a camera, as the API tells it."""
        return next((info for info in self.asking.get("/api/cameras").json() if info["name"] == name), {})

    def stop(self) -> str:
        """What it still says; it must end well."""
        self.child.send_signal(signal.SIGTERM)
        _, err = self.child.communicate(timeout=20)
        assert self.child.returncode == 0, err
        return err


@contextmanager
def running(world: World, server: RedisServer, folder: Path, *arguments: object) -> Iterator[Running]:
    """Ready for cameras."""
    out = folder / "events.jsonl"
    options = ("--config", world.config, "--redis", server.url, "--http", "127.0.0.1:0", "--out", out)
    with process("run", *options, *arguments) as child:
        assert child.stderr is not None
        said = next(line for line in child.stderr if line.startswith("live page at "))
        url = said.split()[-1]
        with httpx.Client(base_url=url, trust_env=False, timeout=30.0) as asking:
            wait_until(lambda: asking.get("/readyz").status_code == 200)
            yield Running(child, url, asking, out)


def test_a_camera_comes_goes_and_comes_again(world: World, server: RedisServer, tmp_path: Path) -> None:
    playing = Behaviour(path=world.moody, speed=1.0, loop=True)
    with RtspServer({"lobby": playing}) as rtsp, running(world, server, tmp_path) as worker:
        body = {
            "name": "lobby",
            "source": rtsp.url("lobby", "viewer", "s3cret"),
            "settings": {"analyse_hz": 10, "stall_s": 30},
        }
        added = worker.asking.post("/api/cameras", json=body)
        assert added.status_code == 201
        assert worker.asking.post("/api/cameras", json=body).status_code == 409
        read_until(worker.child, "lobby live", "lobby arrived")
        told = worker.info("lobby")
        assert (told["state"], told["analyse_hz"], told["reconnects"]) == ("live", 10.0, 0)
        assert worker.asking.delete("/api/cameras/lobby").status_code == 204
        assert worker.info("lobby") == {}
        with server.client() as client:
            assert client.get(lease_key("lobby")) is None
            assert client.sismember(CAMERAS, "lobby")
        assert worker.asking.delete("/api/cameras/lobby").status_code == 404
        assert worker.asking.post("/api/cameras", json=body).status_code == 201  # the last camera's end ended nothing
        read_until(worker.child, "lobby live", "lobby arrived")
        with server.client() as client:
            assert client.hget(camera_key("lobby"), "status") == "live"
        err = worker.stop()
    events = events_of(worker.out)
    sessions = list(dict.fromkeys(event.session for event in events))
    assert len(sessions) == 2
    for session, why in zip(sessions, ("removed", "stopped"), strict=True):
        own = [event for event in events if event.session == session]
        assert [event.seq for event in own] == list(range(len(own)))
        started = [event.track_id for event in own if event.type == "track.started"]
        ended = [(event.track_id, event.reason) for event in own if event.type == "track.ended"]
        assert started
        assert ended[-1] == (started[-1], "camera_ended")
        assert own[-1].type == "camera.status"
        assert (own[-1].status, own[-1].reason) == ("ended", why)
    stored = subscribe(server.url, cameras=["lobby"], from_="start", idle_s=0.5)
    read = [event for event in stored if event.session in sessions]  # others of that name had the Redis before
    assert [event.to_json() for event in read] == [event.to_json() for event in events]
    assert "s3cret" not in err + worker.out.read_text() + json.dumps(told) + added.text


def test_a_file_is_added_beside_another_and_dropped_frames_are_none(
    world: World, server: RedisServer, tmp_path: Path
) -> None:
    with running(world, server, tmp_path, f"first={world.short}") as worker:
        read_until(worker.child, "first ended")
        assert (
            worker.asking.post("/api/cameras", json={"name": "second", "source": str(world.short)}).status_code == 201
        )
        read_until(worker.child, "second ended")
        wait_until(lambda: worker.info("second")["state"] == "ended")
        worker.stop()
    words = {"camera_id", "session"}
    first, second = (
        [event.model_dump(exclude=words) for event in events_of(worker.out) if event.camera_id == name]
        for name in ("first", "second")
    )
    assert first == second


def test_what_cannot_be_added_is_told(
    world: World, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS_SECRET", "s3cret")
    leases = Leases(RedisConfig(url=server.url), "another")
    with running(world, server, tmp_path) as worker:
        assert leases.lease("lobby")
        refused = {
            "lobby": ({"source": "synthetic:64x64@5"}, 409, "run by another worker"),
            "gone": ({"source": str(tmp_path / "gone.mp4")}, 422, "no such file"),
            "odd": ({"source": "gopher://s3cret@camera"}, 422, "unknown kind of source"),
            "wrong": ({"source": "synthetic:64x64@5", "settings": {"fps": 5}}, 422, "settings.fps: unknown key"),
            "secret": ({"source": "http://127.0.0.1:1/${WORKERS_SECRET}"}, 422, "not filled in"),
        }
        for name, (body, code, words) in refused.items():
            answer = worker.asking.post("/api/cameras", json={"name": name, **body})
            assert (answer.status_code, words in answer.json()["detail"]) == (code, True), answer.text
            assert "s3cret" not in answer.text
        assert worker.asking.get("/api/cameras").json() == []
        leases.close()
        body = {"name": "lobby", "source": "synthetic:64x64@5?seconds=1"}
        assert worker.asking.post("/api/cameras", json=body).status_code == 201
        worker.stop()


def test_from_the_command_line(world: World, server: RedisServer, tmp_path: Path, emostream: Run) -> None:
    with running(world, server, tmp_path) as worker:
        for options in ((), ("--url", worker.url)):  # found by itself: both use the runtime folder of the test
            added = emostream("cameras", "add", f"lobby={world.moody}", "--json", *options)
            assert (added.code, json.loads(added.out)["name"]) == (0, "lobby")
            again = emostream("cameras", "add", f"lobby={world.moody}", *options)
            assert (again.code, again.out) == (2, "")
            assert again.sentence.startswith("emostream: a camera lobby is there already; remove it first")
            listed = emostream("cameras", "list", "--json", *options)
            assert [info["name"] for info in json.loads(listed.out)["cameras"]] == ["lobby"]
            assert "lobby" in emostream("cameras", "list", *options).out
            assert emostream("cameras", "remove", "lobby", *options).code == 0
            assert emostream("cameras", "remove", "lobby", *options).sentence == "emostream: there is no camera 'lobby'"
        url = worker.url
        worker.stop()
    assert emostream("cameras", "list").sentence.startswith("emostream: no worker with a page runs here")
    gone = emostream("cameras", "list", "--url", url)
    assert (gone.code, "no worker answers at http://127.0.0.1:" in gone.sentence) == (2, True)
    assert emostream("cameras", "list", "--url", "nonsense").code == 2


def test_what_is_not_served_ends_before_any_camera(emostream: Run, world: World, server: RedisServer) -> None:
    for address in ("0.0.0.0:0", f"127.0.0.1:{server.port}", "here"):
        ended = emostream("run", world.short, "--config", world.config, "--redis", server.url, "--http", address)
        assert (ended.code, ended.out) == (2, "")
        assert ended.sentence.startswith("emostream: web.")


def test_files_and_a_page_end_when_they_were_told_to(emostream: Run, world: World, server: RedisServer) -> None:
    options = ("--config", world.config, "--redis", server.url, "--http", "127.0.0.1:0", "--hold", "0", "--json")
    ended = emostream("run", world.short, *options)
    assert (ended.code, json.loads(ended.out)["failed"]) == (0, {})
