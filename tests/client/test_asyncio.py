"""The asynchronous twins: the same promises, driven by asyncio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import pytest

from stream.client import alisten, asubscribe
from stream.errors import ConfigError, SinkError
from stream.events import AnyEvent
from stream.sinks.redis import group_key
from tests.client.told import LIMIT_S, places, seqs, worker
from tests.redis_server import RedisServer
from tests.sinks.made import sample, samples

pytestmark = pytest.mark.redis


def run(program: Coroutine[Any, Any, list[AnyEvent]]) -> list[AnyEvent]:
    return asyncio.run(asyncio.wait_for(program, LIMIT_S))


async def take(events: AsyncGenerator[AnyEvent, None], count: int | None = None) -> list[AnyEvent]:
    taken: list[AnyEvent] = []
    async for event in events:
        taken.append(event)
        if len(taken) == count:
            break
    await events.aclose()
    return taken


def test_events_come_in_order_and_the_iterator_ends(server: RedisServer) -> None:
    with worker(server) as told:
        told.say(samples(100, "one") + samples(3, "two"))
    events = run(take(asubscribe(server.url, from_="start", idle_s=0.2)))
    assert (seqs(events, "one"), seqs(events, "two")) == (list(range(100)), [0, 1, 2])


def test_a_group_goes_on_where_it_was(server: RedisServer) -> None:
    with worker(server) as told, server.client() as client:
        told.say(samples(4))
        assert seqs(run(take(asubscribe(server.url, group="g", from_="start"), 3))) == [0, 1, 2]
        assert not client.exists(group_key("cam1", "g"))
        assert seqs(run(take(asubscribe(server.url, group="g", idle_s=0.2)))) == [2, 3]


def test_many_events_are_waited_for_beside_other_work(server: RedisServer) -> None:
    async def both() -> list[AnyEvent]:
        reading = asyncio.create_task(take(asubscribe(server.url, from_="start"), 20))
        with worker(server) as told:
            for _ in range(20):
                told.say(samples(1))
                await asyncio.sleep(0)
        return await reading

    assert seqs(run(both())) == list(range(20))


def test_it_stops_when_told_and_when_cancelled(server: RedisServer) -> None:
    async def both() -> list[AnyEvent]:
        stop = asyncio.Event()
        told_to = asyncio.create_task(take(asubscribe(server.url, group="g", stop=stop)))
        cancelled = asyncio.create_task(take(asubscribe(server.url)))
        await asyncio.sleep(0)
        stop.set()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        return await told_to

    assert run(both()) == []


def test_a_redis_that_dies_and_comes_back(own_server: RedisServer) -> None:
    async def reading() -> list[AnyEvent]:
        events = asubscribe(own_server.url, group="g", from_="start", lease_s=2.0)
        taken = [await anext(events) for _ in range(3)]
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(own_server.start)
        told.again()
        told.say(samples(2))
        taken += [await anext(events) for _ in range(2)]
        await events.aclose()
        return taken

    with worker(own_server) as told:
        told.say(samples(3))
        assert seqs(run(reading())) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cameras", [None, ["cam1", "cam2"]])
def test_listening(server: RedisServer, cameras: list[str] | None) -> None:
    async def reading() -> list[AnyEvent]:
        listening = asyncio.create_task(take(alisten(server.url, cameras), 2))
        with worker(server) as told, server.client() as client:
            while not (client.pubsub_numpat() or client.pubsub_channels()):
                await asyncio.sleep(0.01)
            told.say([sample("cam1"), sample("cam2")])
            return await listening

    assert places(run(reading())) == [("cam1", 0), ("cam2", 0)]


def test_a_redis_that_hangs_is_noticed_and_heard_again(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def reading() -> list[AnyEvent]:
        listening = asyncio.create_task(take(alisten(own_server.url, timeout_s=0.3), 1))
        with own_server.client() as client:
            while not client.pubsub_numpat():
                await asyncio.sleep(0.01)
        own_server.hang()
        while "did not answer in time" not in caplog.text:
            await asyncio.sleep(0.01)
        own_server.resume()
        while not listening.done():
            told.say(samples(1))
            await asyncio.sleep(0.01)
        return await listening

    with worker(own_server) as told, caplog.at_level(logging.WARNING):
        assert len(run(reading())) == 1


def test_a_redis_that_hangs_at_the_start(own_server: RedisServer) -> None:
    own_server.hang()
    with pytest.raises(SinkError, match="did not answer in time"):
        run(take(alisten(own_server.url, timeout_s=0.3)))


def test_of_no_camera_nothing_is_heard(server: RedisServer) -> None:
    async def reading() -> list[AnyEvent]:
        listening = asyncio.create_task(take(alisten(server.url, [], idle_s=0.5)))
        with worker(server) as told, server.client() as client:
            while not (client.pubsub_numpat() or client.pubsub_channels()):
                await asyncio.sleep(0.01)
            told.say(samples(1))
            return await listening

    assert run(reading()) == []


def test_listening_ends_when_nothing_is_said(server: RedisServer) -> None:
    assert run(take(alisten(server.url, idle_s=0.1))) == []


def test_trouble_at_the_start_is_raised() -> None:
    for events in (asubscribe("redis://127.0.0.1:1"), alisten("redis://127.0.0.1:1")):
        with pytest.raises(SinkError, match="cannot be reached"):
            run(take(events))
    with pytest.raises(ConfigError, match="no address of a Redis"):
        asubscribe("ftp://example.com")
