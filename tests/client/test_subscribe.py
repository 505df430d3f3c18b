"""`subscribe` against a real Redis: order, resuming, taking over, gaps, and a Redis that goes away."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from datetime import timedelta

import pytest

from stream.client import subscribe
from stream.errors import ConfigError, SinkError, SinkRefused
from stream.events import EmotionSample, Gap, SeqRange
from stream.sinks.redis import group_key, stream_key
from tests.client.told import Program, Worker, places, seqs, take, worker
from tests.redis_server import RedisServer
from tests.sinks.made import START, sample, samples, status

pytestmark = pytest.mark.redis
QUICK = {"idle_s": 0.2, "from_": "start"}


def test_events_come_typed_and_in_order(server: RedisServer) -> None:
    with worker(server) as told:
        told.say([status(), *samples(3)])
    events = list(subscribe(server.url, **QUICK))
    assert seqs(events) == [0, 1, 2, 3]
    assert isinstance(events[1], EmotionSample)
    assert events[1].emotion == "happy"


def test_only_the_cameras_that_were_asked_for(server: RedisServer) -> None:
    with worker(server) as told:
        told.say([sample("one"), sample("two"), sample("three"), sample("two")])
    assert places(list(subscribe(server.url, ["two", "three"], **QUICK))) == [("two", 0), ("two", 1), ("three", 0)]
    assert places(list(subscribe(server.url, "one", **QUICK))) == [("one", 0)]


def test_long_streams_are_read_to_their_end(server: RedisServer) -> None:
    with worker(server) as told:
        told.say(samples(500, "one") + samples(300, "two"))
    events = list(subscribe(server.url, **QUICK))
    assert (seqs(events, "one"), seqs(events, "two")) == (list(range(500)), list(range(300)))


def test_new_means_from_now_on_also_for_cameras_that_come_later(server: RedisServer) -> None:
    stop = threading.Event()
    with worker(server) as told:
        told.say(samples(3, "old"))
        program = Program(subscribe(server.url, from_="new", stop=stop), stop)
        while not program.wait_for(1, limit_s=0.05):  # until it hears, it may not have begun
            told.say([sample("old")])
        told.say([sample("later"), sample("later")])
        assert seqs(program.wait_for(2, "later"), "later") == [0, 1]
        program.stop()
    assert min(seqs(program.events, "old")) >= 3


def test_from_an_id_goes_on_after_it(server: RedisServer) -> None:
    with worker(server) as told:
        told.say(samples(5))
    run = int(START.timestamp() * 1000)
    assert seqs(list(subscribe(server.url, idle_s=0.2, from_=f"{run}-2"))) == [3, 4]


def test_a_group_goes_on_where_it_was(server: RedisServer) -> None:
    with worker(server) as told:
        told.say(samples(4))
        with closing(subscribe(server.url, group="g", **QUICK)) as events:
            assert seqs(take(events, 3)) == [0, 1, 2]  # the third was handed out, but nobody came back for the fourth
        told.say(samples(2))
        assert seqs(list(subscribe(server.url, group="g", **QUICK))) == [2, 3, 4, 5]
        assert list(subscribe(server.url, group="g", **QUICK)) == []
        assert seqs(list(subscribe(server.url, group="other", **QUICK))) == [0, 1, 2, 3, 4, 5]


def test_what_a_dead_consumer_left_comes_first_and_in_order(server: RedisServer) -> None:
    """The dead one read 0 to 2 and acknowledged 0; its lease has run out."""
    key = stream_key("cam1")
    with worker(server) as told, server.client() as client:
        told.say(samples(5))
        client.xgroup_create(key, "g", id="0")
        read = client.xreadgroup("g", "dead", {key: ">"}, count=3)
        client.xack(key, "g", read[0][1][0][0])
    assert seqs(list(subscribe(server.url, group="g", consumer="heir", **QUICK))) == [1, 2, 3, 4]


def test_a_camera_has_one_reader_of_a_group_at_a_time(server: RedisServer) -> None:
    with worker(server) as told, server.client() as client:
        told.say(samples(3))
        client.set(group_key("cam1", "g"), "somebody else")
        assert list(subscribe(server.url, group="g", **QUICK)) == []
        client.pexpire(group_key("cam1", "g"), 300)
        with closing(subscribe(server.url, group="g", from_="start")) as events:
            assert seqs(take(events, 3)) == [0, 1, 2]


def test_two_consumers_share_the_cameras_and_each_takes_over_from_the_other(server: RedisServer) -> None:
    cameras = ["a", "b", "c", "d"]
    with worker(server) as told:
        told.say([sample(camera) for camera in cameras])
        programs = []
        for _ in range(2):
            stop = threading.Event()
            events = subscribe(server.url, cameras, group="g", from_="start", stop=stop, lease_s=1.0)
            programs.append(Program(events, stop))
        one, two = programs
        rounds = 1
        while not (len({e.camera_id for e in one.events[-2:]}) == 2 == len({e.camera_id for e in two.events[-2:]})):
            told.say([sample(camera) for camera in cameras])
            rounds += 1
            one.wait_for(len(one.events) + 1)
        two.stop()
        told.say([sample(camera) for camera in cameras])
        rounds += 1
        one.wait_for(rounds * len(cameras) - len(two.events))
        one.stop()
    for camera in cameras:
        assert sorted(seqs(one.events, camera) + seqs(two.events, camera)) == list(range(rounds))
        assert seqs(one.events, camera) == sorted(seqs(one.events, camera))


def test_a_consumer_that_lost_its_lease_leaves_the_rest_to_the_next(server: RedisServer) -> None:
    with worker(server) as told:
        told.say(samples(4))
        slow = subscribe(server.url, group="g", from_="start", lease_s=0.4, idle_s=5.0)
        first = next(slow)
        with closing(subscribe(server.url, group="g", from_="start")) as events:  # waits for the lease to run out
            heir = take(events, 4)
        assert (first.seq, seqs(heir)) == (0, [0, 1, 2, 3])
        told.say(samples(1))
        with closing(slow):  # the heir came back after 0, 1 and 2 only; what `slow` had read ahead it read anew
            assert seqs(take(slow, 2)) == [3, 4]


def test_leaving_frees_the_cameras_at_once(server: RedisServer) -> None:
    with worker(server) as told, server.client() as client:
        told.say(samples(2))
        with closing(subscribe(server.url, group="g", **QUICK)) as events:
            next(events)
            assert client.exists(group_key("cam1", "g"))
        assert not client.exists(group_key("cam1", "g"))
        assert client.keys("emostream:members:*") == []


def test_a_stream_that_was_trimmed_tells_a_gap(server: RedisServer) -> None:
    with worker(server) as told, server.client() as client:
        told.say(samples(3))
        with closing(subscribe(server.url, group="g", **QUICK)) as events:
            take(events, 3)
        told.say(samples(5))
        client.xtrim(stream_key("cam1"), maxlen=2, approximate=False)
        gap, *rest = list(subscribe(server.url, group="g", **QUICK))
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.seq, gap.ranges) == ("trimmed", 5, (SeqRange(first_seq=2, last_seq=5),))
    assert seqs(rest) == [6, 7]


def test_from_the_start_of_a_trimmed_stream(server: RedisServer) -> None:
    with worker(server, maxlen=100) as told:
        told.say(samples(1_000))
    gap, *rest = list(subscribe(server.url, **QUICK))
    assert isinstance(gap, Gap)
    assert gap.ranges == (SeqRange(first_seq=0, last_seq=rest[0].seq - 1),)
    assert seqs(rest) == list(range(rest[0].seq, 1_000))


def test_a_gap_of_the_worker_is_no_hole(server: RedisServer) -> None:
    given_up = Gap(
        **sample().model_dump(include={"camera_id", "session", "media_time_s", "captured_at", "clock_source"}),
        reason="outbox_full",
        ranges=(SeqRange(first_seq=1, last_seq=3),),
    )
    with worker(server) as told, server.client() as client:
        told.say(samples(1))
        run = int(START.timestamp() * 1000)
        client.xadd(stream_key("cam1"), {"event": given_up.model_copy(update={"seq": 3}).to_json()}, id=f"{run}-3")
    events = list(subscribe(server.url, **QUICK))
    assert [event.type for event in events] == ["emotion.sample", "gap"]


def test_a_restarted_worker_begins_a_new_run_without_a_gap(server: RedisServer) -> None:
    for hours in (0, 1):
        with worker(server, at=START + timedelta(hours=hours)) as told:
            told.say(samples(3, session=f"session {hours}"))
    assert seqs(list(subscribe(server.url, **QUICK))) == [0, 1, 2, 0, 1, 2]


def test_late_events_go_on_with_their_own_session(server: RedisServer) -> None:
    with worker(server) as ours, worker(server, at=START + timedelta(seconds=1)) as theirs:
        ours.say(samples(2, session="ours"))
        theirs.say(samples(2, session="theirs"))
        ours.say(samples(2, session="ours"))
    events = list(subscribe(server.url, **QUICK))
    assert [(event.session, event.seq) for event in events] == [
        ("ours", 0), ("ours", 1), ("theirs", 0), ("theirs", 1), ("ours", 2), ("ours", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("group", [None, "g"])
def test_what_is_no_event_is_told_and_left_behind(
    server: RedisServer, caplog: pytest.LogCaptureFixture, group: str | None
) -> None:
    key = stream_key("cam1")
    with worker(server) as told, server.client() as client:
        told.say(samples(1))
        client.xadd(key, {"event": "not json"})
        client.xadd(key, {"something": "else"})
        client.xadd(key, {"event": b"\xff\xfe"})
        told.say(samples(2))
        with caplog.at_level(logging.WARNING):
            assert seqs(list(subscribe(server.url, group=group, **QUICK))) == [0, 1, 2]
        if group:
            assert client.xpending(key, group)["pending"] == 0
    assert len([record for record in caplog.records if "is skipped" in record.message]) == 3


def test_types_and_schemas_of_the_future_are_passed_over(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    run = int(START.timestamp() * 1000)
    text = sample().to_json()
    with worker(server) as told, server.client() as client, caplog.at_level(logging.WARNING):
        told.say(samples(1))
        client.xadd(stream_key("cam1"), {"event": text.replace("emotion.sample", "gaze.sample")}, id=f"{run}-1")
        client.xadd(stream_key("cam1"), {"event": text.replace("event/1", "event/2")}, id=f"{run}-2")
        newer = sample().model_copy(update={"seq": 3}).to_json().replace('"track_id"', '"mood":"odd","track_id"')
        client.xadd(stream_key("cam1"), {"event": newer}, id=f"{run}-3")
    assert seqs(list(subscribe(server.url, **QUICK))) == [0, 3]
    assert not caplog.records


@pytest.mark.parametrize("group", [None, "g"])
def test_a_redis_that_dies_and_comes_back(own_server: RedisServer, group: str | None) -> None:
    stop = threading.Event()
    with worker(own_server) as told:
        told.say(samples(3))
        program = Program(subscribe(own_server.url, group=group, from_="start", stop=stop, lease_s=2.0), stop)
        assert len(program.wait_for(3)) == 3
        own_server.kill()
        own_server.start()
        told.again()
        told.say(samples(3))
        program.wait_for(6)
        program.stop()
    assert seqs(program.events) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("group", [None, "g"])
def test_a_redis_that_comes_back_empty(own_server: RedisServer, group: str | None) -> None:
    """The worker sends again what it retains; nothing that was read before is read again."""
    stop = threading.Event()
    with worker(own_server) as told:
        told.say(samples(3))
        program = Program(subscribe(own_server.url, group=group, from_="start", stop=stop, lease_s=1.0), stop)
        assert len(program.wait_for(3)) == 3
        own_server.kill()
        own_server.forget()
        own_server.start()
        told.again()
        told.say(samples(3))
        program.wait_for(6)
        program.stop()
    assert seqs(program.events) == [0, 1, 2, 3, 4, 5]


def test_entries_that_a_stalled_consumer_was_handed_are_not_skipped(server: RedisServer) -> None:
    """Its lease ran out while its request was under way: entries 2 and 3 are pending on it, and nobody told."""
    with worker(server) as told, server.client() as client:
        told.say(samples(2))
        stop = threading.Event()
        program = Program(subscribe(server.url, group="g", from_="start", stop=stop), stop)
        program.wait_for(2)
        with server.client() as quick:
            pipe = quick.pipeline(transaction=True)
            run = int(START.timestamp() * 1000)
            for seq in (2, 3):
                text = sample().model_copy(update={"seq": seq}).to_json()
                pipe.xadd(stream_key("cam1"), {"event": text}, id=f"{run}-{seq}")
            pipe.xreadgroup("g", "stalled", {stream_key("cam1"): ">"})
            pipe.execute()
        text = sample().model_copy(update={"seq": 4}).to_json()
        client.xadd(stream_key("cam1"), {"event": text}, id=f"{run}-4")
        program.wait_for(5)
        program.stop()
        assert client.xpending(stream_key("cam1"), "g")["pending"] == 0
    assert seqs(program.events) == [0, 1, 2, 3, 4]
    assert not any(isinstance(event, Gap) for event in program.events)


def test_no_redis_at_the_start_is_an_error() -> None:
    with pytest.raises(SinkError, match="cannot be reached") as raised:
        next(subscribe("redis://:secret@127.0.0.1:1"))
    assert "secret" not in str(raised.value)


def test_a_wrong_password_is_an_error(own_server: RedisServer) -> None:
    with own_server.client() as client:
        client.config_set("requirepass", "right")
    with pytest.raises(SinkRefused, match="user name or password") as raised:
        next(subscribe(f"redis://:wrong@127.0.0.1:{own_server.port}"))
    assert "wrong" not in str(raised.value)


def test_bad_arguments_are_told_at_once(server: RedisServer) -> None:
    with pytest.raises(ConfigError, match="expected `start`"):
        subscribe(server.url, from_="yesterday")
    with pytest.raises(ConfigError, match="no address of a Redis"):
        subscribe("ftp://example.com")


def test_stopping_is_seen_while_nothing_happens(server: RedisServer) -> None:
    stop = threading.Event()
    program = Program(subscribe(server.url, group="g", stop=stop), stop)
    program.stop()
    assert (program.events, program.error) == ([], None)


def test_a_lost_worker_is_no_reason_to_end(server: RedisServer) -> None:
    stop = threading.Event()
    first = Worker(server)
    program = Program(subscribe(server.url, ["cam1"], from_="start", stop=stop), stop)
    first.say(samples(1))
    first.close()
    program.wait_for(1)
    with worker(server, at=START + timedelta(seconds=5)) as second:
        second.say(samples(1, session="next"))
        program.wait_for(2)
    program.stop()
    assert [event.session for event in program.events] == ["s-cam1", "next"]
