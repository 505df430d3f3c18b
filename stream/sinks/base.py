"""The Sink protocol: somewhere that accepted events go, in order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from stream.events import Event


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that has its seq: it will be delivered, or named by a gap."""

    event: Event
    accepted_at: datetime  # UTC, stamped once
    start_ms: int  # the worker start (epoch ms) that accepted it: a recording's session comes again with every start


class Sink(Protocol):
    """Made, opened, used and closed by the publish thread."""

    name: str  # as it may be shown: no credentials

    def open(self) -> None:
        """Reach the sink: before the first `send`, and again after every SinkError before the next one.

        What it kept is sent again after every `open`. Raises SinkError (later may help) or SinkRefused (it will not).
        """
        ...

    def send(self, batch: Sequence[Accepted]) -> None:
        """Store every event of the batch, in order. Sending an event again stores it no second time.

        Raises SinkError when any may be missing: the caller opens the sink and sends the whole batch again later.
        """
        ...

    def close(self) -> None:
        """Finish what was begun and free everything. May be called twice, and before `open`."""
        ...


class HighWater:
    """The highest seq of each camera and session that a sink holds: whatever is not above it was sent again.

    Enough for a sink that lives as long as its worker and cannot lose what it has: events come in order, so below the
    mark nothing is missing.
    """

    def __init__(self) -> None:
        self._highest: dict[tuple[str, str], int] = {}

    def above(self, batch: Iterable[Accepted]) -> list[Accepted]:
        """Those of the batch that the sink does not hold yet."""
        return [
            accepted
            for accepted in batch
            if accepted.event.seq > self._highest.get((accepted.event.camera_id, accepted.event.session), -1)
        ]

    def rise(self, stored: Iterable[Accepted]) -> None:
        """These are stored now."""
        for accepted in stored:
            self._highest[accepted.event.camera_id, accepted.event.session] = accepted.event.seq
