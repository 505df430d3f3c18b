"""An outbox whose events outlive the process: one sink's line is on disk, the other sinks' lines are in memory.

What is accepted is on disk before anything is sent, so a worker that is killed loses none of it: the next start with
this file delivers the rest, and tells the end of the faces that were left.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from stream.clocks import utc_now
from stream.config import OutboxConfig
from stream.events import Event
from stream.outbox.base import Line
from stream.outbox.disk_line import DiskLine
from stream.outbox.ledger import Ledger, forget_finished, left_open
from stream.outbox.line import MemoryLine
from stream.outbox.memory import LineOutbox
from stream.outbox.store import OutboxFull, Store
from stream.sinks.base import Accepted
from stream.sinks.entries import epoch_ms

log = logging.getLogger(__name__)

SHARES: Final = (16, 64, 256)  # of a line on a full disk, given up at once: less of it needs less of the log
GROUP_S: Final = 0.05  # a commit waits for the disk, some 4 ms each


class DurableOutbox(LineOutbox):
    """`sink` is the one whose events are kept in `store`, which is closed with the outbox."""

    group_s = GROUP_S

    def __init__(
        self,
        config: OutboxConfig,
        store: Store,
        sink: str,
        others: Iterable[str] = (),
        *,
        lossless: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        store.prepare()
        self._ledger = Ledger()
        self._line = DiskLine(sink, config, store, wall)
        self._others = {name: MemoryLine(name, config, monotonic, wall) for name in others}
        lines: dict[str, Line] = {sink: self._line, **self._others}
        ((latest,),) = store.read("SELECT coalesce(max(start_ms), 0) FROM place")
        start_ms = max(epoch_ms(wall()), int(latest) + 1)  # greater than all that may be left of earlier ones
        self._closed = False
        super().__init__(lines, config.max_events, start_ms, lossless, wall)
        self.left = self._line.depth  # events that an earlier start could not deliver
        self.lost = self._end_what_was_left()  # faces that an earlier start left behind

    def append(self, events: Sequence[Event]) -> list[Accepted]:
        accepted = self._accept(events)
        self._ledger.see(accepted)
        self._surely(lambda: self._write(accepted))
        for line in self._others.values():
            line.extend(accepted)
            line.make_room(give_up=not self._lossless)
        return accepted

    def close(self) -> None:
        """Write down what was acknowledged, and let the file go. May be called twice."""
        if not self._closed:
            self._closed = True
            try:
                self._line.flush()
            finally:
                self._store.close()

    def _write(self, accepted: Sequence[Accepted]) -> None:
        with self._line.writing() as connection:
            self._line.extend(accepted)
            self._line.make_room(give_up=not self._lossless)
            self._ledger.write(connection)
        self._ledger.written()

    def _surely(self, write: Callable[[], None]) -> None:
        """Again where the disk is full, with less in the file. Raises OutboxError."""
        try:
            write()
            return
        except OutboxFull as error:
            full = error
        log.error("%s%s", full, "" if self._lossless else "; the oldest events are given up")
        for share in SHARES:
            with suppress(OutboxFull):
                self._store.make_space()
                if not self._lossless:
                    self._line.shed(share)
                    self._store.make_space()
                write()
                return
        raise full

    def _end_what_was_left(self) -> int:
        now = self._wall()
        ends = [Accepted(event, now, start_ms) for start_ms, event in left_open(self._store)]
        self._ledger.see(ends)
        self._surely(lambda: self._tell(ends))
        self._ledger.written()
        return len(ends)

    def _tell(self, ends: Sequence[Accepted]) -> None:
        with self._line.writing() as connection:
            self._line.extend(ends)
            self._line.make_room(give_up=False)
            self._ledger.write(connection)
            forget_finished(connection)
