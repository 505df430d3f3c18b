"""A worker that is killed, and one that is told twice to go: what was accepted is delivered by the next start."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from stream.client import subscribe
from stream.events import AnyEvent
from tests.cli.conftest import Run, World, process
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis


def until(child: subprocess.Popen[str], word: str) -> None:
    """Read what the child says until this."""
    assert child.stdout is not None
    for line in child.stdout:
        if word in line:
            return
    raise AssertionError(f"it ended without {word!r}: {child.stderr.read() if child.stderr else ''}")


def told(server: RedisServer) -> list[AnyEvent]:
    return list(subscribe(server.url, from_="start", idle_s=0.3))


@pytest.fixture
def started(world: World, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """The arguments of a worker on a clip at its own speed; its outbox is in the state folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return ("run", world.moody, "--config", world.config, "--redis", server.url, "--realtime")


def test_a_killed_worker_loses_nothing_and_its_faces_end(
    started: tuple[object, ...], emostream: Run, world: World, server: RedisServer, tmp_path: Path
) -> None:
    with process(*started) as child:
        until(child, "-> sad")
        child.kill()
    left = told(server)
    assert left[-1].type != "track.ended"
    with server.client() as client:
        client.delete("emostream:lease:{moody}")  # it would run out in seconds
    ended = emostream("run", world.moody, "--config", world.config, "--redis", server.url)
    assert (ended.code, "whose end is told now (worker_lost): 1" in ended.err) == (0, True)
    events = told(server)
    second = next(at for at, event in enumerate(events) if at and event.seq == 0)
    first = events[:second]
    assert [event.seq for event in first] == list(range(len(first)))
    assert first[: len(left)] == left
    last = first[-1]
    assert last.type == "track.ended"
    assert last.reason == "worker_lost"
    assert last.duration_s > 0
    assert [event.seq for event in events[second:]] == list(range(len(events) - second))
    assert events[-1].type == "camera.status"
    outboxes = list(tmp_path.rglob("*.sqlite"))
    assert len(outboxes) == 1


def test_who_asks_twice_leaves_at_once_and_what_was_kept_is_whole(
    started: tuple[object, ...], emostream: Run, world: World, server: RedisServer
) -> None:
    with process(*started) as child:
        until(child, "arrived")
        server.hang()  # so that it cannot drain
        try:
            for number in (signal.SIGINT, signal.SIGTERM):  # two of one kind could arrive as one
                child.send_signal(number)
            assert child.wait(10) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
        finally:
            server.resume()
    with server.client() as client:
        client.delete("emostream:lease:{moody}")
    assert emostream("run", world.moody, "--config", world.config, "--redis", server.url).code == 0
    events = told(server)
    second = next(at for at, event in enumerate(events) if at and event.seq == 0)
    assert [event.seq for event in events[:second]] == list(range(second))
    assert [event.seq for event in events[second:]] == list(range(len(events) - second))


def test_a_redis_that_is_away_at_the_end_gets_the_rest_at_the_next_start(
    started: tuple[object, ...], emostream: Run, world: World, own_server: RedisServer
) -> None:
    arguments = [*started[:-2], own_server.url, "--realtime"]
    with process(*arguments) as child:
        until(child, "arrived")
        own_server.kill()
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "events were not delivered" in err
    assert "delivered first at the next start" in err
    own_server.start()
    with own_server.client() as client:
        client.delete("emostream:lease:{moody}")
    ended = emostream("run", world.short, "--config", world.config, "--redis", own_server.url)
    assert ended.code == 0
    assert "are delivered first: " in ended.err
    events = [event for event in told(own_server) if event.camera_id == "moody"]
    assert [event.seq for event in events] == list(range(len(events)))
    assert events[-1].type == "camera.status"
    assert events[-1].status == "ended"
