"""`listen`: what is said now, and nothing else."""

from __future__ import annotations

import logging
import threading
from contextlib import closing

import pytest

from stream.client import listen
from stream.errors import SinkError, SinkRefused
from stream.sinks.redis import PROBE, stream_key
from tests.client.told import Program, places, take, worker
from tests.redis_server import RedisServer
from tests.sinks.made import sample, samples
from tests.waiting import wait_until

pytestmark = pytest.mark.redis

TIMEOUT_S = 0.3  # for a Redis that hangs


def heard(server: RedisServer, listeners: int = 1) -> None:
    """Returns once so many listen."""
    with server.client() as client:
        key = stream_key("cam1")
        wait_until(lambda: client.pubsub_numpat() + dict(client.pubsub_numsub(key))[key] >= listeners)


@pytest.mark.parametrize("cameras", [None, ["cam1", "cam2"]])
def test_events_are_heard_as_they_are_said(server: RedisServer, cameras: list[str] | None) -> None:
    stop = threading.Event()
    with worker(server) as told:
        told.say(samples(3))
        program = Program(listen(server.url, cameras, stop=stop), stop)
        heard(server)
        told.say([sample("cam1"), sample("cam2"), sample("cam1")])
        program.wait_for(3)
        program.stop()
    assert places(program.events) == [("cam1", 3), ("cam2", 0), ("cam1", 4)]


def test_what_is_no_event_is_told_and_passed_over(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    with worker(server) as told, server.client() as client, caplog.at_level(logging.WARNING):
        program = Program(listen(server.url, stop=stop), stop)
        heard(server)
        client.publish(stream_key("cam1"), "not json")
        client.publish(stream_key("cam1"), sample().to_json().replace("emotion.sample", "gaze.sample"))
        told.say(samples(1))
        program.wait_for(1)
        program.stop()
    assert places(program.events) == [("cam1", 0)]
    assert len(caplog.records) == 1


def test_a_redis_that_dies_and_comes_back(own_server: RedisServer) -> None:
    stop = threading.Event()
    with worker(own_server) as told:
        program = Program(listen(own_server.url, stop=stop), stop)
        heard(own_server)
        told.say(samples(1))
        program.wait_for(1)
        own_server.kill()
        own_server.start()
        heard(own_server)
        told.again()
        told.say(samples(1))
        program.wait_for(2)
        program.stop()
    assert places(program.events) == [("cam1", 0), ("cam1", 1)]


def test_a_redis_that_hangs_is_noticed_and_heard_again(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    with worker(own_server) as told, caplog.at_level(logging.WARNING):
        program = Program(listen(own_server.url, stop=stop, timeout_s=TIMEOUT_S), stop)
        heard(own_server)
        own_server.hang()
        wait_until(lambda: "did not answer in time" in caplog.text)
        own_server.resume()
        while not program.wait_for(1, limit_s=0.05):
            told.say(samples(1))
        program.stop()
    assert program.error is None


def test_a_redis_that_hangs_at_the_start(own_server: RedisServer) -> None:
    own_server.hang()
    with pytest.raises(SinkError, match="did not answer in time"):
        next(listen(own_server.url, timeout_s=TIMEOUT_S))


def test_quiet_is_not_dead(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    with worker(own_server) as told, own_server.client() as client, caplog.at_level(logging.WARNING):
        program = Program(listen(own_server.url, stop=stop, timeout_s=TIMEOUT_S), stop)
        wait_until(lambda: client.info("commandstats").get("cmdstat_ping", {}).get("calls", 0) >= 2)
        told.say(samples(1))
        program.wait_for(1)
        program.stop()
    assert places(program.events) == [("cam1", 0)]
    assert caplog.records == []


def test_of_no_camera_nothing_is_heard(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    with worker(server) as told, server.client() as client, caplog.at_level(logging.WARNING):
        program = Program(listen(server.url, [], stop=stop), stop)
        wait_until(lambda: client.pubsub_channels() or client.pubsub_numpat())
        told.say(samples(1))
        client.publish(PROBE, "not an event")  # what was said before it would be heard before it
        wait_until(lambda: PROBE in caplog.text)
        program.stop()
    assert program.events == []


def test_it_ends_when_nothing_is_said(server: RedisServer) -> None:
    assert list(listen(server.url, idle_s=0.1)) == []


def test_no_redis_and_a_redis_that_says_no(own_server: RedisServer) -> None:
    with pytest.raises(SinkError, match="cannot be reached"):
        next(listen("redis://127.0.0.1:1"))
    with own_server.client() as client:
        client.config_set("requirepass", "right")
    with pytest.raises(SinkRefused), closing(listen(own_server.url)) as events:
        take(events, 1)
