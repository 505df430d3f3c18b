"""10,000 entries that something has damaged, among good ones: reported, passed, and every good event is delivered."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.client import listen, subscribe
from stream.continuity import Continuity, decode
from stream.events import AnyEvent, Event, Gap, SeqRange, TrackEnded
from stream.sinks.entries import EntryId
from stream.sinks.redis import stream_key
from tests.client.told import reading, seqs, worker
from tests.redis_server import RedisServer
from tests.sinks.made import changed, moment, sample, samples, started, status
from tests.waiting import wait_until

MUTANTS: Final = 10_000
ROUNDS: Final = 50  # of good events, and then of mutants
GOOD: Final = 4  # events in each round
SEED: Final = 20261121
Fields = dict[bytes, bytes]


def originals() -> list[Event]:
    """One of each type, from another session than the good ones."""
    place = moment(session="damaged")
    ended = TrackEnded(
        **place,
        track_id=1,
        reason="left",
        duration_s=3.0,
        shares={"happy": 1.0},
        dominant="happy",
        frames_seen=30,
        frames_used=20,
    )
    gap = Gap(**place, reason="outbox_full", ranges=(SeqRange(first_seq=1, last_seq=2),))
    made = [make(session="damaged") for make in (sample, changed, started, status)]
    return [event.model_copy(update={"seq": number}) for number, event in enumerate([*made, ended, gap])]


def flip(text: bytes, rng: random.Random) -> bytes:
    """A few bits."""
    data = bytearray(text)
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(text: bytes, rng: random.Random) -> bytes:
    return text[: rng.randrange(len(text))]


def splice(text: bytes, rng: random.Random) -> bytes:
    """A piece of it somewhere else."""
    start, stop = sorted(rng.sample(range(len(text)), 2))
    place = rng.randrange(len(text))
    return text[:place] + text[start:stop] + text[place:]


ODD_VALUES: Final[list[Any]] = [
    None, True, -1, 0, 2**63, 10**400, 1e308, "", "\0", "é\ud800", [], {}, [[]], "x" * 5000, "../../etc/passwd",
]  # fmt: skip


def change_value(text: bytes, rng: random.Random) -> bytes:
    """Well-formed JSON with an odd value, a key too many or one too few."""
    values = json.loads(text)
    key = rng.choice(list(values))
    what = rng.randrange(3)
    if what == 0:
        values[key] = rng.choice(ODD_VALUES)
    elif what == 1:
        values[rng.choice(["mood", "", "schéma", "seq "])] = rng.choice(ODD_VALUES)
    else:
        del values[key]
    return json.dumps(values).encode()


def nest(text: bytes, rng: random.Random) -> bytes:
    depth = rng.choice([1, 50, 5_000])
    return b"[" * depth + text + b"]" * depth


def from_the_future(text: bytes, rng: random.Random) -> bytes:
    word = rng.choice([b"emostream.event/1", b"camera.status", b"emotion.sample", b"gap", b"live"])
    return text.replace(word, word + b".2")


MUTATIONS: Final[list[Callable[[bytes, random.Random], bytes]]] = [
    flip, cut, splice, change_value, nest, from_the_future,
]  # fmt: skip


def mutant(texts: list[bytes], rng: random.Random) -> Fields:
    """The fields of a damaged entry: its event, or the fields around it."""
    text = rng.choice(MUTATIONS)(rng.choice(texts), rng)
    fields = {b"event": text, b"type": b"emotion.sample", b"accepted_at": b"2026-11-21T08:00:00.000000Z"}
    match rng.randrange(10):
        case 0:
            del fields[b"event"]
        case 1:
            fields[b"late"] = rng.choice([b"true", b"", b"\xff"])
        case 2:
            fields[rng.randbytes(4)] = rng.randbytes(20)
    return fields


def mutants() -> list[Fields]:
    rng = random.Random(SEED)
    texts = [event.to_json().encode() for event in originals()]
    return [mutant(texts, rng) for _ in range(MUTANTS)]


def is_good(event: AnyEvent) -> bool:
    return event.session == "s-cam1" and not isinstance(event, Gap)


def good(events: Iterable[AnyEvent]) -> list[int]:
    return seqs([event for event in events if is_good(event)])


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="stream")  # ten thousand warnings are as it should be


@pytest.mark.redis
@pytest.mark.parametrize("group", [None, "g"])
def test_every_good_event_in_a_damaged_stream_is_delivered(server: RedisServer, group: str | None) -> None:
    damaged = mutants()
    share = MUTANTS // ROUNDS
    with worker(server) as told, server.client() as client:
        for start in range(0, MUTANTS, share):
            told.say(samples(GOOD))
            pipe = client.pipeline(transaction=False)
            for fields in damaged[start : start + share]:
                pipe.xadd(stream_key("cam1"), fields)  # whoever writes so takes ids of a run of its own
            pipe.execute()
        told.say(samples(1))
        events = list(subscribe(server.url, group=group, from_="start", idle_s=0.5))
        assert client.xlen(stream_key("cam1")) == MUTANTS + ROUNDS * GOOD + 1
        if group:
            assert client.xpending(stream_key("cam1"), group)["pending"] == 0
    assert good(events) == list(range(ROUNDS * GOOD + 1))
    named = [part for event in events if isinstance(event, Gap) and event.session == "s-cam1" for part in event.ranges]
    assert named == []  # nothing is missing of the good ones, so nobody says so


@pytest.mark.redis
def test_every_good_event_between_damaged_messages_is_heard(server: RedisServer) -> None:
    with (
        worker(server) as told,
        server.client() as client,
        reading(listen, server.url) as program,
    ):
        wait_until(client.pubsub_numpat)
        damaged = mutants()
        for start in range(0, MUTANTS, MUTANTS // ROUNDS):
            pipe = client.pipeline(transaction=False)
            for fields in damaged[start : start + MUTANTS // ROUNDS]:
                pipe.publish(stream_key("cam1"), fields.get(b"event", b""))
            pipe.execute()
            told.say(samples(GOOD))
        wait_until(lambda: program.error or ROUNDS * GOOD - 1 in good(list(program.events)))
    assert program.error is None
    assert good(program.events) == list(range(ROUNDS * GOOD))


IDS = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)).map(lambda pair: b"%d-%d" % pair)
EVENTS = st.sampled_from([event.to_json().encode() for event in originals()]) | st.binary(max_size=200)
FIELDS = st.dictionaries(st.sampled_from([b"event", b"late", b"type", b""]) | st.binary(max_size=5), EVENTS)


@settings(max_examples=1_000)
@given(st.lists(st.tuples(IDS, FIELDS | st.none()), max_size=10))
def test_no_entry_whatever_breaks_the_reader(entries: list[tuple[bytes, Fields | None]]) -> None:
    """Ten at a time, in any order of ids, whole events among them."""
    continuity = Continuity(EntryId(0, 0))
    for entry_id, fields in entries:
        flat = None if fields is None else [part for pair in fields.items() for part in pair]
        gap = continuity.follow(decode(entry_id, flat))
        assert gap is None or gap.reason == "trimmed"
