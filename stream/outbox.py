"""Events between their acceptance and their acknowledgement by every sink. The one place that gives `seq`.

Every sink has a line of its own here: in order, and bounded. When a line is full, events are given up *in their
place*: two neighbours of one camera and session become one `Gap`, which may swallow its next neighbour in turn.

Which seq does such a gap carry? The **last** one that it names, for it stands where that event stood; it is that
event's only trace, so it names that seq too. A reader who saw seq 4 and now gets a gap with ranges 5..9 and seq 9
knows everything up to 9, and the next is 10: the same rule, "what this event speaks for ends at its seq", holds for
gaps and for all others (`speaks_from`). So every seq is either delivered to a sink or named by exactly one gap there,
and ids made of seq keep growing.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Final, Protocol

from stream.clocks import utc_now
from stream.config import OutboxConfig
from stream.events import Event, Gap, SeqRange, speaks_from, stamp
from stream.sinks.base import Accepted

log = logging.getLogger(__name__)

SHED_SHARE: Final = 16  # a full line sheds this part of itself at once, so that shedding costs little per event
LEVELS: Final = {"emotion.sample": 0, "emotion.changed": 1}  # who is given up first; everything else is lifecycle
LIFECYCLE: Final = 2


class Outbox(Protocol):
    """Made, used and closed by the publish thread. `sink` is always a Sink's name."""

    def append(self, events: Sequence[Event]) -> list[Accepted]:
        """Give each event its seq and the time of its acceptance. Once this returns, they are accepted."""
        ...

    def pending(self, sink: str, limit: int) -> list[Accepted]:
        """What the sink should get next, at most `limit` events in order; the same again until acknowledged."""
        ...

    def acknowledge(self, sink: str, batch: Sequence[Accepted]) -> None:
        """The sink has stored `batch`, which must be the beginning of what `pending` answered last."""
        ...

    def rewind(self, sink: str) -> None:
        """Let `pending` begin with everything that is still retained: the sink may have lost its tail."""
        ...

    def depth(self, sink: str) -> int:
        """Events that the sink has not acknowledged yet."""
        ...

    @property
    def full(self) -> bool:
        """Whether whoever appends should wait: this outbox gives nothing up, and some sink has too much to catch up."""
        ...

    def close(self) -> None:
        """May be called twice."""
        ...


class MemoryOutbox:
    """An outbox that lives as long as its process.

    `lossless` (for files) gives nothing up; it is `full` instead, and a little more than `max_events` when what was
    under way arrives.
    """

    def __init__(
        self,
        config: OutboxConfig,
        sinks: Iterable[str],
        *,
        lossless: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self._max_events = config.max_events
        self._lossless = lossless
        self._lines = {sink: _Line(sink, config.max_events, config.retain_s, monotonic) for sink in sinks}
        self._next_seq: Counter[tuple[str, str]] = Counter()  # by camera and session
        self._wall = wall

    def append(self, events: Sequence[Event]) -> list[Accepted]:
        now = self._wall()
        accepted = [Accepted(event.model_copy(update={"seq": self._take_seq(event)}), now) for event in events]
        for line in self._lines.values():
            line.extend(accepted)
            line.make_room(give_up=not self._lossless)
        return accepted

    def pending(self, sink: str, limit: int) -> list[Accepted]:
        return self._lines[sink].head(limit)

    def acknowledge(self, sink: str, batch: Sequence[Accepted]) -> None:
        self._lines[sink].acknowledge(batch)

    def rewind(self, sink: str) -> None:
        self._lines[sink].rewind()

    def depth(self, sink: str) -> int:
        return self._lines[sink].depth

    @property
    def full(self) -> bool:
        return self._lossless and any(line.depth >= self._max_events for line in self._lines.values())

    def close(self) -> None:
        """Nothing outlives the process."""

    def _take_seq(self, event: Event) -> int:
        key = (event.camera_id, event.session)
        self._next_seq[key] += 1
        return self._next_seq[key] - 1


class _Line:
    """One sink's view of the outbox, oldest first: retained, then handed out (or rewound), then waiting.

    What was handed out may already be stored, though nobody has said so; it is never given up, or a gap could name
    what the sink holds.
    """

    def __init__(self, sink: str, max_events: int, retain_s: float, monotonic: Callable[[], float]) -> None:
        self._sink = sink
        self._max_events = max_events
        self._retain_s = retain_s
        self._monotonic = monotonic
        self._retained: deque[tuple[float, Accepted]] = deque()  # with the time of their acknowledgement
        self._handed: deque[Accepted] = deque()
        self._again = 0  # so many at the front of _handed were acknowledged before and only rewound
        self._waiting: deque[Accepted] = deque()
        self._told = False  # true once this fullness was logged

    @property
    def depth(self) -> int:
        return len(self._handed) - self._again + len(self._waiting)

    def extend(self, accepted: Iterable[Accepted]) -> None:
        self._waiting.extend(accepted)
        self._expire()

    def head(self, limit: int) -> list[Accepted]:
        while self._waiting and len(self._handed) < limit:
            self._handed.append(self._waiting.popleft())
        return list(islice(self._handed, limit))

    def acknowledge(self, batch: Sequence[Accepted]) -> None:
        now = self._monotonic()
        for accepted in batch:
            if not self._handed or self._handed[0] is not accepted:
                raise ValueError(f"acknowledged seq {accepted.event.seq} of {accepted.event.camera_id} out of turn")
            self._retained.append((now, self._handed.popleft()))
        self._again = max(0, self._again - len(batch))
        self._told = self._told and self.depth > 0
        self._expire()

    def rewind(self) -> None:
        self._expire()
        self._again += len(self._retained)
        self._handed.extendleft(accepted for _, accepted in reversed(self._retained))
        self._retained.clear()

    def _expire(self) -> None:
        oldest_s = self._monotonic() - self._retain_s
        while self._retained and self._retained[0][0] < oldest_s:
            self._retained.popleft()

    def make_room(self, give_up: bool) -> None:
        """What the sink acknowledged once is forgotten first, without a word; only then is anything given up."""
        excess = len(self._retained) + len(self._handed) + len(self._waiting) - self._max_events
        while excess > 0 and self._retained:
            self._retained.popleft()
            excess -= 1
        while excess > 0 and self._again:
            self._handed.popleft()
            self._again -= 1
            excess -= 1
        if excess > 0 and give_up:
            target = len(self._waiting) - excess - self._max_events // SHED_SHARE
            self._waiting = deque(shed(self._waiting, max(0, target)))
            if not self._told:
                self._told = True
                log.warning("outbox: %d events wait for %s; the oldest are given up", self._max_events, self._sink)


def shed(waiting: Iterable[Accepted], target: int) -> list[Accepted]:
    """`waiting` with no more than `target` events left, as far as that can be; pure.

    Pairs of neighbours (in their own camera and session) become gaps, oldest first: first pairs of samples, then also
    changes, at last also lifecycle events. Pairs, because a lone event that becomes a gap makes no room. One event of
    each camera and session therefore always stays.
    """
    left = list(waiting)
    for level in range(LIFECYCLE + 1):
        if len(left) > target:
            left = _merge(left, len(left) - target, level)
    return left


def _merge(waiting: Sequence[Accepted], excess: int, level: int) -> list[Accepted]:
    """Merge the `excess` oldest pairs of which neither is above `level`."""
    left: list[Accepted | None] = []
    open_at: dict[tuple[str, str], int] = {}  # where a camera's latest event stands, if it may be merged
    for accepted in waiting:
        key = (accepted.event.camera_id, accepted.event.session)
        before = open_at.pop(key, None)
        if _level(accepted.event) <= level:
            if before is not None and excess > 0:
                earlier, left[before] = left[before], None
                assert earlier is not None  # open_at points at what still stands
                accepted = _gap(earlier, accepted)
                excess -= 1
            open_at[key] = len(left)
        left.append(accepted)
    return [accepted for accepted in left if accepted is not None]


def _level(event: Event) -> int:
    if isinstance(event, Gap) and event.reason == "outbox_full":
        return 0
    return LEVELS.get(event.type, LIFECYCLE)


def _gap(first: Accepted, last: Accepted) -> Accepted:
    """One gap for both and, as they are neighbours, for everything that they speak for."""
    event = last.event
    named = SeqRange(first_seq=speaks_from(first.event), last_seq=event.seq)
    gap = Gap(**stamp(event), seq=event.seq, reason="outbox_full", ranges=(named,))
    return Accepted(gap, last.accepted_at)
