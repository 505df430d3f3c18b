"""Redis behind Sentinels: addresses, and a primary that is replaced while everybody works with it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from stream.client import alisten, asubscribe, listen, subscribe
from stream.config import RedisConfig
from stream.errors import ConfigError, SinkError, SinkRefused
from stream.events import AnyEvent
from stream.sinks.lease import Leases
from stream.sinks.redis import RedisSink, ping, stream_key
from stream.sinks.sentinel import parse
from tests.client.told import LIMIT_S, Program, reading, seqs
from tests.redis_server import RedisServer
from tests.sentinels import SERVICE, Watched, watched
from tests.sinks.made import accepted, sample, samples
from tests.sinks.story import Told, publish
from tests.waiting import wait_until

pytestmark = pytest.mark.redis


class TestAddress:
    def test_hosts_service_and_database(self) -> None:
        address = parse("redis+sentinel://me:p%40ss@one:1,two,[::1]:3,[fe80::2]/mine/4")
        assert address.sentinels == (("one", 1), ("two", 26379), ("::1", 3), ("fe80::2", 26379))
        assert address.service == "mine"
        assert address.redis == {"username": "me", "password": "p@ss", "db": 4, "ssl": False}
        assert address.sentinel == {"ssl": False}

    def test_credentials_of_the_sentinels_and_tls_for_both(self) -> None:
        options = "sentinel_username=you&sentinel_password=s%2Ft&ssl_ca_certs=/ca.pem&client_name=camera"
        address = parse(f"rediss+sentinel://:secret@one/mine?{options}")
        tls = {"ssl": True, "ssl_ca_certs": "/ca.pem"}
        assert address.redis == {"password": "secret", "client_name": "camera", **tls}
        assert address.sentinel == {"username": "you", "password": "s/t", **tls}
        assert "secret" not in repr(address)
        assert "s/t" not in repr(address)

    @pytest.mark.parametrize(
        "rest",
        ["one:1", "one:1/", "/mine", "one:many/mine", "one:1,/mine", "one:1/mine/zero", "one:1/mine?protocol=3",
         "one:1/mine?colour=red", "one:1/mine?socket_timeout=9", "[::1/mine"],
    )  # fmt: skip
    def test_what_is_none_is_refused_without_its_password(self, rest: str) -> None:
        url = f"redis+sentinel://:secret@{rest}"
        for make in (lambda: RedisSink(RedisConfig(url=url), "worker"), lambda: subscribe(url), lambda: alisten(url)):
            with pytest.raises(ConfigError, match="SERVICE") as refused:
                make()
            assert "secret" not in str(refused.value)


@pytest.fixture
def there() -> Iterator[Watched]:
    with watched() as there:
        yield there


def stored(server: RedisServer) -> list[int]:
    """The seqs that a server holds, in order."""
    return seqs(list(subscribe(server.url, from_="start", idle_s=0.2)))


def hears(listener: Program, server: RedisServer) -> bool:
    with server.client() as client:
        client.publish(stream_key("cam1"), sample(session="now").to_json())
    return any(event.session == "now" for event in list(listener.events))


def wait_for_demotion(server: RedisServer) -> None:
    def is_replica() -> bool:
        with server.client() as client:
            return client.info("replication")["role"] == "slave"

    wait_until(is_replica)


def test_a_fail_over_loses_and_doubles_nothing(there: Watched) -> None:
    """Between the promotion of the one and the demotion of the other, both count themselves as primary."""
    before = there.primary
    with (
        reading(subscribe, there.url, ["cam1"], group="g", from_="start", lease_s=1.0) as subscriber,
        reading(listen, there.url, ["cam1"]) as listener,
    ):
        publish(there.url, samples(50), there.fail_over, samples(50), lambda: wait_for_demotion(before), samples(50))
        subscriber.wait_for(150)
        wait_until(lambda: hears(listener, there.primary))
    assert there.primary is not before
    assert stored(there.primary) == list(range(150))
    assert seqs(subscriber.events) == list(range(150))
    assert (subscriber.error, listener.error) == (None, None)


def test_a_primary_that_is_killed_is_replaced() -> None:
    """What it had not passed on dies with it, and comes again out of the outbox."""
    with watched(sentinels=3) as there:
        before, told = there.primary, Told()
        with reading(subscribe, there.url, group="g", from_="start", lease_s=1.0) as program:
            steps = (samples(50), before.kill, samples(50), lambda: bool(told.troubles), samples(50))
            publish(there.url, *steps, told=told)
            program.wait_for(150)
        assert there.primary is not before
        assert stored(there.primary) == list(range(150))
        assert seqs(program.events) == list(range(150))
        assert told.recoveries == 1


def test_the_asynchronous_clients_follow_too(there: Watched) -> None:
    before = there.primary

    async def reading() -> list[AnyEvent]:
        events = asubscribe(there.url, group="g", from_="start", lease_s=1.0)
        taken = [await anext(events) for _ in range(3)]
        await asyncio.to_thread(there.fail_over)
        await asyncio.to_thread(before.kill)
        await asyncio.to_thread(sink.open)
        await asyncio.to_thread(sink.send, batch)
        taken += [await anext(events) for _ in range(3)]
        await events.aclose()
        return taken

    sink, batch = RedisSink(RedisConfig(url=there.url), "worker"), accepted(samples(6))
    sink.open()
    sink.send(batch[:3])
    assert seqs(asyncio.run(asyncio.wait_for(reading(), LIMIT_S))) == list(range(6))
    sink.close()


def test_leases_are_held_at_the_new_primary(there: Watched) -> None:
    before = there.primary
    ours, theirs = Leases(RedisConfig(url=there.url), "ours"), Leases(RedisConfig(url=there.url), "theirs")
    assert ours.lease("cam1")
    there.fail_over()
    before.kill()
    wait_until(lambda: is_renewed(ours))
    assert not theirs.lease("cam1")
    ours.close()
    assert theirs.lease("cam1")
    theirs.close()


def is_renewed(leases: Leases) -> bool:
    try:
        return leases.renew() == frozenset()
    except SinkRefused:
        raise
    except SinkError:
        return False


def test_a_replica_that_sentinels_still_name_is_trouble_that_passes(there: Watched) -> None:
    sink = RedisSink(RedisConfig(url=there.url), "worker")
    sink.open()
    sink.send(accepted(samples(1)))
    with there.primary.client() as client:
        client.replicaof("127.0.0.1", 1)  # the Sentinels need some seconds to see it
    for ask in (lambda: sink.send(accepted(samples(2))), sink.open):
        with pytest.raises(SinkError, match="read-only replica by now") as told:
            ask()
        assert not isinstance(told.value, SinkRefused)
    sink.close()


def test_ping_says_who_answers(there: Watched) -> None:
    assert ping(RedisConfig(url=there.url)).endswith(f" at {there.url}")


def test_a_service_that_nobody_knows(there: Watched) -> None:
    url = there.url.replace(SERVICE, "other")
    for ask in (lambda: ping(RedisConfig(url=url)), lambda: next(subscribe(url)), lambda: next(listen(url))):
        with pytest.raises(SinkError, match="is the name right") as told:
            ask()
        assert not isinstance(told.value, SinkRefused)


def test_a_redis_that_is_no_sentinel(there: Watched) -> None:
    with pytest.raises(SinkRefused, match="no Sentinel"):
        ping(RedisConfig(url=f"redis+sentinel://127.0.0.1:{there.primary.port}/{SERVICE}"))


def test_sentinels_with_a_password_of_their_own() -> None:
    with watched(password="theirs") as there:
        assert ping(RedisConfig(url=f"{there.url}?sentinel_password=theirs"))
        for options in ("", "?sentinel_password=wrong"):
            with pytest.raises(SinkRefused, match="the Sentinels refused") as told:
                ping(RedisConfig(url=there.url + options))
            assert "wrong" not in str(told.value)
