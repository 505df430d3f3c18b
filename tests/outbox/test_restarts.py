"""Starts of a worker on a real Redis, one after another: each event is stored once, and in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from stream.client import subscribe
from stream.config import OutboxConfig, RedisConfig
from stream.errors import Closed
from stream.events import Event, parse
from stream.outbox.durable import DurableOutbox
from stream.outbox.place import claim
from stream.publisher import Publisher
from stream.sinks.redis import RedisSink, camera_key, stream_key
from tests.redis_server import RedisServer
from tests.sinks.made import START, Clock, sample, samples, started, status


class Queue:
    """Events that wait already, and no more."""

    closed = True

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = list(events)

    def take(self, timeout_s: float | None) -> list[Event]:
        if not self._events:
            raise Closed
        events, self._events = self._events, []
        return events


def publish(path: Path, clock: Clock, url: str, events: Sequence[Event], drain_s: float = 5.0) -> None:
    """One start of a worker that tells these events to Redis and ends."""
    config = RedisConfig(url=url)
    store = claim(path, "redis", [])
    sink = RedisSink(config, "worker", wall=clock, notes=store)
    sink.name = "redis"
    publisher = Publisher(DurableOutbox(OutboxConfig(), store, "redis", wall=clock), [sink], drain_s=drain_s)
    publisher.open()
    publisher.run(Queue(events))
    publisher.close()


@pytest.mark.redis
def test_what_redis_has_already_is_not_stored_twice_by_the_next_start(
    path: Path, clock: Clock, server: RedisServer
) -> None:
    publish(path, clock, server.url, samples(5))
    before = path.read_bytes()
    clock.now = START + timedelta(seconds=1)
    publish(path, clock, server.url, samples(3, session="second"))
    path.write_bytes(before)  # as if the second start, and all that it wrote down, had been killed
    clock.now = START + timedelta(seconds=2)
    publish(path, clock, server.url, samples(2, session="third"))
    told = [(event.session, event.seq) for event in subscribe(server.url, from_="start", idle_s=0.3)]
    first = sample().session
    assert told == [
        *[(first, seq) for seq in range(5)],
        *[("second", seq) for seq in range(3)],
        *[("third", seq) for seq in range(2)],
    ]


@pytest.mark.redis
def test_a_redis_that_lost_its_tail_while_the_worker_was_down_gets_it_back(
    path: Path, clock: Clock, own_server: RedisServer
) -> None:
    publish(path, clock, own_server.url, samples(3))
    own_server.kill()
    own_server.forget()
    own_server.start()
    clock.now = START + timedelta(seconds=20)
    publish(path, clock, own_server.url, samples(2, session="second"))
    told = [(event.session, event.seq) for event in subscribe(own_server.url, from_="start", idle_s=0.3)]
    assert told == [*[(sample().session, seq) for seq in range(3)], ("second", 0), ("second", 1)]


class Start:
    """One start of a worker, whose sends the test takes step by step, and which may be killed."""

    def __init__(self, path: Path, clock: Clock, url: str, maxlen: int = 100_000) -> None:
        self.store = claim(path, "sink", [])
        self.outbox = DurableOutbox(OutboxConfig(), self.store, "sink", wall=clock)
        self.sink = RedisSink(RedisConfig(url=url, maxlen=maxlen), "worker", wall=clock, notes=self.store)
        self.reach()

    def reach(self) -> None:
        self.sink.open()
        self.outbox.rewind("sink")

    def send(self, batches: int = 1_000) -> None:
        for _ in range(batches):
            if batch := self.outbox.pending("sink", 256):
                self.sink.send(batch)
                self.outbox.acknowledge("sink", batch)

    def kill(self) -> None:
        self.store.close()
        self.sink.close()


@pytest.mark.redis
def test_killed_in_the_middle_of_a_backlog_that_the_stream_does_not_hold(
    path: Path, clock: Clock, server: RedisServer
) -> None:
    first = Start(path, clock, server.url, maxlen=100)
    first.outbox.append(samples(2_000))
    first.send(batches=6)
    first.kill()
    second = Start(path, clock, server.url, maxlen=100)
    second.send()
    second.kill()
    with server.client() as client:
        entries = client.xrange(stream_key("cam1"))
    assert [parse(fields["event"]).seq for _, fields in entries] == list(range(2_000 - len(entries), 2_000))
    assert not any("late" in fields for _, fields in entries)


@pytest.mark.redis
def test_a_camera_that_another_worker_had_meanwhile_is_told_as_it_is_now(
    path: Path, clock: Clock, server: RedisServer
) -> None:
    first = Start(path, clock, server.url)
    first.outbox.append([status()])
    first.send()
    first.outbox.append([started()])  # accepted, not sent
    first.kill()
    clock.now += timedelta(minutes=1)
    other = Start(path.with_name("other"), clock, server.url)
    other.outbox.append([status(session="theirs"), status(session="theirs", told="ended")])
    other.send()
    other.kill()
    clock.now += timedelta(minutes=1)
    again = Start(path, clock, server.url)
    again.outbox.append([status(session="again")])
    again.send()
    clock.now -= timedelta(hours=1)  # and its clock is put right
    again.outbox.append([status(session="again", told="offline")])
    again.send()
    again.kill()
    with server.client() as client:
        assert client.hget(camera_key("cam1"), "status") == "offline"
        entries = client.xrange(stream_key("cam1"))
    told = [(parse(fields["event"]).session, "late" in fields) for _, fields in entries]
    old = sample().session
    assert told == [
        (old, False),
        ("theirs", False),
        ("theirs", False),
        (old, True),
        (old, True),
        *[("again", False)] * 2,
    ]


@pytest.mark.redis
def test_runs_that_began_anew_are_remembered_as_they_were_used(path: Path, clock: Clock, server: RedisServer) -> None:
    """Two workers, and a Redis that came back from an older state: what is stored then is known after a restart."""
    first = Start(path, clock, server.url)
    first.outbox.append(samples(3))
    first.send()
    with server.client() as client:
        older = redis.Redis(port=server.port).dump(stream_key("cam1"))
        first.outbox.append(samples(2))
        first.send()
        clock.now += timedelta(seconds=5)
        other = Start(path.with_name("other"), clock, server.url)
        other.outbox.append(samples(1, session="theirs"))
        other.send()
        clock.now += timedelta(seconds=5)
        first.reach()
        first.outbox.append(samples(5))
        first.send()
        client.delete(stream_key("cam1"))
        redis.Redis(port=server.port).restore(stream_key("cam1"), 0, older)
        other.reach()
        other.send()
        clock.now += timedelta(seconds=5)
        first.reach()
        first.send()
        before = client.xrange(stream_key("cam1"))
        first.kill()
        clock.now += timedelta(seconds=5)
        again = Start(path, clock, server.url)
        again.send()
        assert client.xrange(stream_key("cam1")) == before
    told = [event.seq for event in subscribe(server.url, from_="start", idle_s=0.3) if event.session != "theirs"]
    assert told == list(range(10))
    again.kill()
    other.kill()
