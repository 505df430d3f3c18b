"""The publisher: nothing is lost when a sink fails, one sink's trouble stays its own, and stopping has an end."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from stream.config import OutboxConfig
from stream.errors import Closed, SinkError, SinkRefused
from stream.events import Event
from stream.outbox import MemoryOutbox
from stream.publisher import BATCH, BATCHES, CAP_S, Chore, Publisher, Report
from stream.sinks.base import Accepted, Sink
from stream.sinks.memory import MemorySink
from tests.sinks.made import sample, samples


class Time:
    """A monotonic clock that only goes on when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


class Queue:
    """Hands out one list at each take, then is closed. An empty list is a take that found nothing in its time."""

    def __init__(self, time: Time, *lists: Sequence[Event]) -> None:
        self._time = time
        self.lists = list(lists)

    @property
    def closed(self) -> bool:
        return not self.lists

    def take(self, timeout_s: float | None) -> list[Event]:
        if not self.lists:
            raise Closed
        events = list(self.lists.pop(0))
        if not events:
            self._time.wait(timeout_s or 0.0)
        return events


class ShakySink(MemorySink):
    """Fails at the given calls, counted from 0 over `open` and `send` together; `slow_s` is how long that takes it."""

    def __init__(self, name: str, time: Time, fails: Sequence[int], error: SinkError, slow_s: float = 0.0) -> None:
        super().__init__(name)
        self._time, self._fails, self._error, self._slow_s = time, set(fails), error, slow_s
        self.calls = 0
        self.closed = 0

    def open(self) -> None:
        self._may_fail()

    def send(self, batch: Sequence[Accepted]) -> None:
        self._may_fail()
        super().send(batch)

    def close(self) -> None:
        self.closed += 1

    def _may_fail(self) -> None:
        self.calls += 1
        if self.calls - 1 in self._fails:
            self._time.wait(self._slow_s)
            raise self._error


def publish(
    time: Time,
    sinks: Sequence[Sink],
    *lists: Sequence[Event],
    drain_s: float = 10.0,
    lossless: bool = False,
    **more: object,
) -> dict[str, int]:
    outbox = MemoryOutbox(OutboxConfig(max_events=1_000), [sink.name for sink in sinks], lossless=lossless)
    rng = random.Random(1)
    publisher = Publisher(outbox, sinks, drain_s=drain_s, monotonic=time, wait=time.wait, rng=rng, **more)  # type: ignore[arg-type]
    publisher.open()
    try:
        return publisher.run(Queue(time, *lists))
    finally:
        publisher.close()


@pytest.fixture
def time() -> Time:
    return Time()


def seqs(sink: MemorySink) -> list[int]:
    return [event.seq for event in sink.events]


def test_events_reach_every_sink_in_order(time: Time) -> None:
    one, two = MemorySink("one"), MemorySink("two")
    assert publish(time, [one, two], samples(3), [], samples(2)) == {}
    assert seqs(one) == seqs(two) == [0, 1, 2, 3, 4]
    assert one.accepted == two.accepted


@pytest.mark.parametrize("fails", [[1], [2, 3, 4], [1, 3, 5], range(20)])
def test_a_sink_that_fails_loses_nothing(time: Time, fails: Sequence[int]) -> None:
    sink = ShakySink("shaky", time, fails, SinkError("away"))
    assert publish(time, [sink], *[samples(3)] * 5, drain_s=120.0) == {}
    assert seqs(sink) == list(range(15))
    assert sink.closed


def test_a_dead_sink_leaves_the_others_alone(time: Time) -> None:
    dead, well = ShakySink("dead", time, range(10_000), SinkError("away")), MemorySink("well")
    assert publish(time, [dead, well], samples(3), samples(3)) == {"dead": 6}
    assert seqs(well) == list(range(6))


def test_a_dead_sink_is_not_tried_all_the_time(time: Time) -> None:
    dead = ShakySink("dead", time, range(10_000), SinkError("away"), slow_s=5.0)
    publish(time, [dead], *[samples(1), []] * 500)
    assert time.now > 500
    assert dead.calls < time.now / 5.0 + 1  # never again right after a try that took its whole timeout
    assert dead.calls > time.now / (5.0 + CAP_S) - 5


def test_a_long_backlog_lets_the_others_have_their_turn(time: Time) -> None:
    """The first sink has much to catch up; the second still gets its events after each share of that."""
    shares: list[int] = []

    class Behind(MemorySink):
        def send(self, batch: Sequence[Accepted]) -> None:
            super().send(batch)
            shares.append(len(well.events))

    behind, well = Behind("behind"), MemorySink("well")
    count = BATCH * BATCHES * 2
    assert publish(time, [behind, well], samples(count), lossless=True) == {}
    assert shares[BATCHES - 1] == 0
    assert shares[BATCHES] == BATCH * BATCHES


def test_refused_at_the_start_is_for_a_person(time: Time) -> None:
    sink = ShakySink("closed", time, [0], SinkRefused("wrong password"))
    with pytest.raises(SinkRefused, match="wrong password"):
        publish(time, [sink], samples(1))


def test_unreachable_at_the_start_is_tried_again(time: Time) -> None:
    sink = ShakySink("late", time, [0, 1], SinkError("away"))
    assert publish(time, [sink], samples(1)) == {}
    assert seqs(sink) == [0]


def test_refused_later_is_tried_again(time: Time) -> None:
    sink = ShakySink("moody", time, [2, 3], SinkRefused("read-only"))
    assert publish(time, [sink], samples(1), samples(1)) == {}
    assert seqs(sink) == [0, 1]


def test_trouble_is_told_once_and_so_is_its_end(time: Time) -> None:
    told: list[tuple[str, ...]] = []
    sink = ShakySink("shaky", time, [1, 2, 3], SinkError("away"))
    report = Report(lambda name, sentence: told.append((name, sentence)), lambda name: told.append((name,)))
    publish(time, [sink], samples(1), report=report)
    assert told == [("shaky", "away"), ("shaky",)]


def test_what_is_stored_is_told_once_the_sink_has_it(time: Time) -> None:
    """Not before: the second batch comes back with the sink, the first again, because it may have been forgotten."""
    told: list[tuple[str, list[int]]] = []
    sink = ShakySink("shaky", time, [2], SinkError("away"))
    report = Report(acknowledged=lambda name, batch: told.append((name, [each.event.seq for each in batch])))
    publish(time, [sink], samples(2), samples(1), report=report)
    assert told == [("shaky", [0, 1]), ("shaky", [0, 1, 2])]


def test_what_a_sink_may_have_forgotten_is_sent_again(time: Time) -> None:
    class Forgetful(MemorySink):
        """Every `open` finds it empty; the first batch that makes four events kills it."""

        def open(self) -> None:
            self.__init__(self.name)  # type: ignore[misc]

        def send(self, batch: Sequence[Accepted]) -> None:
            super().send(batch)
            if len(self.accepted) == 4 and not deaths:
                deaths.append(time.now)
                raise SinkError("died with all that it had")

    deaths: list[float] = []
    sink = Forgetful("forgetful")
    assert publish(time, [sink], samples(2), samples(2), samples(2)) == {}
    assert seqs(sink) == list(range(6))


def test_stopping_ends_although_a_sink_is_dead(time: Time) -> None:
    dead = ShakySink("dead", time, range(10_000), SinkError("away"))
    assert publish(time, [dead], samples(7), drain_s=10.0) == {"dead": 7}
    assert 10.0 <= time.now < 10.0 + CAP_S


def test_files_wait_for_a_full_outbox(time: Time) -> None:
    """1,000 events fit; the sink is away for a while, and nothing is given up."""
    sink = ShakySink("shaky", time, range(1, 30), SinkError("away"))
    assert publish(time, [sink], *[samples(600)] * 5, lossless=True, drain_s=60.0) == {}
    assert seqs(sink) == list(range(3_000))


class Costly(MemoryOutbox):
    """Acceptance costs something; notes how many events came at a time, and when."""

    group_s = 0.05

    def __init__(self, time: Time) -> None:
        super().__init__(OutboxConfig(), [])
        self._time = time
        self.groups: list[tuple[float, int]] = []

    def append(self, events: Sequence[Event]) -> list[Accepted]:
        self.groups.append((round(self._time.now, 3), len(events)))
        return super().append(events)


def test_events_that_come_close_together_are_accepted_together(time: Time) -> None:
    outbox = Costly(time)
    publisher = Publisher(outbox, [], drain_s=1.0, monotonic=time, wait=time.wait)
    publisher.open()
    # the first at once; then whatever comes within 50 ms of it; many do not wait; the end loses nothing
    publisher.run(Queue(time, samples(1), samples(2), samples(3), [], samples(70), samples(1)))
    assert outbox.groups == [(0.0, 1), (0.05, 5), (0.05, 70), (0.05, 1)]
    publisher.close()


def test_chores_are_done_on_time_and_their_trouble_is_told(time: Time) -> None:
    done: list[float] = []
    told: list[tuple[str, ...]] = []

    def renew() -> None:
        done.append(time.now)
        if len(done) == 2:
            raise SinkError("lease not renewed")

    report = Report(lambda name, sentence: told.append((name, sentence)), lambda name: told.append((name,)))
    publish(time, [], *[[]] * 12, chores=[Chore("leases", 2.0, renew)], report=report)
    assert done == pytest.approx([0.0, 2.0, 4.0, 6.0, 8.0, 10.0], abs=0.01)
    assert told == [("leases", "lease not renewed"), ("leases",)]


def test_an_outbox_that_cannot_work_stops_everything(time: Time) -> None:
    class Broken(MemoryOutbox):
        def append(self, events: Sequence[Event]) -> list[Accepted]:
            raise OSError("disk gone")

    publisher = Publisher(Broken(OutboxConfig(), []), [], drain_s=1.0, monotonic=time, wait=time.wait)
    with pytest.raises(OSError, match="disk gone"):
        publisher.run(Queue(time, [sample()]))
