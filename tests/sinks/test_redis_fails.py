"""Redis as it fails, under the publisher: each time a sentence for the operator, and in the end every event once."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stream.client import listen, subscribe
from stream.config import RedisConfig
from stream.errors import SinkError, SinkRefused
from stream.sinks.lease import Leases
from stream.sinks.redis import RedisSink
from tests.client.told import reading, seqs
from tests.proxy import Proxy, proxied
from tests.redis_server import RedisServer
from tests.sinks.made import accepted, samples
from tests.sinks.story import Told, publish
from tests.waiting import wait_until

pytestmark = pytest.mark.redis
ALL = list(range(60))  # three times 20


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with proxied(server.port) as proxy:
        yield proxy


def stored(server: RedisServer) -> list[int]:
    """The seqs in the stream, in its order."""
    return seqs(list(subscribe(server.url, ["cam1"], from_="start", idle_s=0.1)))


def set_to(server: RedisServer, **values: object) -> Callable[[], None]:
    """A step that changes the server's configuration."""

    def change() -> None:
        with server.client() as client:
            for name, value in values.items():
                client.config_set(name.replace("_", "-"), value)

    return change


class TestRestart:
    @pytest.mark.parametrize("end", [RedisServer.stop, RedisServer.kill])
    def test_nothing_is_lost_or_told_twice(
        self, own_server: RedisServer, told: Told, end: Callable[[RedisServer], None]
    ) -> None:
        with reading(subscribe, own_server.url, group="g", from_="start", lease_s=1.0) as program:
            away = (lambda: end(own_server), samples(20), told.has("cannot be reached"), own_server.start, told.well)
            publish(own_server.url, samples(20), *away, samples(20), told=told)
            program.wait_for(60)
        assert stored(own_server) == ALL
        assert seqs(program.events) == ALL

    @pytest.mark.parametrize("group", [None, "g"])
    def test_back_from_an_older_dump(
        self, own_server: RedisServer, told: Told, tmp_path: Path, group: str | None
    ) -> None:
        """Its last 20 events are gone, also from the group's memory; the worker still has them, and sends them."""

        def kill_and_put_back() -> None:
            own_server.kill()
            own_server.put_back(tmp_path / "dump")

        with reading(subscribe, own_server.url, ["cam1"], group=group, from_="start", lease_s=1.0) as program:
            publish(
                own_server.url,
                samples(10),
                lambda: own_server.keep_copy(tmp_path / "dump"),
                samples(20),
                lambda: len(program.events) == 30,
                kill_and_put_back,
                samples(20),
                told.has("cannot be reached"),
                own_server.start,
                told.well,
                samples(10),
                told=told,
            )
            program.wait_for(60)
        assert stored(own_server) == ALL
        assert seqs(program.events) == ALL

    def test_what_an_older_dump_gets_back_comes_before_what_is_new(
        self, own_server: RedisServer, told: Told, tmp_path: Path
    ) -> None:
        """A reader that begins after the return sees one stream without a hole."""
        publish(own_server.url, samples(20), lambda: own_server.keep_copy(tmp_path / "dump"), told=told)
        assert stored(own_server) == list(range(20))
        with closing(RedisSink(RedisConfig(url=own_server.url), "worker")) as sink:
            batch = accepted(samples(40, "cam2"))
            sink.open()
            sink.send(batch[:30])
            own_server.kill()
            own_server.put_back(tmp_path / "dump")
            own_server.start()
            with pytest.raises(SinkError):
                sink.send(batch[30:])
            sink.open()
            sink.send(batch[:25])  # as the outbox does: what it retains, in batches, oldest first
            sink.send(batch[25:])
        assert seqs(list(subscribe(own_server.url, from_="start", idle_s=0.1)), "cam2") == list(range(40))


class TestMemory:
    def test_a_full_memory_is_waited_for(self, own_server: RedisServer, told: Told) -> None:
        full, room = set_to(own_server, maxmemory=1), set_to(own_server, maxmemory=0)
        with reading(subscribe, own_server.url, group="g", from_="start", lease_s=1.0) as program:
            steps = (samples(20), full, samples(20), told.has("out of memory"), room, told.well, samples(20))
            publish(own_server.url, *steps, told=told)
            program.wait_for(60)
        assert program.error is None
        assert stored(own_server) == ALL
        assert seqs(program.events) == ALL

    def test_leases_say_it_in_the_same_words(self, own_server: RedisServer) -> None:
        set_to(own_server, maxmemory=1)()
        with (
            closing(Leases(RedisConfig(url=own_server.url), "ours")) as leases,
            pytest.raises(SinkError, match="out of memory"),
        ):
            leases.lease("cam1")


class TestReplica:
    def test_a_demoted_primary_that_becomes_one_again(self, own_server: RedisServer, told: Told) -> None:
        def follow(*of: str) -> Callable[[], None]:
            def change() -> None:
                with own_server.client() as client:
                    client.execute_command("REPLICAOF", *of)

            return change

        there_and_back = (follow("127.0.0.1", "1"), samples(20), told.has("read-only replica"), follow("NO", "ONE"))
        publish(own_server.url, samples(20), *there_and_back, told.well, samples(20), told=told)
        assert stored(own_server) == ALL

    def test_leases_say_it_in_the_same_words(self, own_server: RedisServer) -> None:
        with own_server.client() as client:
            client.replicaof("127.0.0.1", 1)
        with (
            closing(Leases(RedisConfig(url=own_server.url), "ours")) as leases,
            pytest.raises(SinkRefused, match="read-only replica"),
        ):
            leases.lease("cam1")


def test_loading_is_waited_for(own_server: RedisServer, told: Told) -> None:
    """It reads its file again, for two seconds."""
    with own_server.client() as client:
        client.mset({f"key {number}": random.Random(number).randbytes(50_000) for number in range(400)})
        client.bgrewriteaof()  # while it reads a dump, it answers every 2 MB; while it reads commands, rarely
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])

    def restart() -> None:
        own_server.kill()
        own_server.start("--key-load-delay", "5000", ready=False)

    steps = (samples(20), restart, samples(20), told.has("still loading"), told.well, samples(20))
    publish(own_server.url, *steps, told=told)
    assert stored(own_server) == ALL


class TestNetwork:
    def test_latency_costs_time_and_nothing_else(self, server: RedisServer, proxy: Proxy) -> None:
        proxy.delay_s = 0.02
        with reading(subscribe, proxy.url, group="g", from_="start") as program:
            told = publish(proxy.url, *[samples(20)] * 3)
            program.wait_for(60)
        assert stored(server) == ALL
        assert seqs(program.events) == ALL
        assert told.troubles == []

    def test_a_redis_that_is_too_slow(self, server: RedisServer, proxy: Proxy, told: Told) -> None:
        def slow(seconds: float) -> Callable[[], None]:
            return lambda: setattr(proxy, "delay_s", seconds)

        steps = (samples(20), slow(0.4), samples(20), told.has("did not answer in time"), slow(0), told.well)
        publish(proxy.url, *steps, samples(20), told=told, timeout_s=0.3)
        assert stored(server) == ALL

    @pytest.mark.parametrize("count", [1, 7, 40, 200])
    def test_an_answer_that_is_cut(self, server: RedisServer, proxy: Proxy, told: Told, count: int) -> None:
        """The events are stored, but nobody was told so."""
        steps = (samples(20), lambda: proxy.cut_after(count), samples(20), told.well, samples(20))
        publish(proxy.url, *steps, told=told)
        assert stored(server) == ALL
        assert proxy.cuts == 1

    @pytest.mark.parametrize("count", [1, 40, 300, 3000])
    def test_a_reader_whose_answer_is_cut(self, server: RedisServer, proxy: Proxy, count: int) -> None:
        publish(server.url, samples(60))
        proxy.cut_after(count)
        with reading(subscribe, proxy.url, group="first", from_="start", lease_s=1.0) as program:
            wait_until(lambda: program.error is not None or len(program.events) == 60)
        if program.error is None:
            assert seqs(program.events) == ALL
        else:  # before it was ever reached, that is an error
            assert isinstance(program.error, SinkError)
            assert "cannot be reached" in str(program.error)
        assert proxy.cuts == 1

    def test_a_redis_that_is_slow_to_acknowledge_is_not_idleness(self, server: RedisServer, proxy: Proxy) -> None:
        publish(server.url, samples(6))
        proxy.delay_s = 0.15  # each way
        heard = subscribe(proxy.url, group="g", from_="start", idle_s=0.2)
        assert seqs(list(heard)) == [0, 1, 2, 3, 4, 5]

    def test_a_connection_that_is_half_open(self, server: RedisServer, proxy: Proxy, told: Told) -> None:
        with reading(subscribe, proxy.url, group="g", from_="start", timeout_s=0.3, lease_s=1.0) as program:
            steps = (samples(20), proxy.swallow, samples(20), told.has("did not answer in time"), told.well)
            publish(proxy.url, *steps, samples(20), told=told, timeout_s=0.3)
            program.wait_for(60)
        assert stored(server) == ALL
        assert seqs(program.events) == ALL


class TestPermission:
    def test_a_password_that_is_changed(self, own_server: RedisServer, told: Told) -> None:
        with own_server.client() as client:
            client.ping()

            def password(value: str) -> Callable[[], None]:
                def change() -> None:
                    client.config_set("requirepass", value)
                    client.client_kill_filter(_type="normal", skipme=True)

                return change

            steps = (samples(20), password("secret"), samples(20), told.has("user name or password"), password(""))
            publish(own_server.url, *steps, told.well, samples(20), told=told)
        assert stored(own_server) == ALL
        assert not any("secret" in sentence for sentence in told.troubles)

    def test_a_user_who_may_not_write_streams_may_still_listen(self, own_server: RedisServer) -> None:
        with own_server.client() as client:
            rules = ["~emostream:cam*", "resetchannels", "&emostream:events:{*}", "+@all"]
            client.execute_command("ACL", "SETUSER", "ear", "on", "nopass", *rules)
        url = f"redis://ear:any@127.0.0.1:{own_server.port}"
        with (
            closing(RedisSink(RedisConfig(url=url), "worker")) as sink,
            pytest.raises(SinkRefused, match=r"may not do that; let it use the keys emostream:\*"),
        ):
            sink.open()
        with pytest.raises(SinkRefused, match="may not do that"):
            next(subscribe(url, ["cam1"]))
        with reading(listen, url) as program, own_server.client() as client:
            wait_until(client.pubsub_numpat)
            publish(own_server.url, samples(3))
            assert seqs(program.wait_for(3)) == [0, 1, 2]

    def test_a_user_who_may_not_use_channels_still_stores(
        self, own_server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with own_server.client() as client:
            client.execute_command("ACL", "SETUSER", "pen", "on", "nopass", "~emostream:*", "resetchannels", "+@all")
        url = f"redis://pen:any@127.0.0.1:{own_server.port}"
        with caplog.at_level(logging.WARNING):
            told = publish(url, *[samples(20)] * 3)
        assert stored(own_server) == ALL
        assert told.troubles == []
        assert [record.message.partition(":")[0] for record in caplog.records] == [
            "live listeners or the cameras' latest status miss something"
        ]
        with pytest.raises(SinkRefused, match="may not do that"):
            next(listen(url))

    def test_a_permission_that_is_taken_and_given_back(self, own_server: RedisServer, told: Told) -> None:
        def user(*rules: str) -> Callable[[], None]:
            def change() -> None:
                with own_server.client() as client:
                    client.execute_command("ACL", "SETUSER", "pen", "on", "nopass", "&*", "+@all", *rules)

            return change

        url = f"redis://pen:any@127.0.0.1:{own_server.port}"
        user("~emostream:*")()
        steps = (samples(20), user("-xadd"), samples(20), told.has("may not do that"), user(), told.well, samples(20))
        publish(url, *steps, told=told)
        assert stored(own_server) == ALL
