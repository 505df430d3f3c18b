"""The Redis sink against a real Redis: what it stores, what it never stores twice, and what it says when it cannot."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from stream.config import RedisConfig
from stream.errors import ConfigError, SinkError, SinkRefused
from stream.events import Event, parse
from stream.sinks.redis import RedisSink, camera_key, ping, stream_key
from tests.contracts.sink import SinkContract, Stored
from tests.redis_server import RedisServer
from tests.sinks.made import START, Clock, accepted, sample, samples, status

pytestmark = pytest.mark.redis
RUN = int(START.timestamp() * 1000)


def make(server: RedisServer, worker: str = "worker", at: datetime = START, **config: object) -> RedisSink:
    values = {"url": server.url, "timeout_s": 2.0, **config}
    return RedisSink(RedisConfig.model_validate(values), worker, wall=lambda: at)


def entries(server: RedisServer, camera_id: str = "cam1") -> list[tuple[str, dict[str, str]]]:
    with server.client() as client:
        return list(client.xrange(stream_key(camera_id)))


def seqs(server: RedisServer, camera_id: str = "cam1") -> list[int]:
    return [json.loads(fields["event"])["seq"] for _, fields in entries(server, camera_id)]


@pytest.fixture
def sink(server: RedisServer) -> Iterator[RedisSink]:
    sink = make(server)
    yield sink
    sink.close()


class TestRedisSink(SinkContract):
    @pytest.fixture
    def stored(self, server: RedisServer) -> Stored:
        def read() -> list[Event]:
            with server.client() as client:
                keys = sorted(client.scan_iter("emostream:events:*"))
                found = [fields["event"] for key in keys for _, fields in client.xrange(key)]
            return [event for event in map(parse, found) if event is not None]

        return read


def test_an_entry_says_where_it_belongs(sink: RedisSink, server: RedisServer) -> None:
    sink.open()
    batch = accepted([status(), sample()])
    sink.send(batch)
    (first_id, first), (second_id, second) = entries(server)
    assert (first_id, second_id) == (f"{RUN}-0", f"{RUN}-1")
    assert second == {
        "event": batch[1].event.to_json(),
        "type": "emotion.sample",
        "accepted_at": "2026-11-21T08:00:00.001000Z",
    }
    assert first["type"] == "camera.status"


def test_a_camera_can_be_found_with_its_latest_status(sink: RedisSink, server: RedisServer) -> None:
    sink.open()
    sink.send(accepted([status(told="connecting"), sample("lobby"), status(told="live")]))
    with server.client() as client:
        assert client.smembers("emostream:cameras") == {"cam1", "lobby"}
        told = client.hgetall(camera_key("cam1"))
        assert client.ttl(camera_key("cam1")) == -1
    assert (told["status"], told["worker"], told["updated_at"]) == ("live", "worker", "2026-11-21T08:00:00.002000Z")


def test_listeners_hear_each_event_once(sink: RedisSink, server: RedisServer) -> None:
    with server.client() as client, client.pubsub() as listener:
        listener.subscribe(stream_key("cam1"))
        assert listener.get_message(timeout=2.0)
        sink.open()
        batch = accepted(samples(2))
        sink.send(batch)
        sink.send(batch)
        sink.send(accepted(samples(3)))
        heard = [listener.get_message(timeout=2.0) for _ in range(3)]
        assert [json.loads(message["data"])["seq"] for message in heard] == [0, 1, 2]


def test_a_stream_keeps_about_maxlen_entries(server: RedisServer) -> None:
    sink = make(server, maxlen=100)
    sink.open()
    sink.send(accepted(samples(500)))
    assert 100 <= len(entries(server)) < 300
    sink.close()


def test_a_worker_that_starts_after_another_comes_after_it(server: RedisServer) -> None:
    for at in (START, START - timedelta(hours=1)):  # the second worker's clock is behind
        sink = make(server, at=at)
        sink.open()
        sink.send(accepted(samples(2)))
        sink.close()
    assert [entry_id for entry_id, _ in entries(server)] == [f"{RUN}-0", f"{RUN}-1", f"{RUN + 1}-0", f"{RUN + 1}-1"]


def test_a_batch_whose_answer_was_lost_is_not_stored_twice(own_server: RedisServer) -> None:
    sink = make(own_server, timeout_s=1.0)
    sink.open()
    batch = accepted(samples(4))
    sink.send(batch[:1])
    own_server.hang()  # the next batch reaches its socket, but no answer comes back
    with pytest.raises(SinkError, match="did not answer in time"):
        sink.send(batch[1:])
    own_server.resume()
    sink.open()
    sink.send(batch[1:])
    assert seqs(own_server) == [0, 1, 2, 3]
    sink.close()


def test_a_lost_connection_is_not_renewed_behind_our_back(own_server: RedisServer) -> None:
    """A Redis that lost its tail must get it back before anything newer goes in."""
    sink = make(own_server)
    batch = accepted(samples(6))
    sink.open()
    sink.send(batch[:4])
    own_server.kill()
    own_server.forget()
    own_server.start()
    with pytest.raises(SinkError):
        sink.send(batch[4:])
    assert seqs(own_server) == []
    sink.open()
    sink.send(batch)
    assert seqs(own_server) == [0, 1, 2, 3, 4, 5]
    sink.close()


def test_a_redis_that_forgot_everything_hears_names_and_status_again(own_server: RedisServer) -> None:
    sink = make(own_server)
    sink.open()
    sink.send(accepted([status()]))
    own_server.kill()
    own_server.forget()
    own_server.start()
    sink.open()
    with own_server.client() as client:
        assert client.smembers("emostream:cameras") == {"cam1"}
        assert client.hget(camera_key("cam1"), "status") == "live"
    sink.close()


def test_what_another_worker_overtook_is_stored_late(server: RedisServer) -> None:
    time = Clock(START)
    ours = RedisSink(RedisConfig(url=server.url), "ours", wall=time)
    theirs = make(server, "theirs", at=START + timedelta(seconds=30))
    batch = accepted(samples(6))
    ours.open()
    ours.send(batch[:2])
    theirs.open()
    theirs.send(accepted(samples(1, session="theirs"), START + timedelta(seconds=30)))
    ours.open()
    time.now = START + timedelta(milliseconds=3)  # when seq 3 was accepted
    ours.send(batch)
    told = [(entry_id, "late" in fields) for entry_id, fields in entries(server)]
    later = RUN + 30_001
    assert told[:3] == [(f"{RUN}-0", False), (f"{RUN}-1", False), (f"{RUN + 30_000}-0", False)]
    assert told[3:] == [(f"{later}-{seq}", seq < 4) for seq in range(2, 6)]
    ours.open()
    ours.send(batch)  # each is found under the run that it was stored under
    assert len(entries(server)) == 7
    ours.close()
    theirs.close()


def test_what_was_trimmed_is_not_stored_again(server: RedisServer) -> None:
    sink = make(server, maxlen=100)
    batch = accepted(samples(1000))
    sink.open()
    sink.send(batch)
    kept = len(entries(server))
    sink.open()
    sink.send(batch)
    assert len(entries(server)) == kept
    sink.close()


def test_what_somebody_deleted_stays_deleted(server: RedisServer) -> None:
    sink, batch = make(server), accepted(samples(10))
    sink.open()
    sink.send(batch)
    with server.client() as client:
        client.xdel(stream_key("cam1"), entries(server)[4][0])
    before = entries(server)
    for _ in range(2):
        sink.open()
        sink.send(batch)
    assert entries(server) == before
    sink.close()


def test_an_id_that_somebody_else_took_is_not_ours(sink: RedisSink, server: RedisServer) -> None:
    with server.client() as client:
        sink.open()
        sink.send(accepted(samples(1)))
        client.xadd(stream_key("cam1"), {"event": "{}"}, id=f"{RUN}-1")
        sink.send(accepted(samples(2)))
    assert [entry_id for entry_id, _ in entries(server)] == [f"{RUN}-0", f"{RUN}-1", f"{RUN + 1}-1"]


def test_no_redis_there() -> None:
    sink = RedisSink(RedisConfig(url="redis://:secret@127.0.0.1:1/0"), "worker")
    with pytest.raises(SinkError, match="cannot be reached") as raised:
        sink.open()
    assert not isinstance(raised.value, SinkRefused)
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__
    sink.close()


@pytest.fixture
def guarded(own_server: RedisServer) -> RedisServer:
    """A server with a password, and with a user who may only read."""
    with own_server.client() as client:
        client.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@read"])
        client.config_set("requirepass", "secret")
    return own_server


@pytest.mark.parametrize(
    ("user", "words"),
    [("", "user name or password"), (":wrong@", "user name or password"), ("reader:secret@", "may not do that")],
)
def test_a_redis_that_says_no(guarded: RedisServer, user: str, words: str) -> None:
    sink = RedisSink(RedisConfig(url=f"redis://{user}127.0.0.1:{guarded.port}"), "worker")
    with pytest.raises(SinkRefused, match=words) as raised:
        sink.open()
    assert "secret" not in str(raised.value)
    assert "wrong" not in str(raised.value)
    sink.close()


def test_a_replica_is_refused(own_server: RedisServer) -> None:
    with own_server.client() as client:
        client.replicaof("127.0.0.1", 1)
    sink = make(own_server)
    with pytest.raises(SinkRefused, match="read-only replica"):
        sink.open()
    sink.close()


def test_a_full_memory_stores_nothing_of_a_batch(own_server: RedisServer) -> None:
    sink = make(own_server)
    sink.open()
    with own_server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(SinkError, match="out of memory"):
            sink.send(accepted(samples(3)))
        client.config_set("maxmemory", 0)
    sink.open()
    sink.send(accepted(samples(3)))
    assert seqs(own_server) == [0, 1, 2]
    sink.close()


def test_listeners_that_may_not_be_told_are_only_a_warning(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with own_server.client() as client:
        client.acl_setuser("writer", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-publish"])
    sink = RedisSink(RedisConfig(url=f"redis://writer:any@127.0.0.1:{own_server.port}"), "worker")
    sink.open()
    with caplog.at_level(logging.WARNING):
        for one in accepted(samples(3)):
            sink.send([one])
    assert seqs(own_server) == [0, 1, 2]
    assert len(caplog.records) == 1
    sink.close()


def test_a_key_of_another_kind_is_told(sink: RedisSink, server: RedisServer) -> None:
    with server.client() as client:
        client.set(stream_key("cam1"), "not a stream")
    sink.open()
    with pytest.raises(SinkError, match="WRONGTYPE"):
        sink.send(accepted(samples(1)))


def test_an_address_that_no_redis_has() -> None:
    with pytest.raises(ConfigError, match="no address of a Redis") as raised:
        RedisSink(RedisConfig(url="http://me:secret@example.com"), "worker")
    assert "secret" not in str(raised.value)
    with pytest.raises(ConfigError, match="needs an address"):
        RedisSink(RedisConfig(), "worker")


def test_ping_says_who_answers(server: RedisServer) -> None:
    with server.client() as client:
        version = client.info("server")["redis_version"]
    assert ping(RedisConfig(url=server.url)) == f"Redis {version} at {server.url}"


def test_opening_writes_nothing(sink: RedisSink, server: RedisServer) -> None:
    sink.open()
    with server.client() as client:
        assert client.dbsize() == 0
