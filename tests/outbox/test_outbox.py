"""The outbox: seq in one place, a line per sink, and what becomes of events when there is no room."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import OutboxConfig
from stream.events import Event, Gap, SeqRange, speaks_from
from stream.outbox import MemoryOutbox, Outbox
from stream.outbox.durable import DurableOutbox
from stream.outbox.memory import LineOutbox
from stream.outbox.place import claim
from stream.outbox.shedding import shed
from stream.sinks.base import Accepted
from tests.sinks.made import START, Clock, accepted, changed, named, sample, samples, started, status

SMALL = OutboxConfig(max_events=1_000)


class New(Protocol):
    """Makes an outbox with these sinks; on disk it is the first one's events that are kept there."""

    def __call__(
        self, config: OutboxConfig = ..., sinks: Sequence[str] = ..., *, lossless: bool = ..., clock: Clock | None = ...
    ) -> LineOutbox: ...


@pytest.fixture(params=["memory", "disk"])
def new(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[New]:
    with ExitStack() as stack:

        def make(
            config: OutboxConfig = OutboxConfig(),  # noqa: B008 - it is frozen
            sinks: Sequence[str] = ("sink",),
            *,
            lossless: bool = False,
            clock: Clock | None = None,
        ) -> LineOutbox:
            wall = clock or Clock()
            if request.param == "memory":

                def monotonic() -> float:
                    return wall.now.timestamp()

                return MemoryOutbox(config, sinks, lossless=lossless, monotonic=monotonic, wall=wall)
            store = claim(tmp_path / "outbox.sqlite", sinks[0], [])
            return stack.enter_context(
                closing(DurableOutbox(config, store, sinks[0], sinks[1:], lossless=lossless, wall=wall))
            )

        yield make


def deliver(outbox: Outbox, sink: str = "sink", limit: int = 64) -> list[Event]:
    """Everything that waits for the sink, acknowledged batch by batch."""
    told: list[Event] = []
    while batch := outbox.pending(sink, limit):
        outbox.acknowledge(sink, batch)
        told += [one.event for one in batch]
    return told


def test_seq_counts_from_0_for_each_camera_and_session(new: New) -> None:
    outbox = new()
    taken = outbox.append([sample("a"), sample("b"), sample("a"), sample("a", session="next")])
    assert [one.event.seq for one in taken] == [0, 0, 1, 0]
    assert outbox.append([sample("b")])[0].event.seq == 1


def test_the_time_of_acceptance_is_stamped_once(new: New) -> None:
    clock = Clock()
    outbox = new(clock=clock)
    taken = outbox.append([sample()])
    clock.now = START.replace(hour=9)
    assert outbox.pending("sink", 1) == taken
    assert taken[0].accepted_at == START


def test_each_sink_has_its_own_place(new: New) -> None:
    outbox = new(sinks=["fast", "slow"])
    outbox.append(samples(5))
    assert len(deliver(outbox, "fast")) == 5
    assert (outbox.depth("fast"), outbox.depth("slow")) == (0, 5)


def test_pending_answers_the_same_until_acknowledged(new: New) -> None:
    outbox = new()
    outbox.append(samples(5))
    first = outbox.pending("sink", 3)
    assert outbox.pending("sink", 3) == first
    outbox.acknowledge("sink", first[:2])
    assert [one.event.seq for one in outbox.pending("sink", 3)] == [2, 3, 4]


def test_only_the_beginning_can_be_acknowledged(new: New) -> None:
    outbox = new()
    taken = outbox.append(samples(3))
    with pytest.raises(ValueError, match="out of turn"):
        outbox.acknowledge("sink", taken[:1])
    outbox.pending("sink", 3)
    with pytest.raises(ValueError, match="out of turn"):
        outbox.acknowledge("sink", taken[1:])


def test_rewinding_brings_back_what_is_retained(new: New) -> None:
    clock = Clock()
    outbox = new(OutboxConfig(retain_s=60.0), clock=clock)
    outbox.append(samples(2))
    deliver(outbox)
    clock.now = START + timedelta(seconds=50)
    outbox.append(samples(2))
    deliver(outbox)
    clock.now = START + timedelta(seconds=61)  # the first two are forgotten
    outbox.append(samples(1))
    outbox.rewind("sink")
    assert outbox.depth("sink") == 1  # what comes again was delivered
    assert named(deliver(outbox)) == [2, 3, 4]
    outbox.rewind("sink")
    assert named(deliver(outbox)) == [2, 3, 4]


def test_a_full_outbox_gives_up_samples_in_their_place(new: New, caplog: pytest.LogCaptureFixture) -> None:
    outbox = new(SMALL)
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


def test_what_was_delivered_is_forgotten_before_anything_is_given_up(new: New) -> None:
    outbox = new(SMALL)
    outbox.append(samples(900))
    deliver(outbox)
    outbox.append(samples(900))
    assert not any(isinstance(event, Gap) for event in deliver(outbox))
    outbox.rewind("sink")
    outbox.append(samples(900))
    told = deliver(outbox)
    assert not any(isinstance(event, Gap) for event in told)
    assert named(told)[-900:] == list(range(1_800, 2_700))


def test_what_was_handed_out_is_never_given_up(new: New) -> None:
    outbox = new(SMALL)
    outbox.append(samples(500))
    batch = outbox.pending("sink", 100)
    outbox.append(samples(5_000))
    assert outbox.pending("sink", 100) == batch
    told = deliver(outbox, limit=100)
    assert named(told[:100]) == list(range(100))
    assert isinstance(told[100], Gap)
    assert named(told) == list(range(5_500))


def test_one_sink_that_is_full_costs_the_others_nothing(new: New) -> None:
    outbox = new(SMALL, ["dead", "well"])
    told: list[Event] = []
    for _ in range(10):
        outbox.append(samples(500))
        told += deliver(outbox, "well")
    assert [event.seq for event in told] == list(range(5_000))
    assert not any(isinstance(event, Gap) for event in told)
    assert named(deliver(outbox, "dead")) == list(range(5_000))


def test_what_waited_too_long_is_given_up_whatever_it_is(new: New) -> None:
    clock = Clock()
    outbox = new(OutboxConfig(max_age_s=3600.0), clock=clock)
    outbox.append([started("a"), sample("a"), status("b"), changed("a"), status("b")])
    clock.now = START + timedelta(minutes=59)
    outbox.append([sample("a")])
    assert outbox.depth("sink") == 6
    clock.now = START + timedelta(minutes=61)
    outbox.append([sample("a")])
    told = deliver(outbox)
    assert [(event.camera_id, event.type, event.seq) for event in told] == [
        ("a", "gap", 2),
        ("b", "gap", 1),
        ("a", "emotion.sample", 3),
        ("a", "emotion.sample", 4),
    ]
    assert named(event for event in told if event.camera_id == "a") == [0, 1, 2, 3, 4]


def test_an_outbox_for_files_is_full_instead(new: New) -> None:
    outbox = new(SMALL, lossless=True)
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

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
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


def check_every_seq(world: World, steps: list[tuple[object, ...]]) -> None:
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


@settings(max_examples=60)
@given(steps)
def test_every_seq_reaches_each_sink_or_is_named_by_exactly_one_gap(steps: list[tuple[object, ...]]) -> None:
    check_every_seq(World(MemoryOutbox(SMALL, ["fast", "slow"])), steps)


@settings(max_examples=20)
@given(steps)
def test_the_same_on_disk(steps: list[tuple[object, ...]]) -> None:
    with TemporaryDirectory() as folder:
        store = claim(Path(folder) / "outbox.sqlite", "slow", [])
        with closing(DurableOutbox(SMALL, store, "slow", ["fast"])) as outbox:
            check_every_seq(World(outbox), steps)
