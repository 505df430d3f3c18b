"""The outbox: seq in one place, a line per sink, and what becomes of events when there is no room."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import OutboxConfig
from stream.events import Event, Gap, SeqRange, speaks_from
from stream.outbox import MemoryOutbox, shed
from stream.sinks.base import Accepted
from tests.sinks.made import START, Clock, accepted, changed, named, sample, samples, started, status

SMALL = OutboxConfig(max_events=1_000)


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def deliver(outbox: MemoryOutbox, sink: str = "sink", limit: int = 64) -> list[Event]:
    """Everything that waits for the sink, acknowledged batch by batch."""
    told: list[Event] = []
    while batch := outbox.pending(sink, limit):
        outbox.acknowledge(sink, batch)
        told += [one.event for one in batch]
    return told


def test_seq_counts_from_0_for_each_camera_and_session() -> None:
    outbox = MemoryOutbox(OutboxConfig(), [])
    taken = outbox.append([sample("a"), sample("b"), sample("a"), sample("a", session="next")])
    assert [one.event.seq for one in taken] == [0, 0, 1, 0]
    assert outbox.append([sample("b")])[0].event.seq == 1


def test_the_time_of_acceptance_is_stamped_once() -> None:
    clock = Clock()
    outbox = MemoryOutbox(OutboxConfig(), ["sink"], wall=clock)
    taken = outbox.append([sample()])
    clock.now = START.replace(hour=9)
    assert outbox.pending("sink", 1) == taken
    assert taken[0].accepted_at == START


def test_each_sink_has_its_own_place() -> None:
    outbox = MemoryOutbox(OutboxConfig(), ["fast", "slow"])
    outbox.append(samples(5))
    assert len(deliver(outbox, "fast")) == 5
    assert (outbox.depth("fast"), outbox.depth("slow")) == (0, 5)


def test_pending_answers_the_same_until_acknowledged() -> None:
    outbox = MemoryOutbox(OutboxConfig(), ["sink"])
    outbox.append(samples(5))
    first = outbox.pending("sink", 3)
    assert outbox.pending("sink", 3) == first
    outbox.acknowledge("sink", first[:2])
    assert [one.event.seq for one in outbox.pending("sink", 3)] == [2, 3, 4]


def test_only_the_beginning_can_be_acknowledged() -> None:
    outbox = MemoryOutbox(OutboxConfig(), ["sink"])
    taken = outbox.append(samples(3))
    with pytest.raises(ValueError, match="out of turn"):
        outbox.acknowledge("sink", taken[:1])
    outbox.pending("sink", 3)
    with pytest.raises(ValueError, match="out of turn"):
        outbox.acknowledge("sink", taken[1:])


def test_rewinding_brings_back_what_is_retained() -> None:
    clock = Seconds()
    outbox = MemoryOutbox(OutboxConfig(retain_s=60.0), ["sink"], monotonic=clock)
    outbox.append(samples(2))
    deliver(outbox)
    clock.now = 50.0
    outbox.append(samples(2))
    deliver(outbox)
    clock.now = 61.0  # the first two are forgotten
    outbox.append(samples(1))
    outbox.rewind("sink")
    assert outbox.depth("sink") == 1  # what comes again was delivered
    assert named(deliver(outbox)) == [2, 3, 4]
    outbox.rewind("sink")
    assert named(deliver(outbox)) == [2, 3, 4]


def test_a_full_outbox_gives_up_samples_in_their_place(caplog: pytest.LogCaptureFixture) -> None:
    outbox = MemoryOutbox(SMALL, ["sink"])
    with caplog.at_level(logging.WARNING):
        outbox.append([started(), *samples(10), changed(), *samples(2_000), changed()])
    told = deliver(outbox)
    assert len(told) <= SMALL.max_events
    assert named(told) == list(range(2_013))
    first, gap, second = told[0], told[1], told[2]
    assert (first.type, gap.type, second.type) == ("track.started", "gap", "emotion.changed")
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.seq, gap.ranges) == ("outbox_full", 10, (SeqRange(first_seq=1, last_seq=10),))
    assert "2000" not in caplog.text
    assert len(caplog.records) == 1


def test_what_was_delivered_is_forgotten_before_anything_is_given_up() -> None:
    outbox = MemoryOutbox(SMALL, ["sink"])
    outbox.append(samples(900))
    deliver(outbox)
    outbox.append(samples(900))
    assert not any(isinstance(event, Gap) for event in deliver(outbox))
    outbox.rewind("sink")
    outbox.append(samples(900))
    told = deliver(outbox)
    assert not any(isinstance(event, Gap) for event in told)
    assert named(told)[-900:] == list(range(1_800, 2_700))


def test_what_was_handed_out_is_never_given_up() -> None:
    outbox = MemoryOutbox(SMALL, ["sink"])
    outbox.append(samples(500))
    batch = outbox.pending("sink", 100)
    outbox.append(samples(5_000))
    assert outbox.pending("sink", 100) == batch
    told = deliver(outbox, limit=100)
    assert named(told[:100]) == list(range(100))
    assert isinstance(told[100], Gap)
    assert named(told) == list(range(5_500))


def test_one_sink_that_is_full_costs_the_others_nothing() -> None:
    outbox = MemoryOutbox(SMALL, ["dead", "well"])
    told: list[Event] = []
    for _ in range(10):
        outbox.append(samples(500))
        told += deliver(outbox, "well")
    assert [event.seq for event in told] == list(range(5_000))
    assert not any(isinstance(event, Gap) for event in told)
    assert named(deliver(outbox, "dead")) == list(range(5_000))


def test_an_outbox_for_files_is_full_instead() -> None:
    outbox = MemoryOutbox(SMALL, ["sink"], lossless=True)
    outbox.append(samples(999))
    assert not outbox.full
    outbox.append(samples(500))
    assert outbox.full
    assert [event.seq for event in deliver(outbox)] == list(range(1_499))
    assert not outbox.full


def test_a_gap_of_the_camera_itself_is_named_like_any_event() -> None:
    jump = Gap(**{**sample().model_dump(include={"camera_id", "session", "media_time_s"})}, captured_at=None,
               clock_source="media", reason="stream_jumped", ranges=())  # fmt: skip
    left = shed(accepted([sample(), jump, sample()]), 1)
    assert named(one.event for one in left) == [0, 1, 2]


KINDS = {"sample": sample, "changed": changed, "started": started, "status": status}
happenings = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from("abc")), max_size=80)


@given(happenings, st.integers(0, 80), st.lists(st.integers(0, 80), max_size=3))
def test_shedding_names_every_seq_exactly_once(happened: list[tuple[str, str]], target: int, more: list[int]) -> None:
    before = accepted([KINDS[kind](camera) for kind, camera in happened])
    left = before
    for goal in [target, *more]:
        left = shed(left, goal)
        assert len(left) <= max(goal, len({one.event.camera_id for one in before}))
    for camera in "abc":
        seqs = [one.event.seq for one in before if one.event.camera_id == camera]
        told = [one.event for one in left if one.event.camera_id == camera]
        assert named(told) == seqs
        assert all(speaks_from(late) == early.seq + 1 for early, late in pairwise(told))


@given(happenings, st.integers(0, 80))
def test_shedding_takes_samples_before_lifecycle(happened: list[tuple[str, str]], target: int) -> None:
    left = shed(accepted([KINDS[kind](camera) for kind, camera in happened]), target)
    types = Counter(one.event.type for one in left)
    lifecycle = sum(kind in ("started", "status") for kind, _ in happened)
    if types["track.started"] + types["camera.status"] < lifecycle:  # then no two neighbours are samples any more
        assert not _pairs(left, {"emotion.sample"}) or len(left) <= target


def _pairs(left: list[Accepted], types: set[str]) -> int:
    count = 0
    for camera in {one.event.camera_id for one in left}:
        told = [one.event.type in types for one in left if one.event.camera_id == camera]
        count += sum(early and late for early, late in pairwise(told))
    return count


sinks = st.sampled_from(["fast", "slow"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 400), st.sampled_from(sorted(KINDS)), st.sampled_from("ab")),
        st.tuples(st.just("send"), sinks, st.integers(1, 300), st.booleans()),
        st.tuples(st.just("rewind"), sinks),
    ),
    max_size=25,
)


class World:
    """An outbox with two sinks that store what they were handed, even when they never say so."""

    def __init__(self) -> None:
        self.outbox = MemoryOutbox(SMALL, ["fast", "slow"])
        self.stored: dict[str, dict[tuple[str, int], Event]] = {"fast": {}, "slow": {}}

    def send(self, sink: str, limit: int, answered: bool) -> int:
        batch = self.outbox.pending(sink, limit)
        for one in batch:
            self.stored[sink].setdefault((one.event.camera_id, one.event.seq), one.event)
        if answered:
            self.outbox.acknowledge(sink, batch)
        return len(batch)

    def take(self, step: tuple[object, ...]) -> None:
        match step:
            case ("append", int(count), str(kind), str(camera)):
                self.outbox.append([KINDS[kind](camera) for _ in range(count)])
            case ("send", str(sink), int(limit), bool(answered)):
                self.send(sink, limit, answered)
            case ("rewind", str(sink)):
                self.outbox.rewind(sink)


@settings(max_examples=60, deadline=None)
@given(steps)
def test_every_seq_reaches_each_sink_or_is_named_by_exactly_one_gap(steps: list[tuple[object, ...]]) -> None:
    world = World()
    for step in steps:
        world.take(step)
    last = {camera: world.outbox.append([sample(camera)])[0].event.seq for camera in "ab"}
    for sink, stored in world.stored.items():
        while world.send(sink, 100, True):
            pass
        for camera in "ab":
            told = [event for event in stored.values() if event.camera_id == camera]
            assert [event.seq for event in told] == sorted(event.seq for event in told)
            assert named(told) == list(range(last[camera] + 1))
