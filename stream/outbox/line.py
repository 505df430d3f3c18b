"""A line in memory."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice

from stream.clocks import utc_now
from stream.config import OutboxConfig
from stream.outbox.shedding import SHED_SHARE, shed
from stream.sinks.base import Accepted

log = logging.getLogger(__name__)


class MemoryLine:
    """See base.Line. `wall` is UTC."""

    def __init__(
        self,
        sink: str,
        config: OutboxConfig,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self._sink = sink
        self._max_events = config.max_events
        self._max_age = timedelta(seconds=config.max_age_s)
        self._retain_s = config.retain_s
        self._monotonic = monotonic
        self._wall = wall
        self._retained: deque[tuple[float, Accepted]] = deque()  # with the time of their acknowledgement
        self._handed: deque[Accepted] = deque()
        self._again = 0  # so many at the front of _handed were acknowledged before and only rewound
        self._waiting: deque[Accepted] = deque()
        self._told = False  # true once this fullness was logged

    @property
    def depth(self) -> int:
        return len(self._handed) - self._again + len(self._waiting)

    def extend(self, accepted: Sequence[Accepted]) -> None:
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
                raise out_of_turn(accepted)
            self._retained.append((now, self._handed.popleft()))
        self._again = max(0, self._again - len(batch))
        self._told = self._told and self.depth > 0
        self._expire()

    def rewind(self) -> None:
        self._expire()
        self._again += len(self._retained)
        self._handed.extendleft(accepted for _, accepted in reversed(self._retained))
        self._retained.clear()

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
        if give_up and excess > 0:
            target = len(self._waiting) - excess - self._max_events // SHED_SHARE
            self._give_up(len(self._waiting), target, f"{self._max_events} events wait")
        if give_up and self._waiting and self._waiting[0].accepted_at < (until := self._wall() - self._max_age):
            old = sum(accepted.accepted_at < until for accepted in self._waiting)
            self._give_up(old, 0, f"events are older than {self._max_age.total_seconds():g} s")

    def _give_up(self, count: int, target: int, why: str) -> None:
        """Of the first `count` that wait no more than `target` are left."""
        rest = list(self._waiting)
        before = len(rest)
        self._waiting = deque([*shed(rest[:count], max(0, target)), *rest[count:]])
        if len(self._waiting) < before and not self._told:
            self._told = True
            log.warning("outbox: %s for %s; the oldest are given up", why, self._sink)

    def _expire(self) -> None:
        oldest_s = self._monotonic() - self._retain_s
        while self._retained and self._retained[0][0] < oldest_s:
            self._retained.popleft()


def out_of_turn(accepted: Accepted) -> ValueError:
    return ValueError(f"acknowledged seq {accepted.event.seq} of {accepted.event.camera_id} out of turn")
