"""An outbox that lives as long as its process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from stream.clocks import utc_now
from stream.config import OutboxConfig
from stream.events import Event
from stream.outbox.base import Line
from stream.outbox.line import MemoryLine
from stream.sinks.base import Accepted
from stream.sinks.entries import epoch_ms


class LineOutbox:
    """What all outboxes have in common: `seq` is given here, and each sink has its line.

    `lossless` (for files) gives nothing up; it is `full` instead, and a little more than `max_events` when what was
    under way arrives.
    """

    group_s = 0.0

    def __init__(
        self, lines: Mapping[str, Line], max_events: int, start_ms: int, lossless: bool, wall: Callable[[], datetime]
    ) -> None:
        self._lines = lines
        self._max_events = max_events
        self._start_ms = start_ms
        self._lossless = lossless
        self._wall = wall
        self._next_seq: Counter[tuple[str, str]] = Counter()  # by camera and session

    def append(self, events: Sequence[Event]) -> list[Accepted]:
        accepted = self._accept(events)
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

    def _accept(self, events: Sequence[Event]) -> list[Accepted]:
        now = self._wall()
        return [
            Accepted(event.model_copy(update={"seq": self._take_seq(event)}), now, self._start_ms) for event in events
        ]

    def _take_seq(self, event: Event) -> int:
        key = (event.camera_id, event.session)
        self._next_seq[key] += 1
        return self._next_seq[key] - 1


class MemoryOutbox(LineOutbox):
    """Every line in memory."""

    def __init__(
        self,
        config: OutboxConfig,
        sinks: Iterable[str],
        *,
        lossless: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        lines = {sink: MemoryLine(sink, config, monotonic, wall) for sink in sinks}
        super().__init__(lines, config.max_events, epoch_ms(wall()), lossless, wall)
