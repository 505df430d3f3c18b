"""From the event queue into the outbox, and from there to every sink: what the publish thread does.

One thread serves all sinks in turn, and each has its own line in the outbox and its own waiting time after trouble: a
dead sink costs the others at most its own timeout, once per try. Events are accepted before anything is sent, so what
a sink does never decides what is lost.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from stream.backoff import Backoff
from stream.errors import Closed, SinkError, SinkRefused
from stream.events import Event
from stream.outbox.base import Outbox
from stream.sinks.base import Accepted, Sink

BATCH: Final = 256  # events in one send
BATCHES: Final = 16  # sent to one sink before the others and the queue have their turn again
IDLE_S: Final = 1.0  # the longest wait for events
GROUP: Final = 64  # events of which no acceptance waits for more
FIRST_DELAY_S: Final = 0.1  # after a sink's first failure; doubles up to the cap
CAP_S: Final = 2.5


class Events(Protocol):
    """What the publisher takes from: `handover.EventQueue`."""

    @property
    def closed(self) -> bool: ...
    def take(self, timeout_s: float | None) -> list[Event]: ...  # raises Closed when closed and empty


@dataclass(slots=True)
class Chore:
    """Something else that is due regularly in the publish thread, such as renewing leases."""

    name: str  # as trouble with it is reported
    every_s: float
    run: Callable[[], None]  # a SinkError is reported, and it is tried again when it is due again
    due_s: float = field(default=0.0, init=False)  # on the monotonic clock
    trouble: str | None = field(default=None, init=False)  # the sentence that was reported last


def _silent(*_: object) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class Report:
    """Whom to tell: called from the publish thread, which waits for it; what it raises ends the publishing."""

    trouble: Callable[[str, str], None] = _silent  # (sink or chore, sentence): at the first failure and at each new one
    recovered: Callable[[str], None] = _silent  # (sink or chore)
    # (sink, events) that it has just stored; after a sink was away, what it may have had already comes again
    acknowledged: Callable[[str, Sequence[Accepted]], None] = _silent
    accepted: Callable[[Sequence[Accepted]], None] = _silent  # they have their seq, and are kept for every sink


@dataclass(frozen=True, slots=True)
class Line:
    """How one sink fares."""

    sink: str
    waiting: int  # events that it does not have yet
    oldest: datetime | None  # when the oldest of them was accepted
    trouble: str | None  # the sentence of its last failure, until it recovers


class Publisher:
    """`open`, `run` and `close` are called once each, in this order, by the publish thread.

    `drain_s` is how long sinks may still take after the queue was closed. While the outbox is full, an open queue is
    left alone, unless the end has begun: what is still on its way is little. `wait(seconds)` is how to wait without a
    queue.
    """

    def __init__(
        self,
        outbox: Outbox,
        sinks: Sequence[Sink],
        *,
        drain_s: float,
        chores: Sequence[Chore] = (),
        report: Report | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._outbox = outbox
        self._report = report or Report()
        rng = rng or random.Random()
        self._feeds = [
            _Feed(sink, outbox, Backoff(FIRST_DELAY_S, CAP_S, rng), self._report, monotonic) for sink in sinks
        ]
        self._drain_s = drain_s
        self._chores = chores
        self._monotonic = monotonic
        self._wait = wait or threading.Event().wait
        self.lines: tuple[Line, ...] = ()  # as of the last round; replaced whole, so that any thread may read it
        self._accepted_s = -math.inf  # when events were last accepted, on the monotonic clock

    def open(self) -> None:
        """Reach every sink once. One that refuses us is raised (SinkRefused): a person has to act before a start.

        One that cannot be reached now is only reported: its events are kept for it.
        """
        for feed in self._feeds:
            feed.open()
        self.lines = tuple(feed.line() for feed in self._feeds)

    def run(self, queue: Events, left_s: Callable[[], float] = lambda: math.inf) -> dict[str, int]:
        """Publish until the queue is closed and everything is delivered, or `drain_s` after that.

        `left_s` says how long draining may take, infinite before the end has begun. Returns what was not
        delivered: events per sink, without those sinks that have them all.
        """
        try:
            while True:
                if self._outbox.full and not queue.closed and math.isinf(left_s()):
                    self._wait(self._idle_s())
                elif events := self._taken(queue):
                    accepted = self._outbox.append(events)
                    for feed in self._feeds:
                        feed.expect(accepted[0])
                    self._report.accepted(accepted)
                    self._accepted_s = self._monotonic()
                self._work()
        except Closed:
            self._drain(min(self._drain_s, left_s()))
        return {feed.name: depth for feed in self._feeds if (depth := self._outbox.depth(feed.name))}

    def close(self) -> None:
        """Close every sink and the outbox. May be called twice."""
        for feed in self._feeds:
            feed.close()
        self._outbox.close()

    def _taken(self, queue: Events) -> list[Event]:
        """What waits; once there is something, also what comes soon, if each acceptance costs something."""
        events = queue.take(self._idle_s())
        until_s = self._accepted_s + self._outbox.group_s
        with suppress(Closed):  # what was taken comes first; the next take says so again
            while events and len(events) < GROUP and (left_s := until_s - self._monotonic()) > 0:
                events += queue.take(left_s)
        return events

    def _drain(self, drain_s: float) -> None:
        end_s = self._monotonic() + drain_s
        self._work()
        while any(feed.waiting for feed in self._feeds) and (left_s := end_s - self._monotonic()) > 0:
            self._wait(min(left_s, self._idle_s()))
            self._work()

    def _work(self) -> None:
        for feed in self._feeds:
            feed.pump()
        self.lines = tuple(feed.line() for feed in self._feeds)
        for chore in self._chores:
            if self._monotonic() >= chore.due_s:
                self._do(chore)

    def _do(self, chore: Chore) -> None:
        try:
            chore.run()
            if chore.trouble is not None:
                self._report.recovered(chore.name)
            chore.trouble = None
        except SinkError as error:
            if chore.trouble != str(error):
                chore.trouble = str(error)
                self._report.trouble(chore.name, chore.trouble)
        chore.due_s = self._monotonic() + chore.every_s

    def _idle_s(self) -> float:
        """How long nothing is due."""
        now = self._monotonic()
        due = [feed.due_s(now) for feed in self._feeds] + [chore.due_s for chore in self._chores]
        return max(0.0, min([now + IDLE_S, *due]) - now)


class _Feed:
    """One sink and how it fares."""

    def __init__(
        self, sink: Sink, outbox: Outbox, backoff: Backoff, report: Report, monotonic: Callable[[], float]
    ) -> None:
        self.name = sink.name
        self._sink = sink
        self._outbox = outbox
        self._backoff = backoff
        self._report = report
        self._monotonic = monotonic
        self._is_open = False
        self._has_more = False  # the last pump stopped to let others have their turn
        self._retry_s = 0.0  # on the monotonic clock: not to be touched before
        self._trouble: str | None = None  # the sentence that was reported last
        self._oldest: datetime | None = None  # when the oldest event that waits was accepted

    @property
    def waiting(self) -> bool:
        return self._outbox.depth(self.name) > 0

    def expect(self, accepted: Accepted) -> None:
        """This is in its line now."""
        if self._oldest is None:
            self._oldest = accepted.accepted_at

    def line(self) -> Line:
        """How it fares now."""
        waiting = self._outbox.depth(self.name)
        return Line(self.name, waiting, self._oldest if waiting else None, self._trouble)

    def due_s(self, now: float) -> float:
        """When to pump again, on the monotonic clock."""
        if not self._is_open:
            return self._retry_s
        return now if self._has_more else now + IDLE_S

    def open(self) -> None:
        """The first time. Raises SinkRefused."""
        try:
            self._reach()
        except SinkRefused:
            raise
        except SinkError as error:
            self._fail(error)

    def pump(self) -> None:
        """Send what waits, if it is time; never raises for trouble of the sink."""
        if not self._is_open and self._monotonic() < self._retry_s:
            return
        try:
            if not self._is_open:
                self._reach()
            self._has_more = self._send()
        except SinkError as error:
            self._fail(error)
        else:
            self._succeed()

    def close(self) -> None:
        self._sink.close()

    def _reach(self) -> None:
        self._sink.open()
        self._outbox.rewind(self.name)  # it may come back without what it had
        self._is_open = True

    def _send(self) -> bool:
        """Send some batches; whether more waits."""
        for _ in range(BATCHES):
            batch = self._outbox.pending(self.name, BATCH)
            self._oldest = batch[0].accepted_at if batch else None
            if not batch:
                return False
            self._sink.send(batch)
            self._outbox.acknowledge(self.name, batch)
            self._report.acknowledged(self.name, batch)
        return True

    def _fail(self, error: SinkError) -> None:
        self._is_open = self._has_more = False
        self._retry_s = self._monotonic() + self._backoff.next_s()
        if self._trouble != str(error):
            self._trouble = str(error)
            self._report.trouble(self.name, self._trouble)

    def _succeed(self) -> None:
        self._backoff.reset()
        if self._trouble is not None:
            self._trouble = None
            self._report.recovered(self.name)
