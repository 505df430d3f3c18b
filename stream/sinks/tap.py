"""A sink that hands every event to a function in a thread of its own: how the command line shows them.

A terminal may be held (Ctrl-S), and whoever reads a pipe may pause or leave. None of that may delay or end publishing,
so this sink alone gives events up: what is shown is a view, and the other sinks have everything.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from stream.sinks.base import Accepted, HighWater
from stream.urls import scrub

log = logging.getLogger(__name__)

WAITING: Final = 10_000  # events; minutes of a busy worker
CLOSE_S: Final = 1.0


class TapSink:
    """`take` is called once per event, in order, in a daemon thread with the sink's name; `send` never waits for it.

    At most `waiting` events wait for it: then the oldest are given up, because who looks again wants to see what is
    now. `dropped` counts them. The first exception of `take`, whatever it is, is its last call. `close` waits up to
    `close_s` for what is left to be shown.
    """

    def __init__(
        self, name: str, take: Callable[[Accepted], None], waiting: int = WAITING, close_s: float = CLOSE_S
    ) -> None:
        self.name = name
        self.dropped = 0
        self._take = take
        self._limit = waiting
        self._close_s = close_s
        self._high = HighWater()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()  # guards everything below, and writing `dropped`
        self._waiting: deque[Accepted] = deque()
        self._closed = False
        self._broken = False  # `take` has raised

    def open(self) -> None:
        if self._thread is not None or self._broken:
            return
        with self._changed:
            self._closed = False
        # a daemon: it may be stuck in `take` for ever, and must not keep the process
        self._thread = threading.Thread(target=self._show, name=self.name, daemon=True)
        self._thread.start()

    def send(self, batch: Sequence[Accepted]) -> None:
        new = self._high.above(batch)
        self._high.rise(new)
        with self._changed:
            if not self._broken:
                self._waiting.extend(new)
                self._give_up(len(self._waiting) - self._limit)
                self._changed.notify()

    def close(self) -> None:
        if self._thread is None:
            return
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(self._close_s)
        self._thread = None
        with self._changed:
            self._give_up(len(self._waiting))  # nothing is shown behind the back of whoever closed

    def _give_up(self, count: int) -> None:
        """The oldest; with the lock held."""
        for _ in range(count):
            self._waiting.popleft()
            self.dropped += 1

    def _show(self) -> None:
        """The thread. It alone writes to the log, for that may go to the same terminal."""
        try:
            while (accepted := self._next()) is not None:
                self._take(accepted)
        except BaseException as error:  # SystemExit too: rich raises it at a broken pipe
            with self._changed:
                self._broken = True
                self._waiting.clear()
            why = scrub(f"{type(error).__name__}: {error}")
            log.warning("%s: events are not shown any more (%s)", self.name, why)
        if self.dropped:
            log.warning("%s: %d events were not shown, it was too slow", self.name, self.dropped)

    def _next(self) -> Accepted | None:
        """What to show next, or None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return self._waiting.popleft() if self._waiting else None
