"""The main job: video in, events out of a real Redis and a file, the same bytes every time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from stream import subscribe
from stream.sinks.redis import camera_key, stream_key
from tests.cli.conftest import Run, World, events_of, moods
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis


def test_a_video_becomes_events(emostream: Run, world: World, server: RedisServer, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    ended = emostream("run", world.moody, "--config", world.config, "--redis", server.url, "--out", out, "--json")
    assert ended.code == 0, ended.err
    events = events_of(out)
    assert moods(events, "moody") == ["sad", "happy"]
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.type for event in events][:2] == ["camera.status", "camera.status"]
    assert events[-1].type == "camera.status"
    answer = json.loads(ended.out)
    assert answer["events"]["emotion.changed"] == 2
    assert answer["failed"] == {}


def test_redis_holds_what_the_file_holds(emostream: Run, world: World, server: RedisServer, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    assert emostream("run", world.moody, "--config", world.config, "--redis", server.url, "--out", out).code == 0
    with server.client() as client:
        entries = client.xrange(stream_key("moody"))
        assert [fields["event"] for _, fields in entries] == out.read_text().splitlines()
        assert [int(entry_id.split("-")[1]) for entry_id, _ in entries] == list(range(len(entries)))
        assert client.smembers("emostream:cameras") == {"moody"}
        assert client.hget(camera_key("moody"), "status") == "ended"
    read = list(subscribe(server.url, cameras=["moody"], from_="start", idle_s=0.5))
    assert [event.to_json() for event in read] == out.read_text().splitlines()


def test_a_replay_is_byte_for_byte_the_same(emostream: Run, world: World, server: RedisServer, tmp_path: Path) -> None:
    """Alone, twice in a row, and beside other files: a camera's events do not depend on its neighbours."""

    def run(name: str, *sources: object) -> list[str]:
        out = tmp_path / name
        ended = emostream(
            "run", *sources, "--config", world.config, "--redis", server.url, "--out", out, "--every-frame"
        )
        assert ended.code == 0, ended.err
        return out.read_text().splitlines()

    alone = run("alone", world.moody)
    assert run("again", world.moody) == alone
    together = run("together", world.short, world.moody, f"third={world.short}")
    assert run("together-again", world.short, world.moody, f"third={world.short}") == together
    assert [line for line in together if json.loads(line)["camera_id"] == "moody"] == alone


def test_another_configuration_is_another_session(
    emostream: Run, world: World, server: RedisServer, tmp_path: Path
) -> None:
    sessions = set()
    for number, options in enumerate([(), ("--analyse-hz", "10"), ("--start-at", "2026-11-21T08:00:00Z")]):
        out = tmp_path / f"{number}.jsonl"
        emostream("run", world.short, "--config", world.config, "--redis", server.url, "--out", out, *options)
        sessions |= {event.session for event in events_of(out)}
    assert len(sessions) == 3


def test_the_start_of_a_recording_dates_its_events(
    emostream: Run, world: World, server: RedisServer, tmp_path: Path
) -> None:
    out = tmp_path / "events.jsonl"
    start = "2026-11-21T08:00:00Z"
    emostream("run", world.short, "--config", world.config, "--redis", server.url, "--out", out, "--start-at", start)
    last = events_of(out)[-1]
    assert last.captured_at is not None
    assert last.captured_at.isoformat().startswith("2026-11-21T08:00:02.")


def test_a_private_redis_is_there_without_asking(emostream: Run, world: World) -> None:
    ended = emostream("run", world.short, "--config", world.config, "--hold", "0")
    assert ended.code == 0, ended.err
    assert "private Redis at redis://127.0.0.1:" in ended.err


def test_watch_tells_the_events_again(emostream: Run, world: World, server: RedisServer, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    emostream("run", world.moody, "--config", world.config, "--redis", server.url, "--out", out)
    watched = emostream("watch", "--redis", server.url, "--from", "start", "--idle", "0.5", "--json")
    assert watched.code == 0, watched.err
    assert watched.out.splitlines() == out.read_text().splitlines()
    lines = emostream("watch", "--redis", server.url, "--from", "start", "--idle", "0.5")
    assert "moody        00:00.0  live" in lines.out
    assert "ended" in lines.out.splitlines()[-1]


def test_watch_on_a_terminal_is_a_screen(emostream: Run, world: World, server: RedisServer) -> None:
    emostream("run", world.moody, "--config", world.config, "--redis", server.url)
    inside, outside = pty.openpty()
    fcntl.ioctl(outside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = (sys.executable, "-m", "stream", "watch", "--redis", server.url, "--from", "start", "--idle", "0.5")
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=outside, stdout=outside, stderr=outside, env=environment) as child:
        os.close(outside)
        said = b""
        with contextlib.suppress(OSError):  # the end of a terminal that nobody holds any more
            while data := os.read(inside, 65536):
                said += data
        os.close(inside)
    assert child.returncode == 0, said
    alternate, _, after = said.decode().rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in alternate
    assert "last minute" in after  # the last state stays
    assert max(len(re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", line.rstrip("\r"))) for line in after.split("\n")) <= 80
